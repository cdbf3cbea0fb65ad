"""What a bug report should hold: versions, devices, and where the weights are."""

import platform
from importlib.metadata import PackageNotFoundError, version

import psutil
import torch
from huggingface_hub import CachedRepoInfo, constants, scan_cache_dir
from huggingface_hub.errors import CacheNotFound

from vqlearn.checkpoints.shipped import WEIGHTS, shipped_names

PACKAGES = ("vqlearn", "torch", "transformers", "huggingface_hub", "safetensors", "diffusers")
GB = 10**9


def examine() -> list[tuple[str, str]]:
    """Names and findings, in the order in which they are worth reading."""
    return [
        ("python", f"{platform.python_version()}, {platform.system()} {platform.machine()}"),
        *((name, installed_version(name)) for name in PACKAGES),
        *_devices(),
        ("shipped", f"{', '.join(shipped_names())} in {WEIGHTS}"),
        ("hub cache", _cache()),
        ("hub", "offline (HF_HUB_OFFLINE)" if constants.HF_HUB_OFFLINE else constants.ENDPOINT),
    ]


def installed_version(package: str) -> str:
    """The version of a package, or that there is none."""
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def _devices() -> list[tuple[str, str]]:
    memory = psutil.virtual_memory()
    processor = f"{psutil.cpu_count()} cores, {torch.get_num_threads()} threads of torch"
    found = [
        ("cpu", processor),
        ("memory", f"{memory.available / GB:.1f} of {memory.total / GB:.1f} GB free"),
    ]
    for index in range(torch.cuda.device_count()):
        free, total = torch.cuda.mem_get_info(index)
        name = torch.cuda.get_device_name(index)
        found.append((f"cuda:{index}", f"{name}, {free / GB:.1f} of {total / GB:.1f} GB free"))
    if torch.cuda.device_count() == 0:
        found.append(("cuda", "no device"))
    if torch.backends.mps.is_available():
        found.append(("mps", "available"))
    return found


def _cache() -> str:
    """The cache of the hub, and the checkpoints of VQ-Diffusion in it."""
    try:
        repositories = scan_cache_dir().repos
    except CacheNotFound:
        return f"{constants.HF_HUB_CACHE} (empty)"
    ours = sorted(filter(_is_vq_diffusion, repositories), key=lambda found: found.repo_id)
    listed = [f"{found.repo_id} ({found.size_on_disk / GB:.1f} GB)" for found in ours]
    return f"{constants.HF_HUB_CACHE}: {', '.join(listed) or 'no checkpoint of VQ-Diffusion'}"


def _is_vq_diffusion(repository: CachedRepoInfo) -> bool:
    files = [revision.snapshot_path / "model_index.json" for revision in repository.revisions]
    return any(file.is_file() and "VQDiffusionPipeline" in file.read_text() for file in files)

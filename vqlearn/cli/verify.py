"""A checkpoint checked on this machine: one report, one sheet of images.

    vqlearn verify microsoft/vq-diffusion-ithq

The report holds what nobody can know without these files and this device: the digests of the
files, how far each step is from diffusers' own classes on the same weights, the seconds and the
memory of an image.
"""

import hashlib
import importlib.util
import math
import time
from pathlib import Path
from typing import Any

import psutil
import torch
from einops import rearrange
from PIL import Image
from torch import Tensor, nn

from vqlearn.checkpoints import HubOptions, resolve
from vqlearn.checkpoints.configs import OURS_ALONE
from vqlearn.checkpoints.digests import file_digests
from vqlearn.checkpoints.folder import KINDS
from vqlearn.checkpoints.layout import (
    DENOISER_FOLDER,
    INDICES,
    PARTS,
    VQVAE_FOLDER,
    model_folder,
)
from vqlearn.checkpoints.renames import rename_to_diffusers
from vqlearn.cli.doctor import PACKAGES, installed_version
from vqlearn.cli.models import check_finished
from vqlearn.cli.outputs import save_image
from vqlearn.pipeline import Film, VQDiffusionPipeline, best_device, make_grid
from vqlearn.probability import Sampling
from vqlearn.storage import as_path, check_output_folder, write_json
from vqlearn.tokens import from_network_range

PROMPTS = (
    "A teddy bear playing in the pool.",
    "A red house on a hill, oil painting.",
    "a small red circle above a large blue square",
    "a large green ring to the left of a small yellow heart on a grey background",
)
GUIDANCE = 2.0
TRUNCATION = 0.9
VISITED = 5
NOT_THEIRS = ("_class_name", *OURS_ALONE)  # how tokens are chosen makes no difference to decoding


def write_report(
    model: str, hub: HubOptions, steps: int, *, half: bool, out: Path
) -> tuple[Path, Path]:
    """Check a checkpoint; write report.json and sheet.png into the folder `out`: their paths.

    Raises `OSError` before the work if nothing can be written there, and what `from_pretrained`,
    `check_finished` and `verify` raise.
    """
    Sampling(num_inference_steps=steps)
    out = as_path("--out", out)
    check_output_folder("--out", out)
    folder = resolve(model, hub)
    check_finished(folder)
    if INDICES[model_folder(folder)]["_class_name"] != VQDiffusionPipeline.__name__:
        raise ValueError(f"the model is {model!r}; allowed: a VQ-Diffusion that reads text")
    pipeline = VQDiffusionPipeline.from_pretrained(
        model,
        torch_dtype=torch.float16 if half else None,
        revision=hub.revision,
        variant=hub.variant,
    )
    report, images = verify(pipeline.to(best_device()), folder, steps)
    asked = {"model": model, "revision": hub.revision, "variant": hub.variant}
    write_json(out / "report.json", {**asked, **report})
    save_image(make_grid(images), out / "sheet.png")
    return out / "report.json", out / "sheet.png"


def verify(
    pipeline: VQDiffusionPipeline, folder: Path, steps: int
) -> tuple[dict[str, Any], list[Image.Image]]:
    """The report, ready for JSON, and the images of four fixed captions; image i has seed i.

    Raises `ValueError` for a number of steps that the checkpoint does not allow.
    """
    images, cost = _generate(pipeline, steps)
    device = pipeline.device
    parts = (pipeline.vqvae, pipeline.denoiser, pipeline.text_encoder.model, pipeline.null_text)
    report = {
        "versions": {name: installed_version(name) for name in PACKAGES},
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else str(device),
        "dtype": str(pipeline.dtype),
        "steps": steps,
        "guidance": GUIDANCE,
        "truncation": TRUNCATION,
        "parameters": sum(w.numel() for part in parts for w in part.state_dict().values()),
        **cost,
        "agreement_with_diffusers": agreement(pipeline),
        "pictures": [
            {"prompt": prompt, "seed": seed, "sha256": hashlib.sha256(image.tobytes()).hexdigest()}
            for seed, (prompt, image) in enumerate(zip(PROMPTS, images, strict=True))
        ],
        "files": file_digests(folder, PARTS),
    }
    return report, images


def _generate(
    pipeline: VQDiffusionPipeline, steps: int
) -> tuple[list[Image.Image], dict[str, float]]:
    """The images, the seconds of one, and the memory that all needed at once."""
    on_cuda = pipeline.device.type == "cuda"
    if on_cuda:
        torch.cuda.reset_peak_memory_stats()
    begin = time.perf_counter()
    images = pipeline(
        list(PROMPTS),
        num_inference_steps=steps,
        guidance_scale=GUIDANCE,
        truncation_rate=TRUNCATION,
        generator=[torch.Generator().manual_seed(seed) for seed in range(len(PROMPTS))],
    ).images
    seconds = (time.perf_counter() - begin) / len(PROMPTS)
    memory = torch.cuda.max_memory_allocated() if on_cuda else psutil.Process().memory_info().rss
    return images, {"seconds_per_picture": round(seconds, 3), "memory_bytes": memory}


@torch.no_grad()
def agreement(pipeline: VQDiffusionPipeline) -> list[dict[str, float]] | str:
    """At five levels of one sample: how far is each step from diffusers' classes?

    Their classes are built in memory around the same weights, so nothing is there twice. A line
    holds the level, and the largest differences in the probability of a clean token, in that of a
    token one level lower, and, at level 1, in a decoded image (0 to 1).
    """
    if importlib.util.find_spec("diffusers") is None:
        return "not compared: diffusers is not installed"
    if type(pipeline.denoiser) is not KINDS[DENOISER_FOLDER].network:
        return f"not compared: diffusers has no {type(pipeline.denoiser).__name__}"
    theirs = _DiffusersParts(pipeline)
    condition = pipeline.conditioning([PROMPTS[0]], guided=False)
    last, film = pipeline.process.num_timesteps, Film(pipeline)
    generator = torch.Generator().manual_seed(0)
    pipeline(PROMPTS[0], last, guidance_scale=1.0, generator=generator, callback=film)
    x = film.states[::-1]  # x[t], (1, n), at every level t = 0..T
    denoise, lines = pipeline.model.denoiser(condition), []
    for t in sorted({round(1 + (last - 1) * i / (VISITED - 1)) for i in range(VISITED)}):
        log_p_x0, reference = denoise(x[t], t), theirs.log_p_x0(x[t], t, condition.text)
        line = {"level": t, "clean_token": furthest(log_p_x0.exp(), reference.exp())}
        if t > 1:
            lower = pipeline.process.log_reverse(log_p_x0, x[t], t - 1, t)
            reference = theirs.log_reverse(log_p_x0, x[t], t)
            line["one_level_lower"] = furthest(lower.exp(), reference.exp())
        lines.append(line)
    lines[0]["picture"] = furthest(pipeline.vqvae.decode(x[0]), theirs.decode(x[0]))
    return lines


def furthest(ours: Tensor, theirs: Tensor) -> float:
    """The largest difference of two tensors of one shape, in float64 on the CPU."""
    return (ours.cpu().double() - theirs.cpu().double()).abs().max().item()


class _DiffusersParts:
    """diffusers' transformer, VQ network and scheduler with the weights of a pipeline."""

    def __init__(self, pipeline: VQDiffusionPipeline) -> None:
        import diffusers

        denoiser, schedule = pipeline.denoiser, pipeline.schedule
        self.transformer = _around(denoiser, DENOISER_FOLDER, diffusers.Transformer2DModel)
        self.vqvae = _around(pipeline.vqvae, VQVAE_FOLDER, diffusers.VQModel)
        self.scheduler = diffusers.VQDiffusionScheduler(**vars(schedule))
        self.scheduler.set_timesteps(schedule.num_train_timesteps, device=pipeline.device)

    def log_p_x0(self, x_t: Tensor, t: int, text: Tensor) -> Tensor:
        """The predicted distribution of x_0, (b, n, k)."""
        timestep = torch.tensor(t - 1, device=x_t.device)
        found = self.transformer(x_t, encoder_hidden_states=text, timestep=timestep).sample
        return rearrange(found, "b k n -> b n k")

    def log_reverse(self, log_p_x0: Tensor, x_t: Tensor, t: int) -> Tensor:
        """The distribution of x_{t-1}, (b, n, k)."""
        classes_second = rearrange(log_p_x0.float(), "b n k -> b k n")
        return rearrange(self.scheduler.q_posterior(classes_second, x_t, t - 1), "b k n -> b n k")

    def decode(self, x_0: Tensor) -> Tensor:
        """RGB in 0 to 1, (b, 3, h, w)."""
        side = math.isqrt(x_0.shape[1])
        shape = (len(x_0), side, side, self.vqvae.config.vq_embed_dim)
        entries = self.vqvae.quantize.get_codebook_entry(x_0, shape=shape)
        return from_network_range(self.vqvae.decode(entries, force_not_quantize=True).sample)


def _around(network: nn.Module, folder: str, their_class: type[nn.Module]) -> nn.Module:
    """diffusers' class of the network that stands in this folder, with the same weights."""
    kind = KINDS[folder]
    options = kind.config.write(network.config)
    with torch.device("meta"):
        theirs = their_class(**{key: options[key] for key in options if key not in NOT_THEIRS})
    state = rename_to_diffusers(network.state_dict(), kind.renames)
    theirs.load_state_dict({name: state[name] for name in theirs.state_dict()}, assign=True)
    return theirs.eval()

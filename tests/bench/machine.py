"""What decides how long something takes, without the name of the machine."""

import os
from dataclasses import dataclass
from pathlib import Path

import torch

from vqlearn.cli.doctor import installed_version

CPU_INFO = Path("/proc/cpuinfo")
FLAG_LINES = ("flags", "Features")  # on x86, on ARM
FLAGS = ("avx2", "avx512f", "avx512_bf16", "amx_bf16", "asimd", "bf16")
"""What speeds up arithmetic, where a kernel of torch uses it."""
LIBRARIES = ("torch", "diffusers", "transformers", "vector-quantize-pytorch")


@dataclass(frozen=True)
class Machine:
    """A class of machines: the device, the cores of the CPU and those of its flags that matter.

    `threads` are those of torch, `versions` those of the libraries that were compared.
    """

    device: str
    cores: int
    flags: tuple[str, ...]
    threads: int
    versions: dict[str, str]


def this_machine(device: str) -> Machine:
    """The machine that this runs on. Where there is no /proc/cpuinfo no flag is known."""
    is_cuda = torch.device(device).type == "cuda"
    return Machine(
        torch.cuda.get_device_name(device) if is_cuda else "CPU",
        os.cpu_count() or 1,
        cpu_flags(CPU_INFO.read_text() if CPU_INFO.exists() else ""),
        torch.get_num_threads(),
        {name: installed_version(name) for name in LIBRARIES},
    )


def cpu_flags(cpu_info: str) -> tuple[str, ...]:
    """Those of `FLAGS` that /proc/cpuinfo names for the first core."""
    words = (line.partition(":") for line in cpu_info.splitlines())
    found = next((text.split() for key, _, text in words if key.strip() in FLAG_LINES), [])
    return tuple(flag for flag in FLAGS if flag in found)

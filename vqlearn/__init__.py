"""VQ-Diffusion, built from scratch to be read.

    from vqlearn import VQDiffusionPipeline

Importing vqlearn is quick: what you name is imported when you first name it.
"""

import sys
from collections.abc import Callable
from importlib import import_module
from typing import Any

__version__ = "0.1.0"


def lazy_names(
    package: str, **files: str
) -> tuple[Callable[[str], Any], Callable[[], list[str]], list[str]]:
    """`__getattr__`, `__dir__`, `__all__` of a package, from its files and their public names."""
    homes = {name: file for file, names in files.items() for name in names.split()}

    def get(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(import_module(f"{package}.{homes[name]}"), name)

    def listed() -> list[str]:
        return sorted([*vars(sys.modules[package]), *homes])

    return get, listed, sorted(homes)


__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    checkpoints="CheckpointError",
    diffusion="MaskAndReplace ScheduleConfig build_schedule",
    pipeline="ClassToImagePipeline TextToImagePipeline UnconditionalPipeline VQDiffusionPipeline",
    text="TextEncoder",
    tokens="VQVAE VQVAEConfig",
    transformer="Denoiser DenoiserConfig",
)

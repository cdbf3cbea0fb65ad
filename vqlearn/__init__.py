"""VQ-Diffusion, built from scratch to be read.

    from vqlearn import VQDiffusionPipeline

Importing vqlearn is quick: what you name is imported when you first name it.
"""

import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

__version__ = "0.1.0"


def lazy_names(
    package: str, homes: Mapping[str, str]
) -> tuple[Callable[[str], Any], Callable[[], list[str]], list[str]]:
    """`__getattr__`, `__dir__` and `__all__` of a package: each public name, and its module."""

    def get(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(import_module(f"{package}.{homes[name]}"), name)

    def listed() -> list[str]:
        return sorted([*vars(sys.modules[package]), *homes])

    return get, listed, sorted(homes)


__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {
        "CheckpointError": "checkpoints.layout",
        "Denoiser": "transformer.denoiser",
        "DenoiserConfig": "transformer.denoiser",
        "ExactWorld": "diffusion.exact.world",
        "MaskAndReplace": "diffusion.process",
        "ScheduleConfig": "diffusion.schedule",
        "TextEncoder": "text.encoder",
        "TextToImagePipeline": "pipeline.text_to_image",
        "VQDiffusionPipeline": "pipeline.pipeline",
        "VQVAE": "tokens.vqvae",
        "VQVAEConfig": "tokens.vqvae",
        "build_schedule": "diffusion.schedule",
    },
)

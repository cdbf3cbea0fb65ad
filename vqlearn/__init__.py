"""VQ-Diffusion, built from scratch to be read.

    from vqlearn import VQDiffusionPipeline

Importing vqlearn is quick: what you name is imported when you first name it.
"""

from importlib import import_module
from typing import Any

_HOMES = {
    "CheckpointError": "vqlearn.checkpoints.errors",
    "Denoiser": "vqlearn.transformer.denoiser",
    "DenoiserConfig": "vqlearn.transformer.denoiser",
    "ExactWorld": "vqlearn.diffusion.exact_world",
    "MaskAndReplace": "vqlearn.diffusion.process",
    "ScheduleConfig": "vqlearn.diffusion.schedule",
    "TextEncoder": "vqlearn.transformer.text",
    "VQDiffusionPipeline": "vqlearn.pipeline",
    "VQVAE": "vqlearn.tokens.vqvae",
    "VQVAEConfig": "vqlearn.tokens.vqvae",
    "build_schedule": "vqlearn.diffusion.schedule",
}
__all__ = sorted(_HOMES)
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'vqlearn' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])

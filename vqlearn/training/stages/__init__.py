"""What is trained one after the other: tokens, text, diffusion, and the models beside it."""

from vqlearn import lazy_names

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    autoregressive="imagebart_task raster_task",
    captioned="Captioned Frozen",
    diffusion="CaptionedDiffusion diffusion_task DiffusionTask",
    order="copy_frozen_parts train",
    plan="Plan",
    text="TextTask",
    tokens="tokens_task",
)

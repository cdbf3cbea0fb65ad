"""What each stage learns: its network, its losses, and what it writes."""

from vqlearn import lazy_names

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    autoregressive="imagebart_task raster_task",
    captioned="Captioned Frozen",
    diffusion="CaptionedDiffusion diffusion_task DiffusionTask",
    text="TextTask",
    tokens="tokens_task",
)

"""What is trained one after the other: tokens, text, diffusion, and the models beside it."""

from vqlearn import lazy_names

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    autoregressive="imagebart_task ImageBARTOptions raster_task RasterOptions "
    "train_imagebart train_raster",
    diffusion="CaptionedDiffusion DiffusionOptions DiffusionTask train_diffusion",
    frozen="Frozen",
    order="train",
    text="train_text",
    tokens="TokenOptions train_tokens",
)

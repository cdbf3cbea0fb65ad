"""What is trained one after the other: tokens, text, diffusion, and the models beside it."""

from vqlearn import lazy_names

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {
        "train": "order",
        "train_diffusion": "diffusion",
        "train_imagebart": "autoregressive",
        "train_raster": "autoregressive",
        "train_text": "text",
        "train_tokens": "tokens",
    },
)

"""How networks learn: one loop, its recipes, its state on disk, the stages."""

from vqlearn import lazy_names

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {
        "Recipe": "recipes",
        "Run": "loop",
        "fit": "loop",
        "train": "simple",
        "train_unet": "unet",
    },
)

"""Where images, captions and sequences of tokens come from."""

from vqlearn import lazy_names

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {
        "Batch": "batches",
        "ImageFolder": "image_folder",
        "Scenes": "batches",
        "Source": "batches",
    },
)

"""Where images, captions and sequences of tokens come from."""

from vqlearn import lazy_names

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    batches="Batch FiniteSource NumberedBatches Scenes Source",
    characters="caption_rows",
    digit_images="Digits digits",
    folder_options="Reading",
    image_folder="ImageFolder",
)

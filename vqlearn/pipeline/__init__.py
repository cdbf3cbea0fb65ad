"""From a prompt to images, with any token model."""

from vqlearn import lazy_names

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {
        "as_pil": "text_to_image",
        "Film": "film",
        "make_grid": "grid",
        "Networks": "pipeline",
        "paint": "film",
        "PipelineOutput": "text_to_image",
        "TextToImagePipeline": "text_to_image",
        "VQDiffusionPipeline": "pipeline",
    },
)

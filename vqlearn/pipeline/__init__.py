"""From a prompt to images."""

from vqlearn import lazy_names

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {
        "as_pil": "pipeline",
        "Film": "film",
        "make_grid": "grid",
        "Networks": "pipeline",
        "paint": "film",
        "PipelineOutput": "pipeline",
        "VQDiffusionPipeline": "pipeline",
    },
)

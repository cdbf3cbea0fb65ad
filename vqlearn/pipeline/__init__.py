"""From a prompt to images, with any token model."""

from vqlearn import lazy_names

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    film="Film paint save_gif",
    grid="make_grid",
    pipeline="load_pipeline VQDiffusionPipeline",
    output="PipelineOutput as_pil",
    placement="best_device",
    text_to_image="Parts TextToImagePipeline",
)

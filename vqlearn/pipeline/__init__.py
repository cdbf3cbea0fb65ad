"""From a prompt to images, with any token model."""

from vqlearn import lazy_names

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    base="ImagePipeline",
    class_to_image="ClassToImagePipeline",
    film="Film paint save_gif",
    grid="make_grid",
    opening="load_pipeline",
    output="PipelineOutput as_pil",
    pipeline="VQDiffusionPipeline",
    placement="best_device",
    text_to_image="Parts TextToImagePipeline",
    unconditional="UnconditionalPipeline",
)

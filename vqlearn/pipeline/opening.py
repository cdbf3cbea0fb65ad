"""The pipeline of any checkpoint: what its folder holds says of which class it is."""

from pathlib import Path

from vqlearn.checkpoints import resolve
from vqlearn.checkpoints.layout import INDICES, model_folder
from vqlearn.pipeline.base import ImagePipeline
from vqlearn.pipeline.class_to_image import ClassToImagePipeline
from vqlearn.pipeline.pipeline import VQDiffusionPipeline
from vqlearn.pipeline.text_to_image import TextToImagePipeline
from vqlearn.pipeline.unconditional import UnconditionalPipeline

PIPELINES = {
    kind.__name__: kind
    for kind in (
        VQDiffusionPipeline,
        ClassToImagePipeline,
        UnconditionalPipeline,
        TextToImagePipeline,
    )
}
"""All kinds, by the name that `model_index.json` gives them."""


def load_pipeline(name_or_dir: str | Path) -> ImagePipeline:
    """The pipeline of any checkpoint, such as a `VQDiffusionPipeline` of VQ-Diffusion with text.

    Raises `CheckpointError` as `from_pretrained` does.
    """
    folder = resolve(name_or_dir)
    return PIPELINES[INDICES[model_folder(folder)]["_class_name"]].from_pretrained(folder)

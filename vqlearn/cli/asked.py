"""What a command asks a model for: a prompt, a class or nothing, and the settings of sampling."""

from typing import Any

from vqlearn.checkpoints.class_names import as_label
from vqlearn.pipeline import ClassToImagePipeline, ImagePipeline, UnconditionalPipeline
from vqlearn.probability import Sampling
from vqlearn.probability.checks import shown

USUAL = Sampling(1.5, 0.9)


def settings(
    recommended: Sampling | None,
    guidance: float | None,
    truncation: float | None,
    steps: int | None = None,
) -> Sampling:
    """What is given of guidance and truncation, else what the checkpoint recommends, else usual.

    Raises `TypeError` or `ValueError` as `Sampling` does.
    """
    default = recommended or USUAL
    return Sampling(
        default.guidance_scale if guidance is None else guidance,
        default.truncation_rate if truncation is None else truncation,
        steps,
    )


def options_of(
    pipeline: ImagePipeline,
    prompt: str | None,
    class_label: str | None,
    guidance: float | None,
    images: int,
) -> dict[str, Any]:
    """What the pipeline's call gets of these, and guidance as `settings` has it, if there is any.

    Raises `ValueError` that names the argument, if one is missing, or does not fit the model.
    """
    if isinstance(pipeline, UnconditionalPipeline):
        reason = "the model is told nothing"
        _refuse({"PROMPT": prompt, "--class-label": class_label, "--guidance": guidance}, reason)
        return {"num_images": images}
    scale = {"guidance_scale": settings(pipeline.recommended, guidance, None).guidance_scale}
    if isinstance(pipeline, ClassToImagePipeline):
        _refuse({"PROMPT": prompt}, "the model reads no text, but --class-label")
        _demand("--class-label", class_label, "the number or the name of a class")
        label = as_label(class_label)
        return {"class_labels": label, "num_images_per_label": images, **scale}
    _refuse({"--class-label": class_label}, "the model reads no class, but a prompt")
    _demand("PROMPT", prompt, "what the image shall show")
    return {"prompt": prompt, "num_images_per_prompt": images, **scale}


def _refuse(given: dict[str, Any], reason: str) -> None:
    for name, value in given.items():
        if value is not None:
            raise ValueError(f"{name} is {shown(value)}; allowed: none, {reason}")


def _demand(name: str, value: str | None, allowed: str) -> None:
    if value is None:
        raise ValueError(f"{name} is missing; allowed: {allowed}")

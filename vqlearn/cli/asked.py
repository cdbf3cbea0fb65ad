"""What a command asks a model for: a prompt, a class or nothing, and the settings of sampling."""

from typing import Any, NamedTuple

from vqlearn.checkpoints.class_labels import as_label
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


class Told(NamedTuple):
    """What a command may tell a model, and the name that its prompt has there."""

    prompt: str | None
    class_label: str | None
    guidance: float | None
    prompt_name: str = "PROMPT"


def options_of(
    pipeline: ImagePipeline, told: Told, images: int, *, needed: bool = True
) -> dict[str, Any]:
    """What the pipeline's call gets of these, and guidance as `settings` has it, if there is any.

    Raises `ValueError` that names the argument, if one does not fit the model, or is missing though
    it is `needed`.
    """
    prompt, class_label, guidance, name = told
    if isinstance(pipeline, UnconditionalPipeline):
        reason = "the model is told nothing"
        _refuse({name: prompt, "--class-label": class_label, "--guidance": guidance}, reason)
        return {"num_images": images}
    if isinstance(pipeline, ClassToImagePipeline):
        _refuse({name: prompt}, "the model reads no text, but --class-label")
        label = None if class_label is None else as_label(class_label)
        what, count = ("class_labels", label), "num_images_per_label"
        missing = "--class-label is missing; allowed: the number or the name of a class"
    else:
        _refuse({"--class-label": class_label}, "the model reads no class, but a prompt")
        what, count = ("prompt", prompt), "num_images_per_prompt"
        missing = f"{name} is missing; allowed: what the image shall show"
    if what[1] is not None:
        scale = settings(pipeline.recommended, guidance, None).guidance_scale
        return {what[0]: what[1], count: images, "guidance_scale": scale}
    if needed:
        raise ValueError(missing)
    _refuse({"--guidance": guidance}, "nothing is told that it could guide to")
    return {count: images}


def _refuse(given: dict[str, Any], reason: str) -> None:
    for name, value in given.items():
        if value is not None:
            raise ValueError(f"{name} is {shown(value)}; allowed: none, {reason}")

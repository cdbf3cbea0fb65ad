"""What `vqlearn evaluate` measures: a model on scenes or on a folder, or every unmasking rule."""

from pathlib import Path
from typing import Any

from vqlearn.checkpoints import load_clip, resolve
from vqlearn.cli.models import open_model
from vqlearn.data import ImageFolder, Reading, Scenes
from vqlearn.data.folder_options import DEFAULT_READING
from vqlearn.evaluation import Evaluation, frontier, own_images, prompts
from vqlearn.pipeline import VQDiffusionPipeline
from vqlearn.training import record
from vqlearn.training.stages import order

SCENES = "scenes"


def of_model(model: str, evaluation: Evaluation, data: str) -> dict[str, Any]:
    """All figures of a model on scenes, or on the images of a folder, as JSON."""
    pipeline, folder = open_model(model), resolve(model)
    clip = load_clip(folder)
    if data == SCENES:
        _check_trained_on_scenes(folder)
        return prompts.as_json(evaluation, prompts.evaluate(pipeline, clip, evaluation))
    source = ImageFolder(data, pipeline.image_size, reading_of(folder))
    batch = own_images.evaluated_images(source, evaluation)
    scores = own_images.evaluate_images(pipeline, clip, batch, evaluation)
    return own_images.as_json(evaluation, scores)


def reading_of(folder: Path) -> Reading:
    """The background and caption column that a model was trained with, where that is known.

    The crop is the middle, and nothing is mirrored: that of the training is meant to vary.
    """
    for name, stage in order.STAGES.items():
        chosen = record.read(folder, name, stage.parts) or {}
        if "background" in chosen:
            kept = {option: chosen.get(option) for option in ("background", "caption_column")}
            return Reading(**kept)
    return DEFAULT_READING


def of_rules(model: str, evaluation: Evaluation) -> dict[str, Any]:
    """Every unmasking rule at several numbers of steps, as JSON.

    Raises `ValueError` for a model that is no VQ-Diffusion.
    """
    pipeline = open_model(model)
    if not isinstance(pipeline, VQDiffusionPipeline):
        raise ValueError(f"--model is {model!r}; allowed with --frontier: a VQ-Diffusion")
    _check_trained_on_scenes(resolve(model))
    return frontier.as_json(evaluation, frontier.measure_rules(pipeline, evaluation))


def check_frontier(steps: int | None, data: str) -> None:
    """Raise `ValueError` for what does not apply: a number of steps, and images of a folder."""
    if steps is not None:
        raise ValueError(f"--steps is {steps}; allowed with --frontier: none, rules have their own")
    if data != SCENES:
        raise ValueError(f"--data is {data!r}; allowed with --frontier: {SCENES!r}")


def _check_trained_on_scenes(folder: Path) -> None:
    parts = {name: stage.parts for name, stage in order.STAGES.items()}
    record.check_data(folder, parts, Scenes.digest)

"""What `vqlearn evaluate` measures: a model on scenes or on a folder, or every unmasking rule."""

import logging
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vqlearn.checkpoints import load_clip, resolve
from vqlearn.cli.models import choices_of, open_text_model, reading_of
from vqlearn.cli.outputs import save_image
from vqlearn.data import ImageFolder, Scenes
from vqlearn.data.picture import picture_of_rows
from vqlearn.evaluation import Evaluation, frontier, own_images, prompts
from vqlearn.pipeline import VQDiffusionPipeline
from vqlearn.training import record
from vqlearn.training.stages import order

SCENES = "scenes"

Asked = tuple[str, str | None, str | None]
"""The name of a checkpoint, the device (None: the best) and the dtype (None: as stored)."""

logger = logging.getLogger("vqlearn")


def of_model(
    model: Asked, evaluation: Evaluation, data: str, grid: Path | None = None
) -> dict[str, Any]:
    """All figures of a model on scenes, or on the images of a folder, as JSON.

    `grid` is the file of a picture: images of the folder, and below each a sample to its caption.
    """
    pipeline, folder = open_text_model(*model), resolve(model[0])
    clip = load_clip(folder)
    if data == SCENES:
        _check_trained_on_scenes(folder)
        return prompts.as_json(evaluation, prompts.evaluate(pipeline, clip, evaluation))
    chosen = choices_of(folder)
    source = ImageFolder(data, pipeline.image_size, reading_of(chosen))
    batches = {
        part: own_images.evaluated_images(source, lines, evaluation)
        for part, lines in _parts(source, chosen).items()
    }
    if grid is not None:
        rows = [own_images.samples(pipeline, batch, evaluation) for batch in batches.values()]
        save_image(picture_of_rows(torch.cat(rows)), grid)
    scores = {
        part: own_images.evaluate_images(pipeline, clip, batch, evaluation)
        for part, batch in batches.items()
    }
    return own_images.as_json(evaluation, scores)


def _parts(source: ImageFolder, chosen: record.Choices) -> dict[str, Tensor]:
    """The lines that the model has seen, and those held out; of other images "all"."""
    if chosen.get("data") != source.digest:
        if chosen.get("hold_out"):
            logger.warning(
                "%s is not what the model was trained on (%s, or it was changed since): seen and "
                "held-out images cannot be told apart, all are measured as one part",
                *(source.name, chosen.get("data_name", "another folder")),
            )
        return {"all": torch.arange(len(source.rows))}
    parts = dict(zip(("seen", "held_out"), source.parted(chosen.get("hold_out", 0.0)), strict=True))
    return {part: lines for part, lines in parts.items() if len(lines)}


def of_rules(model: Asked, evaluation: Evaluation) -> dict[str, Any]:
    """Every unmasking rule at several numbers of steps, as JSON.

    Raises `ValueError` for a model that is no VQ-Diffusion.
    """
    pipeline, name = open_text_model(*model), model[0]
    if not isinstance(pipeline, VQDiffusionPipeline):
        raise ValueError(f"--model is {name!r}; allowed with --frontier: a VQ-Diffusion")
    _check_trained_on_scenes(resolve(name))
    return frontier.as_json(evaluation, frontier.measure_rules(pipeline, evaluation))


def check_grid(data: str) -> None:
    """Raise `ValueError` for scenes: their samples are judged, not looked at."""
    if data == SCENES:
        raise ValueError(f"--grid is for images of a folder; allowed with --data {SCENES}: none")


def check_frontier(steps: int | None, data: str) -> None:
    """Raise `ValueError` for what does not apply: a number of steps, and images of a folder."""
    if steps is not None:
        raise ValueError(f"--steps is {steps}; allowed with --frontier: none, rules have their own")
    if data != SCENES:
        raise ValueError(f"--data is {data!r}; allowed with --frontier: {SCENES!r}")


def _check_trained_on_scenes(folder: Path) -> None:
    parts = {name: stage.parts for name, stage in order.STAGES.items()}
    record.check_data(folder, parts, Scenes.digest)

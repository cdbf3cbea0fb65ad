"""The newest state of a training that is not finished, as a checkpoint that can be drawn from."""

from pathlib import Path
from shutil import copytree
from typing import Any

from torch.optim.swa_utils import AveragedModel

from vqlearn.data import Batch, Source
from vqlearn.training.loop import Run
from vqlearn.training.recipes import RECIPES
from vqlearn.training.record import NOT_TOLD
from vqlearn.training.sizes import Size
from vqlearn.training.stages.order import STAGES, TOKEN_MODELS
from vqlearn.training.stages.taken_parts import FROZEN_PARTS
from vqlearn.training.state import TrainingState

CHOSEN = ("schedule", "levels", "num_scales")
"""What decides the network of a stage, besides its size."""


class NoImages(Source):
    """A source of nothing: only the size of its images is known."""

    name, digest = "nothing", ""

    def __init__(self, image_size: int) -> None:
        self.image_size = image_size

    def batch(self, count: int, *, generator: Any) -> Batch:
        raise NotImplementedError

    def captions(self) -> list[str]:
        return []


def write_newest(folder: Path, checkpoint: Path) -> tuple[str, int]:
    """Write the newest state of a token model in a folder as a checkpoint: its mean weights.

    Returns the stage and its steps. Raises `ValueError` if no token model has a state there, and
    `CheckpointError` as `TrainingState.resume` does.
    """
    found = {name: TrainingState(folder, name, {}) for name in TOKEN_MODELS}
    begun = [name for name, state in found.items() if state.latest()]
    if not begun:
        raise ValueError(
            f"{folder} has no state of {', '.join(TOKEN_MODELS)}; allowed with --unfinished: a "
            "folder in which one of them is being trained for the first time; a state comes with "
            "every --save-every steps, and with Ctrl-C"
        )
    stage = max(begun, key=lambda name: found[name].newest().stat().st_mtime)
    config = found[stage].config()
    for part in FROZEN_PARTS:
        if (folder / part).is_dir():
            copytree(folder / part, checkpoint / part)
    start_from = config.get("start_from_name")
    run = Run(
        checkpoint,
        NoImages(config["image_size"]),
        RECIPES[stage],
        start_from=None if start_from is None else Path(start_from),
    )
    task = STAGES[stage].task(run, **_options(config, fresh=start_from is None))
    average = AveragedModel(task.network)
    steps = TrainingState(folder, stage, {"average": average}).resume(config)
    task.save(average.module.cpu())
    return stage, steps


def _options(config: dict[str, Any], *, fresh: bool) -> dict[str, Any]:
    """What the task was made with; one that goes on with a checkpoint has all from there."""
    if not fresh:
        return {}
    options = {name: config[name] for name in CHOSEN if config.get(name) is not None}
    return {**options, "size": Size(**config.get("size", NOT_TOLD["size"]))}

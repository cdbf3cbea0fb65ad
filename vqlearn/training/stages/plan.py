"""What a command asks for, looked at before any work: which stages, with which options, where to.

Raises `TypeError` or `ValueError` that names the option.
"""

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from vqlearn.checkpoints import resolve
from vqlearn.data.folder_options import DEFAULT_READING, Reading
from vqlearn.diffusion.schedule import SCHEDULES
from vqlearn.probability.checks import check_choice, check_integer, shown
from vqlearn.storage import as_path, check_output_folder
from vqlearn.tokens import QUANTIZERS
from vqlearn.training.loop import Run, best_accelerator, check_workers
from vqlearn.training.recipes import RECIPES, Recipe
from vqlearn.training.said_once import said_once
from vqlearn.training.stages import order
from vqlearn.training.stages.order import SCENES, STAGES, VQ_DIFFUSION

RUNS = Path("runs")
CHOICES = {"quantizer": QUANTIZERS, "schedule": SCHEDULES}
"""What an option of a stage may be, where it is not yes or no."""

Options = dict[str, dict[str, Any]]


@dataclass(frozen=True)
class Plan:
    """A stage, or "all" of VQ-Diffusion, to be trained in one folder.

    In `recipe` and `options` None is for what the user leaves open; `machine` has the options of
    `best_accelerator`, `reading` those of a folder of images.
    """

    stage: str
    data: str
    image_size: int
    recipe: Mapping[str, float | None]
    options: Mapping[str, Any]
    machine: Mapping[str, Any]
    workers: int = 0
    start_from: str | None = None
    preview: int | None = None
    reading: Reading = DEFAULT_READING

    @said_once()
    def train(self, out: Path | None) -> Path:
        """Train in `out`, by default in a folder for these data; returns it."""
        options = options_of(self.stage, self.start_from, self.options)
        recipes = recipes_of(list(options), self.recipe)
        check_workers(self.workers)
        if self.preview is not None:
            check_integer("preview", self.preview, 1)
        order.check_data(self.data, self.image_size)
        order.check_reading(self.data, self.reading)
        folder = folder_of(self.stage, self.data) if out is None else as_path("out", out)
        machine = {**self.machine, "project_dir": folder / "logs"}
        best_accelerator(**machine)
        check_output_folder("out", folder)
        start = None if self.start_from is None else resolve(self.start_from)
        source = order.open_source(self.data, self.image_size, self.reading)
        for name, recipe in recipes.items():
            device, preview = best_accelerator(**machine), self.preview or 0
            run = Run(folder, source, recipe, device, self.workers, start, preview)
            order.train(name, run, **options[name])
        return folder


def options_of(stage: str, start_from: str | None, given: Mapping[str, Any]) -> Options:
    """The options of each stage that is asked for. One that no stage takes is refused."""
    check_choice("stage", stage, ("all", *STAGES))
    names = VQ_DIFFUSION if stage == "all" else (stage,)
    takes = {name: inspect.signature(STAGES[name].task).parameters for name in names}
    given = {option: value for option, value in given.items() if value is not None}
    for option, value in given.items():
        if option in CHOICES:
            check_choice(option, value, CHOICES[option])
        if not any(option in taken for taken in takes.values()):
            raise ValueError(f"{option} is {shown(value)}; allowed: none for the stage {stage!r}")
        if start_from is not None:
            raise ValueError(f"{option} is {shown(value)}; allowed: none with start_from")
    if stage == "tokens" and start_from is not None:
        raise ValueError(f"start_from is {shown(start_from)}; allowed: none for 'tokens'")
    return {
        name: {option: value for option, value in given.items() if option in taken}
        for name, taken in takes.items()
    }


def recipes_of(names: list[str], given: Mapping[str, float | None]) -> dict[str, Recipe]:
    """The recipes of these stages, with the numbers that are given."""
    changes = {name: value for name, value in given.items() if value is not None}
    return {name: replace(RECIPES[name], **changes) for name in names}


def folder_of(stage: str, data: str) -> Path:
    """Where a checkpoint grows unless the user says it: `runs/scenes`, `runs/raster`, `runs/DATA`.

    Each data has a folder of its own, and in it every kind of token model.
    """
    own = "" if stage in ("all", *VQ_DIFFUSION) else stage
    if data == SCENES:
        return RUNS / (own or SCENES)
    name = as_path("data", data).resolve().name or "data"
    return RUNS / (f"{name}-{own}" if own else name)

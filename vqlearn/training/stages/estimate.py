"""How long will it take? A few steps of every stage that is still to come, before the first.

They run in a folder of their own, on scenes: what an image shows does not matter for its time. Of a
folder of images it is a little too much, since there tokens and text are computed once.
"""

import logging
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

import torch

from vqlearn.data import Batch, Scenes
from vqlearn.training.interruption import Interrupted
from vqlearn.training.loop import Run
from vqlearn.training.processes import alone_in, in_main_process
from vqlearn.training.recipes import Recipe
from vqlearn.training.stages import order
from vqlearn.training.stages.taken_parts import FROZEN_PARTS
from vqlearn.training.state import FOLDER

NAME = "estimate"
STEPS = 5
WORTH_IT = 1000  # steps; a shorter training has ended before

logger = logging.getLogger("vqlearn")


@dataclass(frozen=True)
class TimedScenes(Scenes):
    """Scenes that note when each batch is asked for: one step apart."""

    asked: list[float] = field(default_factory=list, compare=False)

    def batch(self, count: int, *, generator: torch.Generator) -> Batch:
        self.asked.append(time.perf_counter())
        return super().batch(count, generator=generator)

    @property
    def seconds(self) -> float:
        """Of a step: the median, which the first steps, slow ones, do not decide."""
        return median(later - earlier for earlier, later in pairwise(self.asked))


def tell_time(run: Run, recipes: Mapping[str, Recipe], options: Mapping[str, Any]) -> None:
    """Log about how long the stages take that are not finished, each and all together.

    `run` says all but the data and the recipe. Nothing is said where fewer than two stages are
    left, or few steps, or where a training goes on.
    """
    left = {name: each for name, each in recipes.items() if not _is_done(name, run)}
    if any((run.folder / FOLDER / name).is_dir() for name in recipes):
        return  # a training that goes on was told before
    if len(left) < 2 or sum(recipe.steps for recipe in left.values()) < WORTH_IT:
        return
    if run.accelerator.is_main_process:
        logger.info("first %d steps of each stage, to tell how long it takes", STEPS)
    seconds = _seconds(run, left, options)
    told = ", ".join(f"{name} {minutes(value)}" for name, value in seconds.items())
    if run.accelerator.is_main_process:
        total = minutes(sum(seconds.values()))
        logger.info("about %s in all: %s (from %d steps of each)", total, told, STEPS)


def minutes(seconds: float) -> str:
    """A time in seconds, minutes or hours: "99 s", "2 min", "1.7 h"."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def _is_done(name: str, run: Run) -> bool:
    stage = order.STAGES[name]
    return stage.is_finished(run.folder) or stage.is_taken_from(run.start_from)


def _seconds(run: Run, left: Mapping[str, Recipe], options: Mapping[str, Any]) -> dict[str, float]:
    scratch, accelerator = run.folder / FOLDER / NAME, run.accelerator
    found, level = {}, logger.level
    with alone_in(run.folder, accelerator):
        in_main_process(accelerator, partial(_begin, run.folder, scratch))
        logger.setLevel(logging.ERROR)  # the true stages say it again
        try:
            for name, recipe in left.items():
                source = TimedScenes(run.source.image_size, "seen")
                few = replace(recipe, steps=STEPS)
                timed = replace(run, folder=scratch, source=source, recipe=few, workers=0)
                order.train(name, timed, **options[name])
                found[name] = source.seconds * recipe.steps
        except Interrupted as error:
            message = "stopped while the time was estimated; nothing is lost"
            raise Interrupted(message if error.args[0] else "", error.exit_code - 128) from error
        finally:
            # Nothing here waits for other processes: after an error they may never come.
            logger.setLevel(level)
            accelerator.free_memory()
            if accelerator.is_main_process:
                shutil.rmtree(scratch, ignore_errors=True)
    return found


def _begin(folder: Path, scratch: Path) -> None:
    """A scratch folder with the parts that are there already."""
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    for part in FROZEN_PARTS:
        if (folder / part).is_dir():
            shutil.copytree(folder / part, scratch / part)

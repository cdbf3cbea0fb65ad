"""Train the networks of a checkpoint one after the other: tokens, text, then a token model.

Each stage reads from one folder what the stages before it wrote, and adds its own part; after the
last the folder is a checkpoint. A stage that is finished is kept, one that was stopped goes on.
"""

import logging
import os
from collections.abc import Callable, Sequence
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from accelerate.utils import set_seed
from torch import nn

from vqlearn.checkpoints import load_vqvae
from vqlearn.checkpoints.digests import SUMS_FILE
from vqlearn.checkpoints.layout import (
    CONFIG_FILE,
    DENOISER_FOLDERS,
    IMAGEBART_FOLDER,
    RASTER_FOLDER,
    VQVAE_FOLDER,
)
from vqlearn.data import ImageFolder, Reading, Scenes, Source
from vqlearn.data.folder_options import DEFAULT_READING
from vqlearn.probability.checks import check_integer, shown
from vqlearn.storage import as_path, disk_errors
from vqlearn.training import record
from vqlearn.training.loop import Run, Task, fit
from vqlearn.training.optimizers import warm_up_and_cosine
from vqlearn.training.processes import alone_in, in_main_process
from vqlearn.training.recipes import Recipe
from vqlearn.training.sizes import SMALL, check_parts
from vqlearn.training.stages import kept, lengthening
from vqlearn.training.stages.kept_tokens import tell_reconstruction
from vqlearn.training.stages.lengthening import state_name
from vqlearn.training.stages.taken_parts import FROZEN_PARTS, copy_frozen_parts, is_whole
from vqlearn.training.state import FOLDER, forget
from vqlearn.training.tasks.autoregressive import imagebart_task, raster_task
from vqlearn.training.tasks.captioned import COME_FIRST
from vqlearn.training.tasks.diffusion import diffusion_task
from vqlearn.training.tasks.text import TextTask
from vqlearn.training.tasks.tokens import tokens_task

SCENES = "scenes"
SMALLEST, LARGEST = 16, 1024  # pixels of a side
NEARLY = 0.75  # of the learning rate that is asked for

logger = logging.getLogger("vqlearn")


class Stage(NamedTuple):
    """`results` are files that are all there, and not empty, once the stage is finished.

    Of a token model, which ends a checkpoint, the results are one of the folders `models`.
    """

    task: Callable[..., Task]
    results: tuple[str, ...]
    models: tuple[str, ...] = ()

    def is_finished(self, folder: Path) -> bool:
        """Has this stage written all of its part?"""
        configs = [folder / name / CONFIG_FILE for name in self.models]
        is_there = not configs or any(map(is_whole, configs))
        return is_there and all(is_whole(folder / name) for name in self.results)

    @property
    def parts(self) -> tuple[str, ...]:
        """The folders with its results."""
        return self.models or tuple(name.split("/")[0] for name in self.results)

    def is_taken_from(self, checkpoint: Path | None) -> bool:
        """Are the results copies of frozen parts of this checkpoint?"""
        return checkpoint is not None and all(
            name in FROZEN_PARTS and (checkpoint / name).is_dir() for name in self.parts
        )


STAGES = {
    "tokens": Stage(tokens_task, ("vqvae/config.json",)),
    "text": Stage(TextTask, ("text_encoder/config.json", "tokenizer/tokenizer.json")),
    "diffusion": Stage(diffusion_task, (SUMS_FILE,), DENOISER_FOLDERS),
    "raster": Stage(raster_task, (SUMS_FILE,), (RASTER_FOLDER,)),
    "imagebart": Stage(imagebart_task, (SUMS_FILE,), (IMAGEBART_FOLDER,)),
}
VQ_DIFFUSION = ("tokens", "text", "diffusion")
"""The stages of a checkpoint of VQ-Diffusion, in order."""
TOKEN_MODELS = tuple(name for name in STAGES if name not in COME_FIRST)


def train(name: str, run: Run, *, lengthen: bool = False, **options: Any) -> bool:
    """Train one stage, unless it is finished: then return False.

    `options` are those of the stage's task, such as `tokens_task`. All that decides the result is
    kept beside it, in `training.json`, and a finished stage is kept only if it was the same. With
    `lengthen` it learns on, until it has had the steps of the recipe in all; see `lengthening`.

    Raises `FileExistsError` if the folder holds a finished checkpoint, which is built on other
    parts, `BlockingIOError` if another training is in it, or another `OSError` if it cannot be made
    or written to; `CheckpointError` for a `run.start_from` that cannot be used; `ValueError` if
    what the folder holds is not what is asked for; `Interrupted` as `fit` does; otherwise what the
    stage raises.
    """
    _check_folder(run.folder, name)
    stage = STAGES[name]
    with alone_in(run.folder, run.accelerator):
        before = _choices_before(name, run) if lengthen else None
        if run.start_from is not None:
            _take(run.start_from, run, FROZEN_PARTS)
        if before is not None:
            said = _lengthen(name, run, before, options)
            in_main_process(run.accelerator, partial(forget, run.folder, state_name(name)))
        elif stage.is_finished(run.folder) and stage.is_taken_from(run.start_from):
            said = f"{name}: those of {run.start_from}, kept"
        else:
            said = _train_unless_finished(name, run, options)
        in_main_process(run.accelerator, partial(forget, run.folder, name))
    if run.accelerator.is_main_process and said:
        logger.info(said)
    return not said


def _train_unless_finished(name: str, run: Run, options: dict[str, Any]) -> str:
    """What is to be said of a stage that was finished before; it must be what is asked for."""
    set_seed(run.recipe.seed)
    task = STAGES[name].task(run, **options)
    chosen, parts = record.choices(run, task.config), STAGES[name].parts
    others = {other: stage.parts for other, stage in STAGES.items() if other != name}
    kept.check_data(run.folder, others, chosen)
    if STAGES[name].is_finished(run.folder):
        return kept.check_result(name, run.folder, parts, chosen)
    if lengthening.is_begun(name, run.folder):
        raise ValueError(
            f"{run.folder} holds {name} that was being lengthened; allowed: the same command again"
        )
    _fit(name, name, task, chosen)
    return ""


def _choices_before(name: str, run: Run) -> record.Choices:
    """With which choices the stage was trained that is to be lengthened, and may be."""
    _check_nothing_stands_on(name, run.folder)
    return lengthening.choices_before(name, run.folder, STAGES[name].parts, run.recipe.steps)


def _lengthen(name: str, run: Run, before: record.Choices, options: dict[str, Any]) -> str:
    """As `_train_unless_finished`, of a stage that has as many steps already."""
    stage, folder = STAGES[name], run.folder
    done = run.recipe.steps == before["steps"]
    run = run if done else lengthening.run_of(run, before)
    set_seed(run.recipe.seed)
    task = stage.task(run, **options)
    added = record.choices(run, task.config)
    lengthening.check_same(name, folder, before, added)
    if done:
        return f"{name}: has {before['steps']} steps, kept"
    if not lengthening.is_begun(name, folder):
        task.load()
    chosen = lengthening.choices_after(before, added)
    task.config |= {name: chosen[name] for name in ("steps", "lengthened")}
    _fit(name, state_name(name), task, chosen)
    return ""


def _fit(name: str, state: str, task: Task, chosen: record.Choices) -> None:
    """Train, write the result of the stage, then the choices that are told of it."""
    accelerator, folder = task.run.accelerator, task.run.folder
    if accelerator.is_main_process:
        tell_if_short(name, task.run.recipe)
    accelerator.init_trackers(state)
    trained = fit(state, task)
    in_main_process(accelerator, partial(_save, name, task, trained))
    in_main_process(accelerator, partial(record.write, folder, name, chosen, STAGES[name].parts))
    for tracker in accelerator.trackers:
        tracker.finish()


def tell_if_short(name: str, recipe: Recipe) -> None:
    """Log it if the stage ends before its learning rate has nearly risen to what is asked for."""
    highest = max(warm_up_and_cosine(step, recipe) for step in range(recipe.steps))
    if highest < NEARLY:
        logger.warning(
            "%s: in %d steps the learning rate rises to %.2g at most, not to %g",
            *(name, recipe.steps, highest * recipe.learning_rate, recipe.learning_rate),
        )


def _check_nothing_stands_on(name: str, folder: Path) -> None:
    """Raise `ValueError` if a token model in this folder has learned with what is to change."""
    if name in TOKEN_MODELS:
        return
    for other in TOKEN_MODELS:
        if STAGES[other].is_finished(folder) or (folder / FOLDER / other).is_dir():
            raise ValueError(
                f"lengthen is True; allowed: not for {name}, {other} in {folder} stands on them; "
                "to train them longer, choose another folder with --out"
            )


def _save(name: str, task: Task, trained: nn.Module) -> None:
    try:
        with disk_errors(task.run.folder):
            task.save(trained)
    except OSError as error:
        raise OSError(
            f"the result of {name} cannot be written to {task.run.folder} "
            f"({error.strerror or error}); its last state stays, and the same command goes on"
        ) from error


def take_tokenizer(checkpoint: Path, run: Run) -> None:
    """Copy the VQ network of `checkpoint`, which need hold nothing else, in place of training one.

    If it is new in `run.folder`, it is told how well it suits the images. Raises `CheckpointError`
    if it cannot be used, `ValueError` if the folder has another one; as `train` does otherwise.
    """
    _check_folder(run.folder, "tokens")
    load_vqvae(checkpoint)  # a damaged one is not copied
    with alone_in(run.folder, run.accelerator):
        _take(checkpoint, run, (VQVAE_FOLDER,))


def _take(checkpoint: Path, run: Run, parts: Sequence[str]) -> None:
    copied = copy_frozen_parts(checkpoint, run.folder, parts)  # in one of the processes

    def tell() -> None:
        if copied:
            tell_reconstruction(run, checkpoint)

    in_main_process(run.accelerator, tell)


def check_data(data: str, image_size: int, downsample: int = SMALL.downsample) -> None:
    """Raise as `open_source` does for what can be seen without reading any image.

    A token is to stand for `downsample` pixels in each direction.
    """
    check_integer("image_size", image_size)
    if not SMALLEST <= image_size <= LARGEST:
        raise ValueError(
            f"image_size is {shown(image_size)}; allowed: multiples of {downsample}, such as 32 or "
            f"64, {SMALLEST} to {LARGEST}"
        )
    check_parts("image_size", image_size, downsample, "tokens a side")
    if data != SCENES and not as_path("data", data).is_dir():
        raise FileNotFoundError(
            f"data is {shown(data)}; allowed: {SCENES!r}, or a folder with metadata.jsonl"
        )


def check_reading(data: str, reading: Reading) -> None:
    """Raise `ValueError` that names an option of reading a folder, if there is no folder."""
    for option in fields(reading):
        value = getattr(reading, option.name)
        if data == SCENES and value != option.default:
            raise ValueError(
                f"{option.name} is {shown(value)}; allowed with data {SCENES!r}: "
                f"{shown(option.default)}, it is for images of a folder"
            )


def open_source(data: str, image_size: int = 32, reading: Reading = DEFAULT_READING) -> Source:
    """The scenes, without the pairs that are held out, or the images of a folder.

    Raises `FileNotFoundError` if `data` is neither "scenes" nor a folder, and `ValueError` for an
    image size that the tokens do not fill, or that is too small or large, and for scenes with
    another `reading` than the default.
    """
    check_data(data, image_size)
    check_reading(data, reading)
    if data == SCENES:
        return Scenes(image_size, "seen")
    return ImageFolder(as_path("data", data), image_size, reading)


def _check_folder(folder: Path, name: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    if not os.access(folder, os.W_OK):
        raise PermissionError(f"{folder} cannot be written to; choose another folder with --out")
    sums = folder / SUMS_FILE
    if is_whole(sums) and not STAGES[name].is_finished(folder):
        raise FileExistsError(
            f"{sums} is there already, built on other {name}; choose another folder with --out"
        )

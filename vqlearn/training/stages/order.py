"""Train the networks of a checkpoint one after the other: tokens, text, then a token model.

Each stage reads from one folder what the stages before it wrote, and adds its own part; after the
last the folder is a checkpoint. A stage that is finished is kept, one that was stopped goes on.
"""

import json
import os
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from shutil import copytree
from typing import Any, NamedTuple

from accelerate import PartialState
from accelerate.utils import set_seed
from torch import nn

from vqlearn.checkpoints import layout
from vqlearn.checkpoints.digests import SUMS_FILE
from vqlearn.checkpoints.folder import check
from vqlearn.data import ImageFolder, Scenes, Source
from vqlearn.storage import atomic_folder, disk_errors
from vqlearn.training.loop import Run, Task, fit
from vqlearn.training.processes import alone_in, in_main_process
from vqlearn.training.recipes import vqvae_config
from vqlearn.training.stages.autoregressive import imagebart_task, raster_task
from vqlearn.training.stages.diffusion import diffusion_task
from vqlearn.training.stages.text import TextTask
from vqlearn.training.stages.tokens import tokens_task
from vqlearn.training.state import forget

SCENES = "scenes"
FROZEN_PARTS = ("vqvae", "text_encoder", "tokenizer", "clip")


class Stage(NamedTuple):
    """`results` are files that are all there, and not empty, once the stage is finished."""

    task: Callable[..., Task]
    results: tuple[str, ...]

    def is_finished(self, folder: Path) -> bool:
        """Has this stage written all of its part?"""
        return all(_is_whole(folder / name) for name in self.results)


STAGES = {
    "tokens": Stage(tokens_task, ("vqvae/config.json",)),
    "text": Stage(TextTask, ("tokenizer/tokenizer.json",)),
    "diffusion": Stage(diffusion_task, ("transformer/config.json", SUMS_FILE)),
    "raster": Stage(raster_task, ("raster_transformer/config.json", SUMS_FILE)),
    "imagebart": Stage(imagebart_task, ("imagebart/config.json", SUMS_FILE)),
}
VQ_DIFFUSION = ("tokens", "text", "diffusion")
"""The stages of a checkpoint of VQ-Diffusion, in order."""


def train(name: str, run: Run, **options: Any) -> bool:
    """Train one stage, unless it is finished: then return False.

    `options` are those of the stage's task, such as `tokens_task`.

    Raises `FileExistsError` if the folder holds a finished checkpoint, which is built on other
    parts, `BlockingIOError` if another training is in it, or another `OSError` if it cannot be made
    or written to; `CheckpointError` for a `run.start_from` that cannot be used; `Interrupted` as
    `fit` does; otherwise what the stage raises.
    """
    _check_folder(run.folder, name)
    with alone_in(run.folder, run.accelerator):
        if run.start_from is not None:
            copy_frozen_parts(run.start_from, run.folder)
        finished = STAGES[name].is_finished(run.folder)
        if not finished:
            _train(name, run, options)
        in_main_process(run.accelerator, partial(forget, run.folder, name))
    return not finished


def _train(name: str, run: Run, options: dict[str, Any]) -> None:
    run.accelerator.init_trackers(name)
    set_seed(run.recipe.seed)
    task = STAGES[name].task(run, **options)
    trained = fit(name, task)
    in_main_process(run.accelerator, partial(_save, name, task, trained))
    for tracker in run.accelerator.trackers:
        tracker.finish()


def _save(name: str, task: Task, trained: nn.Module) -> None:
    try:
        with disk_errors(task.run.folder):
            task.save(trained)
    except OSError as error:
        raise OSError(
            f"the result of {name} cannot be written to {task.run.folder} "
            f"({error.strerror or error}); its last state stays, and the same command goes on"
        ) from error


def copy_frozen_parts(checkpoint: Path, folder: Path) -> None:
    """Copy what a token model reads and does not change, unless it is there already.

    Raises `CheckpointError` if `checkpoint` is damaged, or has no VQ network.
    """
    index, vqvae = checkpoint / layout.INDEX_FILE, checkpoint / layout.VQVAE_FOLDER
    if index.exists() or not vqvae.is_dir():
        check(checkpoint)  # otherwise it is a folder that still grows
    with PartialState().main_process_first():  # the other processes find the parts there
        for name in FROZEN_PARTS:
            if (checkpoint / name).is_dir() and not _is_whole_part(folder / name):
                with atomic_folder(folder / name) as part:
                    copytree(checkpoint / name, part, dirs_exist_ok=True)


def open_source(data: str, image_size: int = 32) -> Source:
    """The scenes, without the pairs that are held out, or the images of a folder.

    Raises `FileNotFoundError` if `data` is neither "scenes" nor a folder, and `ValueError` for an
    image size that the tokens do not fill.
    """
    factor = vqvae_config().downsampling_factor
    if image_size < 1 or image_size % factor:
        raise ValueError(
            f"image_size is {image_size}; allowed: multiples of {factor}, such as 32 or 64"
        )
    if data == SCENES:
        return Scenes(image_size, "seen")
    if not Path(data).is_dir():
        raise FileNotFoundError(
            f"data is {data!r}; allowed: {SCENES!r}, or a folder with metadata.jsonl"
        )
    return ImageFolder(Path(data), image_size)


def _check_folder(folder: Path, name: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    if not os.access(folder, os.W_OK):
        raise PermissionError(f"{folder} cannot be written to; choose another folder with --out")
    sums = folder / SUMS_FILE
    if _is_whole(sums) and not STAGES[name].is_finished(folder):
        raise FileExistsError(
            f"{sums} is there already, built on other {name}; choose another folder with --out"
        )


def _is_whole_part(part: Path) -> bool:
    """Are the JSON files of this folder whole? The last file of a part that is written is one."""
    files = list(part.glob("*.json"))
    return bool(files) and all(map(_is_whole, files))


def _is_whole(file: Path) -> bool:
    """Is this file of JSON or of digests there, neither empty nor broken off?"""
    try:
        text = file.read_text(encoding="utf-8")
        if file.suffix != ".json":
            return re.search("^[0-9a-f]{64}  .", text, re.MULTILINE) is not None
        json.loads(text)
        return True
    except (OSError, ValueError, RecursionError):
        return False

"""Train the networks of a checkpoint one after the other: tokens, text, then a token model.

Each stage reads from one folder what the stages before it wrote, and adds its own part; after the
last the folder is a checkpoint. A stage that is finished is kept, one that was stopped goes on.
"""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from accelerate import PartialState
from accelerate.utils import set_seed

from vqlearn.checkpoints import layout
from vqlearn.checkpoints.digests import SUMS_FILE
from vqlearn.checkpoints.folder import check
from vqlearn.data import ImageFolder, Scenes, Source
from vqlearn.training.loop import Run, Task, fit
from vqlearn.training.recipes import vqvae_config
from vqlearn.training.stages.autoregressive import imagebart_task, raster_task
from vqlearn.training.stages.diffusion import diffusion_task
from vqlearn.training.stages.text import TextTask
from vqlearn.training.stages.tokens import tokens_task
from vqlearn.training.state import TrainingState

SCENES = "scenes"
FROZEN_PARTS = ("vqvae", "text_encoder", "tokenizer", "clip")


class Stage(NamedTuple):
    """`results` are files that are all there once the stage is finished."""

    task: Callable[..., Task]
    results: tuple[str, ...]

    def is_finished(self, folder: Path) -> bool:
        """Has this stage written all of its part?"""
        return all((folder / name).exists() for name in self.results)


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
    parts, or another `OSError` if it cannot be made or written to; `CheckpointError` for a
    `run.start_from` that cannot be used; otherwise what the stage raises.
    """
    stage = STAGES[name]
    _check_folder(run.folder, name)
    if run.start_from is not None:
        copy_frozen_parts(run.start_from, run.folder)
    if stage.is_finished(run.folder):
        return False
    run.accelerator.init_trackers(name)
    set_seed(run.recipe.seed)
    task = stage.task(run, **options)
    trained = fit(name, task)
    if run.accelerator.is_main_process:
        task.save(trained)
    run.accelerator.wait_for_everyone()
    TrainingState(run.folder, name, run.accelerator).forget()
    for tracker in run.accelerator.trackers:
        tracker.finish()
    return True


def copy_frozen_parts(checkpoint: Path, folder: Path) -> None:
    """Copy what a token model reads and does not change, unless it is there already.

    Raises `CheckpointError` if `checkpoint` is damaged, or has no VQ network.
    """
    index, vqvae = checkpoint / layout.INDEX_FILE, checkpoint / layout.VQVAE_FOLDER
    if index.exists() or not vqvae.is_dir():
        check(checkpoint)  # otherwise it is a folder that still grows
    with PartialState().main_process_first():  # the other processes find the parts there
        for name in FROZEN_PARTS:
            whole, part = folder / name, folder / f"{name}.part"
            if (checkpoint / name).is_dir() and not whole.exists():
                shutil.rmtree(part, ignore_errors=True)
                shutil.copytree(checkpoint / name, part)
                part.rename(whole)


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
    if sums.exists() and not STAGES[name].is_finished(folder):
        raise FileExistsError(
            f"{sums} is there already, built on other {name}; choose another folder with --out"
        )

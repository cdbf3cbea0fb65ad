"""Train the three networks, one after the other: tokens, text, diffusion.

Each stage reads from one folder what the stages before it wrote, and adds its own part; after the
last the folder is a checkpoint. A stage that is finished is kept, one that was stopped goes on.
"""

import os
import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import torch
from accelerate import Accelerator, PartialState
from accelerate.utils import set_seed

from vqlearn.checkpoints import folder as files
from vqlearn.data.batches import Scenes, Source
from vqlearn.data.image_folder import ImageFolder
from vqlearn.training.loop import Run
from vqlearn.training.recipes import Recipe, vqvae_config
from vqlearn.training.stages.diffusion import train_diffusion
from vqlearn.training.stages.text import train_text
from vqlearn.training.stages.tokens import train_tokens
from vqlearn.training.state import TrainingState

SCENES = "scenes"
FROZEN_PARTS = (files.VQVAE_FOLDER, files.TEXT_FOLDER, files.TOKENIZER_FOLDER, files.CLIP_FOLDER)


@dataclass(frozen=True)
class Stage:
    """`result` is the file that the stage writes last; `composition` the scenes that it sees."""

    train: Callable[[Run], None]
    result: str
    composition: str


STAGES = {
    "tokens": Stage(train_tokens, "vqvae/config.json", "any"),
    "text": Stage(train_text, "tokenizer/tokenizer.json", "seen"),
    "diffusion": Stage(train_diffusion, "SHA256SUMS", "seen"),
}


@dataclass(frozen=True)
class Settings:
    """Where and on what to train.

    - `folder`: where the checkpoint grows.
    - `data`: "scenes", or a folder with `metadata.jsonl` (see `data.folder`).
    - `image_size`: pixels of a side, a multiple of the tokens' size.
    - `mixed_precision`: "no", "fp16" or "bf16"; None leaves it to `accelerate launch`.
    - `tensorboard`: whether to write curves into `<folder>/logs`.
    - `workers`: processes that load batches in advance.
    - `start_from`: a checkpoint. Its tokens and text encoder are copied, its denoiser learns on.

    Raises `ValueError` for an image size that the tokens do not fill.
    """

    folder: Path
    data: str = SCENES
    image_size: int = 32
    mixed_precision: str | None = None
    tensorboard: bool = False
    workers: int = 0
    start_from: Path | None = None

    def __post_init__(self) -> None:
        factor = vqvae_config().downsampling_factor
        if self.image_size < 1 or self.image_size % factor:
            raise ValueError(
                f"image_size is {self.image_size}; allowed: multiples of {factor}, such as 32 or 64"
            )


def train(settings: Settings, recipes: dict[str, Recipe], options: dict[str, dict]) -> list[str]:
    """Train these stages; returns the names of those that were finished before.

    `options` are the keyword arguments of single stages. Raises `FileExistsError` if a stage
    would change what a finished later stage was built on, or another `OSError` if the folder
    cannot be made or written to; `CheckpointError` for a `start_from` that cannot be used;
    otherwise what the stages raise.
    """
    # Without being told, accelerate does not join processes that have no GPU.
    PartialState(cpu=not torch.accelerator.is_available())
    _check_folder(settings.folder, recipes)
    if settings.start_from is not None:
        copy_frozen_parts(settings.start_from, settings.folder)
    kept = []
    for name, recipe in recipes.items():
        if (settings.folder / STAGES[name].result).exists():
            kept.append(name)
        else:
            _train_one(name, settings, recipe, options.get(name, {}))
    return kept


def _train_one(name: str, settings: Settings, recipe: Recipe, options: dict) -> None:
    stage = STAGES[name]
    accelerator = Accelerator(
        cpu=not torch.accelerator.is_available(),
        mixed_precision=settings.mixed_precision,
        log_with="tensorboard" if settings.tensorboard else None,
        project_dir=settings.folder / "logs",
    )
    accelerator.init_trackers(name)
    set_seed(recipe.seed)
    source = open_source(settings.data, settings.image_size, stage.composition)
    run = Run(
        settings.folder,
        source,
        settings.data,
        recipe,
        accelerator,
        settings.workers,
        settings.start_from,
    )
    stage.train(run, **options)
    TrainingState(settings.folder, name, accelerator).forget()
    for tracker in accelerator.trackers:
        tracker.finish()


def copy_frozen_parts(checkpoint: Path, folder: Path) -> None:
    """Everything that the diffusion stage reads and does not change, unless it is there already."""
    files.check(checkpoint)
    state = PartialState()
    if state.is_main_process:
        for name in FROZEN_PARTS:
            whole, part = folder / name, folder / f"{name}.part"
            if (checkpoint / name).is_dir() and not whole.exists():
                shutil.rmtree(part, ignore_errors=True)
                shutil.copytree(checkpoint / name, part)
                part.rename(whole)
    state.wait_for_everyone()


def open_source(data: str, image_size: int, composition: str) -> Source:
    """The scenes of this composition, or the images of a folder.

    Raises `FileNotFoundError` if `data` is neither "scenes" nor a folder.
    """
    if data == SCENES:
        return Scenes(image_size, composition)
    if not Path(data).is_dir():
        raise FileNotFoundError(
            f"data is {data!r}; allowed: {SCENES!r}, or a folder with metadata.jsonl"
        )
    return ImageFolder(Path(data), image_size)


def _check_folder(folder: Path, names: Iterable[str]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    if not os.access(folder, os.W_OK):
        raise PermissionError(f"{folder} cannot be written to; choose another folder with --out")
    whole = folder / STAGES["diffusion"].result
    for name in names:
        if whole.exists() and not (folder / STAGES[name].result).exists():
            raise FileExistsError(
                f"{whole} is there already, built on other {name}; choose another folder with --out"
            )

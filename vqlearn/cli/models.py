"""The model that a command is asked for, ready to be used, or what is missing of it."""

import logging
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from vqlearn.checkpoints import resolve
from vqlearn.checkpoints.digests import SUMS_FILE
from vqlearn.checkpoints.layout import INDEX_FILE, VQVAE_FOLDER
from vqlearn.data import Reading
from vqlearn.pipeline import (
    ImagePipeline,
    TextToImagePipeline,
    best_device,
    load_pipeline,
)
from vqlearn.training import record

logger = logging.getLogger("vqlearn")


def open_model(
    name_or_dir: str, device: str | torch.device | None = None, dtype: str | None = None
) -> ImagePipeline:
    """The pipeline of a checkpoint, on a device, by default the best one, in a dtype.

    Its progress bar says both. Raises `CheckpointError`, and `ValueError` for the folder of a
    training that is not finished: it names the stage that is missing, and the command to go on;
    also for what is no device or dtype.
    """
    check_finished(resolve(name_or_dir))
    return placed(load_pipeline(name_or_dir), device, dtype)


def open_text_model(
    name_or_dir: str, device: str | torch.device | None = None, dtype: str | None = None
) -> TextToImagePipeline:
    """The same of a model that reads text; `ValueError` for one that does not."""
    pipeline = open_model(name_or_dir, device, dtype)
    if not isinstance(pipeline, TextToImagePipeline):
        raise ValueError(f"--model is {name_or_dir!r}; allowed: a model that reads text")
    return pipeline


def placed(
    pipeline: ImagePipeline,
    device: str | torch.device | None = None,
    dtype: str | None = None,
) -> ImagePipeline:
    """The pipeline where it shall be; its progress bar says so."""
    pipeline.to(device=best_device() if device is None else device, dtype=dtype)
    where = f"{pipeline.device}, {str(pipeline.dtype).removeprefix('torch.')}"
    pipeline.set_progress_bar_config(leave=False, desc=where)
    return pipeline


def open_unfinished(
    name_or_dir: str, device: str | None = None, dtype: str | None = None
) -> ImagePipeline:
    """The pipeline of the newest state of a training, which a warning names.

    Raises as `write_newest` does, and as `open_model` does for device and dtype.
    """
    from vqlearn.training.stages.unfinished import write_newest

    with TemporaryDirectory() as place:
        stage, steps = write_newest(resolve(name_or_dir), Path(place))
        logger.warning("%s is not finished: this is %s after %d steps", name_or_dir, stage, steps)
        return placed(load_pipeline(place), device, dtype)


def choices_of(folder: Path) -> record.Choices:
    """Those of the last stage that was trained in a folder; none where they are not known."""
    from vqlearn.training.stages.order import STAGES

    known = [record.read(folder, name, stage.parts) for name, stage in STAGES.items()]
    return next((chosen for chosen in reversed(known) if chosen), {})


def reading_of(chosen: record.Choices) -> Reading:
    """How the images of a training were read, where that is known.

    The crop is the middle, and nothing is mirrored: that of the training is meant to vary.
    """
    names = ("background", "caption_column")
    return Reading(**{name: chosen[name] for name in names if name in chosen})


def check_finished(folder: Path) -> None:
    """Raise `ValueError` for a folder in which some stages were trained, but no checkpoint.

    Also for a tokenizer alone.
    """
    if (folder / INDEX_FILE).exists():
        return
    if (folder / SUMS_FILE).exists() and (folder / VQVAE_FOLDER).is_dir():
        raise ValueError(
            f"{str(folder)!r} is a tokenizer alone, for `vqlearn tokens` and `vqlearn train "
            "--tokenizer`; allowed: a model"
        )
    from vqlearn.training.stages.order import STAGES, VQ_DIFFUSION
    from vqlearn.training.state import FOLDER

    begun = [name for name in STAGES if (folder / FOLDER / name).is_dir()]
    done = [name for name in STAGES if STAGES[name].is_finished(folder)]
    if not begun and not done:
        return
    goal = next((name for name in begun if name not in VQ_DIFFUSION), None)
    wanted = VQ_DIFFUSION if goal is None else (*VQ_DIFFUSION[:2], goal)
    missing = next((name for name in wanted if name not in done), wanted[-1])
    missing = next((name for name in wanted if name in begun), missing)
    command = " ".join(["vqlearn train", *([] if goal is None else [goal]), f"--out {folder}"])
    raise ValueError(
        f"the training in {str(folder)!r} is not finished, the stage {missing} is missing; "
        f"to go on, run with the options that it has had: {command}{_or_newest(begun)}"
    )


def _or_newest(begun: list[str]) -> str:
    """Where a token model has been begun, its newest state can be drawn from."""
    from vqlearn.training.stages.order import TOKEN_MODELS

    return (
        "; or --unfinished, to draw from its newest state" if set(begun) & set(TOKEN_MODELS) else ""
    )

"""The command `vqlearn train`."""

import logging
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Literal

import typer

from vqlearn.cli import train_options as options

Precision = Literal["no", "fp16", "bf16"]


class Notes(logging.Handler):
    """What the package logs: lines on stderr, above a progress bar."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write one."""
        from tqdm import tqdm

        tqdm.write(self.format(record), file=sys.stderr)


def train(
    stage: options.StageName = "all",
    out: options.Out = None,
    data: Annotated[str, typer.Option(help="scenes, or a folder with metadata.jsonl.")] = "scenes",
    image_size: Annotated[int, typer.Option(help="Pixels of a side, a multiple of 4.")] = 32,
    steps: Annotated[int | None, typer.Option(help="Batches, instead of the recipe's.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Images in a batch.")] = None,
    learning_rate: Annotated[float | None, typer.Option(help="Highest; 2e-4 to fine-tune.")] = None,
    save_every: Annotated[int | None, typer.Option(help="Steps between saved states.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of weights and data.")] = 0,
    discriminator: Annotated[bool, typer.Option(help="Sharpen tokens with one.")] = False,
    quantizer: Annotated[
        str | None, typer.Option(help="Tokens: nearest (default) or gumbel (drawn).")
    ] = None,
    schedule: Annotated[
        str | None, typer.Option(help="Corruption: released (default), paper or absorbing.")
    ] = None,
    start_from: Annotated[
        str | None, typer.Option(help="A checkpoint: its tokens, its text, a matching denoiser.")
    ] = None,
    mixed_precision: Annotated[
        Precision | None, typer.Option(help="Of networks, not weights; bf16: about twice as fast.")
    ] = None,
    tensorboard: Annotated[bool, typer.Option(help="Write curves to OUT/logs.")] = False,
    workers: Annotated[int, typer.Option(help="Processes that load batches in advance.")] = 0,
    crop: options.Crop = "center",
    flip: options.Flip = False,
    background: options.Background = "white",
    caption_column: options.CaptionColumn = None,
) -> None:
    """Train in one folder: tokens, then text, then diffusion, or another model of the tokens.

    Run it again after it was stopped, with the same options, and it goes on where it was. A stage
    that is finished is kept as it is, if it was trained with the same options.

    `diffusion --start-from CHECKPOINT --learning-rate 2e-4 --steps 300` fine-tunes its denoiser,
    and a null embedding for guidance, if it has none: one caption in ten is replaced by it.
    """
    from vqlearn.data import Reading
    from vqlearn.training.stages.plan import Plan

    numbers = {"steps": steps, "batch_size": batch_size, "save_every": save_every, "seed": seed}
    sharpen, curves = discriminator or None, "tensorboard" if tensorboard else None
    plan = Plan(
        stage,
        data,
        image_size,
        recipe={**numbers, "learning_rate": learning_rate},
        options={"discriminator": sharpen, "quantizer": quantizer, "schedule": schedule},
        machine={"mixed_precision": mixed_precision, "log_with": curves},
        workers=workers,
        start_from=start_from,
        reading=Reading(crop, flip, background, caption_column),
    )
    _tell(lambda: plan.train(out))


def _tell(work: Callable[[], Path]) -> None:
    """Log to stderr while the work is done, then print the folder that it returns, once."""
    from accelerate import PartialState

    logger = logging.getLogger("vqlearn")
    logger.setLevel(logging.INFO)
    logger.handlers = [Notes()]
    folder = work()
    if PartialState().is_main_process:
        typer.echo(folder)

"""The command `vqlearn train`: its options."""

import logging
import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

Precision = Literal["no", "fp16", "bf16"]


class Notes(logging.Handler):
    """What the package logs: lines on stderr, above a progress bar."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write one."""
        from tqdm import tqdm

        tqdm.write(self.format(record), file=sys.stderr)


def train(
    stage: Annotated[
        str, typer.Argument(help="tokens, text, diffusion; all of these; raster, imagebart.")
    ] = "all",
    out: Annotated[
        Path | None,
        typer.Option(help="The checkpoint folder; default: runs/scenes, runs/raster, runs/DATA…"),
    ] = None,
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
    preview: Annotated[
        int | None, typer.Option(help="Steps between pictures in OUT/preview; default: none.")
    ] = None,
    tensorboard: Annotated[bool, typer.Option(help="Write curves to OUT/logs.")] = False,
    workers: Annotated[int, typer.Option(help="Processes that load batches in advance.")] = 0,
    crop: Annotated[
        str, typer.Option(help="Square of an image: center, or random, another each time.")
    ] = "center",
    flip: Annotated[
        bool, typer.Option("--flip", help="Mirror half; captions with left or right get wrong.")
    ] = False,
    background: Annotated[
        str, typer.Option(help="Colour behind transparent pixels: a name, or #rrggbb.")
    ] = "white",
    caption_column: Annotated[
        str | None, typer.Option(help="Of metadata; default: text, or else caption.")
    ] = None,
    hold_out: Annotated[
        float, typer.Option(help="Share of images never learned from: 0.05 to measure on 5 %.")
    ] = 0.0,
) -> None:
    """Train in one folder: tokens, then text, then diffusion, or another model of the tokens.

    Run it again after it was stopped, with the same options, and it goes on where it was. A stage
    that is finished is kept as it is, if it was trained with the same options.

    `diffusion --start-from CHECKPOINT --learning-rate 2e-4 --steps 300` fine-tunes its denoiser,
    and a null embedding for guidance, if it has none: one caption in ten is replaced by it.
    """
    from accelerate import PartialState

    from vqlearn.data import Reading
    from vqlearn.training.stages.plan import Plan

    logger = logging.getLogger("vqlearn")
    logger.setLevel(logging.INFO)
    logger.handlers = [Notes()]
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
        preview=preview,
        start_from=start_from,
        reading=Reading(crop, flip, background, caption_column, hold_out),
    )
    folder = plan.train(out)
    if PartialState().is_main_process:
        typer.echo(folder)

"""The command `vqlearn train`."""

import logging
import sys
from collections.abc import Callable
from pathlib import Path

import typer

from vqlearn.cli import train_options as options


class Notes(logging.Handler):
    """What the package logs: lines on stderr, above a progress bar."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write one."""
        from tqdm import tqdm

        tqdm.write(self.format(record), file=sys.stderr)


def train(
    stage: options.StageName = "all",
    out: options.Out = None,
    data: options.Data = "scenes",
    image_size: options.ImageSize = 32,
    crop: options.Crop = "center",
    flip: options.Flip = False,
    background: options.Background = "white",
    caption_column: options.CaptionColumn = None,
    hold_out: options.HoldOut = 0.0,
    steps: options.Steps = None,
    batch_size: options.BatchSize = None,
    learning_rate: options.LearningRate = None,
    lengthen: options.Lengthen = False,
    save_every: options.SaveEvery = None,
    seed: options.Seed = 0,
    discriminator: options.Discriminator = False,
    quantizer: options.Quantizer = None,
    schedule: options.Schedule = None,
    start_from: options.StartFrom = None,
    tokenizer: options.Tokenizer = None,
    preset: options.Preset = None,
    codes: options.Codes = None,
    downsample: options.Downsample = None,
    vocabulary: options.Vocabulary = None,
    text_length: options.TextLength = None,
    width: options.Width = None,
    layers: options.Layers = None,
    levels: options.Levels = None,
    mixed_precision: options.MixedPrecision = None,
    preview: options.Preview = None,
    tensorboard: options.Tensorboard = False,
    workers: options.Workers = 0,
) -> None:
    """Train in one folder: tokens, then text, then diffusion, or another model of the tokens.

    Run it again after it was stopped, with the same options, and it goes on where it was. A stage
    that is finished is kept as it is, if it was trained with the same options.

    `diffusion --start-from CHECKPOINT --learning-rate 2e-4 --steps 300` fine-tunes its denoiser,
    with a null embedding for guidance. Captions for a model of classes: their numbers, or names.
    `diffusion --steps 20000 --lengthen` goes on with the weights of a finished one, in its folder.
    """
    from vqlearn.data import Reading
    from vqlearn.training.stages.plan import Plan

    recipe = {
        "steps": options.of_stages("steps", steps, int),
        "batch_size": options.of_stages("batch_size", batch_size, int),
        "learning_rate": options.of_stages("learning_rate", learning_rate, float),
        **{"save_every": save_every, "seed": seed},
    }
    asked = {"discriminator": discriminator or None, "quantizer": quantizer, "schedule": schedule}
    asked |= {"vocabulary": vocabulary, "text_length": text_length, "codes": codes, "width": width}
    asked |= {"preset": preset, "downsample": downsample, "levels": levels, "layers": layers}
    curves = "tensorboard" if tensorboard else None
    machine = {"mixed_precision": mixed_precision, "log_with": curves}
    reading = Reading(crop, flip, background, caption_column, hold_out)
    how = (workers, start_from, preview, reading, tokenizer)
    plan = Plan(stage, data, image_size, recipe, asked, machine, *how)
    _tell(lambda: plan.train(out, lengthen=lengthen))


def _tell(work: Callable[[], Path]) -> None:
    """Log to stderr while the work is done, then print the folder that it returns, once."""
    from accelerate import PartialState

    logger = logging.getLogger("vqlearn")
    logger.setLevel(logging.INFO)
    logger.handlers = [Notes()]
    folder = work()
    if PartialState().is_main_process:
        typer.echo(folder)

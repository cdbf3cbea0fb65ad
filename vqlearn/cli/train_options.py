"""The options of `vqlearn train`: what each means, in groups."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Literal

import typer
from typer.core import TyperCommand

IMAGES, TRAINING, SIZES, MACHINE = "Images of a folder", "Training", "Sizes", "Machine"

Precision = Literal["no", "fp16", "bf16"]


class Grouped(TyperCommand):
    """A command whose help shows options in groups: in each those of one `rich_help_panel`."""

    def format_options(self, context: typer.Context, formatter: object) -> None:
        """Write the arguments, then every group under its name, in the order of the options."""
        groups = {}
        for each in self.get_params(context):
            if (line := each.get_help_record(context)) is not None:
                kind = "Options" if each.param_type_name == "option" else "Arguments"
                groups.setdefault(getattr(each, "rich_help_panel", None) or kind, []).append(line)
        for name, lines in groups.items():
            with formatter.section(name):
                formatter.write_dl(lines)


def _option(group: str, text: str) -> object:
    return typer.Option(help=text, rich_help_panel=group)


StageName = Annotated[
    str, typer.Argument(help="tokens, text, diffusion; all of these; raster, imagebart.")
]
Out = Annotated[
    Path | None,
    typer.Option(help="The checkpoint folder; default: runs/scenes, runs/raster, runs/DATA…"),
]
Data = Annotated[str, typer.Option(help="scenes, or a folder with metadata.jsonl.")]
ImageSize = Annotated[int, typer.Option(help="Pixels of a side, in whole tokens.")]

Crop = Annotated[str, _option(IMAGES, "The square of an image: center, or random, anew each time.")]
Flip = Annotated[
    bool,
    typer.Option(
        "--flip",
        help="Mirror half of them; left and right in captions get wrong.",
        rich_help_panel=IMAGES,
    ),
]
Background = Annotated[
    str, _option(IMAGES, "Colour behind transparent pixels: a name, or #rrggbb.")
]
CaptionColumn = Annotated[
    str | None, _option(IMAGES, "Where metadata have captions; default: text, else caption.")
]
HoldOut = Annotated[
    float, _option(IMAGES, "Share that is never learned from: 0.05 to measure on 5 %.")
]

Steps = Annotated[
    str | None,
    _option(TRAINING, "Batches: 900, or tokens=900,text=90. Default: 5000, 3500, 13000."),
]
BatchSize = Annotated[str | None, _option(TRAINING, "Images in a batch: 32, or text=64.")]
LearningRate = Annotated[
    str | None, _option(TRAINING, "The highest: 2e-3, or text=1e-3; 2e-4 to fine-tune.")
]
Lengthen = Annotated[
    bool, _option(TRAINING, "A finished stage learns on, to STEPS in all, at a tenth of the rate.")
]
SaveEvery = Annotated[int | None, _option(TRAINING, "Steps between saved states.")]
Seed = Annotated[int, _option(TRAINING, "Seed of weights and data.")]
Discriminator = Annotated[bool, _option(TRAINING, "Sharpen tokens with one.")]
Quantizer = Annotated[str | None, _option(TRAINING, "Tokens: nearest (default) or gumbel (drawn).")]
Schedule = Annotated[
    str | None, _option(TRAINING, "Corruption: released (default), paper or absorbing.")
]
StartFrom = Annotated[
    str | None, _option(TRAINING, "A checkpoint: its tokens, its text, a matching denoiser.")
]
Tokenizer = Annotated[
    str | None, _option(TRAINING, "A folder with vqvae/: its tokens are taken, none are trained.")
]

Preset = Annotated[
    str | None,
    _option(
        SIZES,
        "small (default), or base: 64 pixels, one GPU. Options below change one size.",
    ),
]
Codes = Annotated[int | None, _option(SIZES, "Codes that a token is one of; small: 384.")]
Downsample = Annotated[int | None, _option(SIZES, "Pixels of a token's side: 4 or 8; small: 4.")]
Vocabulary = Annotated[int | None, _option(SIZES, "Pieces of words, 514 or more; small: 1024.")]
TextLength = Annotated[int | None, _option(SIZES, "Pieces in a caption, start, end; small: 32.")]
Width = Annotated[
    int | None,
    _option(SIZES, "Of the model of tokens, a multiple of 32; small: 128."),
]
Layers = Annotated[int | None, _option(SIZES, "Of the model of tokens; small: 6.")]
Levels = Annotated[int | None, _option(SIZES, "Noise levels T of diffusion; small: 100.")]

MixedPrecision = Annotated[
    Precision | None, _option(MACHINE, "Of networks, not weights; bf16: about twice as fast.")
]
Preview = Annotated[
    int | None, _option(MACHINE, "Steps between pictures in OUT/preview; default: none.")
]
Tensorboard = Annotated[bool, _option(MACHINE, "Write curves to OUT/logs.")]
Workers = Annotated[int, _option(MACHINE, "Processes that load batches in advance.")]


def of_stages(
    name: str, text: str | None, number: Callable[[str], float]
) -> float | dict[str, float] | None:
    """What an option says: a number for all stages, or one for each that is named.

    "tokens=2000,text=1000" is {"tokens": 2000, "text": 1000}; the others keep their recipe's.
    Raises `ValueError` for anything else, and for a stage that is named twice.
    """
    if text is None:
        return None
    pairs = [part.partition("=") for part in text.split(",")]
    stages = [stage.strip() for stage, _, _ in pairs]
    try:
        if "=" not in text:
            return number(text)
        if len(set(stages)) < len(stages):
            raise ValueError
        return {stage: number(value) for stage, (_, _, value) in zip(stages, pairs, strict=True)}
    except ValueError:
        example = {"steps": "5000", "batch_size": "32", "learning_rate": "2e-3"}[name]
        raise ValueError(
            f"{name} is {text!r}; allowed: a number such as {example}, or one for each stage, such "
            f"as tokens={example},text={example}"
        ) from None

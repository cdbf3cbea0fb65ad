"""The options of `vqlearn train`."""

from pathlib import Path
from typing import Annotated

import typer

StageName = Annotated[
    str, typer.Argument(help="tokens, text, diffusion; all of these; raster, imagebart.")
]
Out = Annotated[
    Path | None,
    typer.Option(help="The checkpoint folder; default: runs/scenes, runs/raster, runs/DATA…"),
]
Crop = Annotated[
    str, typer.Option(help="The square of an image: center, or random, anew each time.")
]
Flip = Annotated[
    bool,
    typer.Option("--flip", help="Mirror half of the images; left and right in captions get wrong."),
]
Background = Annotated[
    str, typer.Option(help="Colour behind transparent pixels: a name, or #rrggbb.")
]
CaptionColumn = Annotated[
    str | None, typer.Option(help="Where metadata have captions; default: text, else caption.")
]

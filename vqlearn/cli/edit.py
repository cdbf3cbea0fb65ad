"""The command `vqlearn edit`: its options."""

from pathlib import Path
from typing import Annotated

import typer

from vqlearn.cli.options import (
    ClassLabel,
    Device,
    Dtype,
    Model,
    OwnGuidance,
    OwnTruncation,
    check_images_and_seed,
)


def edit(
    image: Annotated[Path, typer.Argument(help="The file of the image.")],
    prompt: Annotated[str | None, typer.Option(help="What the whole image shall show.")] = None,
    class_label: ClassLabel = None,
    mask: Annotated[
        Path | None, typer.Option(help="White is repainted; as large as the image.")
    ] = None,
    paste: Annotated[bool, typer.Option(help="Put the pixels outside of the mask back.")] = False,
    level: Annotated[
        int | None, typer.Option(help="Without a mask: how far to corrupt, 1 to T; default: T / 2.")
    ] = None,
    model: Model = "scenes",
    steps: Annotated[
        int | None, typer.Option(help="Sampling steps, 1 to the level; default: 25, or the level.")
    ] = None,
    guidance: OwnGuidance = None,
    truncation: OwnTruncation = None,
    seed: Annotated[int, typer.Option(help="Image i has the seed SEED + i.")] = 0,
    images: Annotated[int, typer.Option(help="How many images.")] = 1,
    out: Annotated[Path, typer.Option(help="Where the image or grid goes.")] = Path("out.png"),
    device: Device = None,
    dtype: Dtype = None,
) -> None:
    """Change an image; the last line printed is the path of the result.

    With a mask, its white part is repainted. Without one, the image is corrupted to a level, and
    denoised under the prompt or the class; without one, it is a variation. Of other sizes than the
    model's the middle square is resized, as for training. Several results are laid out in one grid.
    """
    from vqlearn.cli import outputs
    from vqlearn.cli.edited import Change, edited
    from vqlearn.pipeline import make_grid

    check_images_and_seed(images, seed)
    told, sampling = (prompt, class_label), (steps, guidance, truncation)
    change = Change(image, *told, mask, paste, level, *sampling, seed, images)
    out = outputs.check_image_file("--out", out)
    result = edited((model, device, dtype), change)
    outputs.save_image(make_grid(result.images), out)
    typer.echo(out)

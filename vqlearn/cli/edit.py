"""The command `vqlearn edit`: its options."""

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from vqlearn.cli.options import (
    Device,
    Dtype,
    Model,
    OwnGuidance,
    OwnTruncation,
    check_images_and_seed,
)


def edit(
    image: Annotated[Path, typer.Argument(help="The file of the image.")],
    prompt: Annotated[
        str | None, typer.Option(help="What the whole image shall show; none: a variation.")
    ] = None,
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
    denoised under the prompt. Of other sizes than the model's the middle square is resized, as for
    training. Several results are laid out in one grid.
    """
    import torch

    from vqlearn.cli import outputs
    from vqlearn.cli.asked import settings
    from vqlearn.cli.edited import check_combination, edited
    from vqlearn.pipeline import make_grid

    check_images_and_seed(images, seed)
    settings_for = partial(settings, guidance=guidance, truncation=truncation, steps=steps)
    settings_for(None)  # refused before the model is read
    check_combination(prompt, mask, level, paste=paste)
    out = outputs.check_image_file("--out", out)
    options = {
        "num_images_per_prompt": images,
        "generator": [torch.Generator().manual_seed(seed + i) for i in range(images)],
    }
    if mask is not None:
        options["paste"] = paste
    result = edited((model, device, dtype), image, prompt, mask, level, settings_for, options)
    outputs.save_image(make_grid(result.images), out)
    typer.echo(out)

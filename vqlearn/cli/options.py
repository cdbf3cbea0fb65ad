"""Options that several commands have."""

from typing import Annotated

import typer

Model = Annotated[str, typer.Option(help="scenes, emoji (they ship), a folder, OWNER/NAME (hub).")]
Guidance = Annotated[float, typer.Option(help="Guidance scale; 1 or less: none.")]
Device = Annotated[
    str | None, typer.Option(help="cuda, mps, cpu; default: the first of these that is there.")
]
Dtype = Annotated[
    str | None,
    typer.Option(help="float16, bfloat16: half the memory; float32, float64. Default: as stored."),
]
Truncation = Annotated[float, typer.Option(help="Truncation rate, above 0, up to 1.")]
ClassLabel = Annotated[
    str | None, typer.Option(help="Number or name of a class, of a model that is told one.")
]
OwnGuidance = Annotated[
    float | None,
    typer.Option(help="Guidance scale; 1 or less: none. Default: the model's own, or 1.5."),
]
OwnTruncation = Annotated[
    float | None,
    typer.Option(help="Truncation rate, above 0, up to 1. Default: the model's own, or 0.9."),
]

MOST_IMAGES = 1_000
SEEDS = (-(2**63), 2**64 - 1)  # what torch takes


def check_images_and_seed(images: int, seed: int) -> None:
    """Raise `ValueError` for too many images, and if image i cannot have the seed SEED + i."""
    from vqlearn.probability.checks import check_integer

    check_integer("--images", images, 1, MOST_IMAGES)
    check_integer("--seed", seed, SEEDS[0], SEEDS[1] - images + 1)

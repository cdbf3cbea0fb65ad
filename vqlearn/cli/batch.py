"""The command `vqlearn batch`: its options."""

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from vqlearn.cli.options import SEEDS, Device, Dtype, Model, OwnGuidance, OwnTruncation

MOST_IMAGES = 1_000_000  # names have six digits


def batch(
    prompts: Annotated[Path, typer.Argument(help="One prompt a line: *.txt or *.jsonl.")],
    out: Annotated[Path, typer.Option(help="The folder of images.")] = Path("images"),
    model: Model = "scenes",
    steps: Annotated[int, typer.Option(help="Sampling steps of VQ-Diffusion, 1 to T.")] = 25,
    guidance: OwnGuidance = None,
    truncation: OwnTruncation = None,
    seed: Annotated[int, typer.Option(help="Image i has the seed SEED + i.")] = 0,
    images: Annotated[int, typer.Option(help="How many images of each prompt.")] = 1,
    batch_size: Annotated[int, typer.Option(help="Images that are generated together.")] = 16,
    device: Device = None,
    dtype: Dtype = None,
) -> None:
    """Generate images of all prompts in a file, into a folder; prints its path.

    The folder has a metadata.jsonl, so `vqlearn train` and `evaluate` read it. Stop it whenever you
    like: the same command makes the images that are missing. Several GPUs share the work:
    `accelerate launch -m vqlearn batch …`; several processes of a CPU: `torchrun --nproc_per_node 2
    -m vqlearn batch …`. No image's random numbers depend on the others.
    """
    from accelerate import PartialState

    from vqlearn.cli.asked import settings
    from vqlearn.cli.many import jobs_of, make_images, read_prompts
    from vqlearn.probability.checks import check_integer
    from vqlearn.storage import as_path, check_output_folder

    prompts, out = as_path("PROMPTS", prompts), as_path("--out", out)
    if not prompts.is_file():
        raise FileNotFoundError(f"PROMPTS is {str(prompts)!r}; allowed: a file of prompts")
    settings_for = partial(settings, guidance=guidance, truncation=truncation, steps=steps)
    settings_for(None)  # refused before the model is read
    check_integer("--images", images, 1)
    check_integer("--batch-size", batch_size, 1)
    texts = read_prompts(prompts)
    total = len(texts) * images
    check_integer("the number of images", total, 1, MOST_IMAGES)
    check_integer("--seed", seed, SEEDS[0], SEEDS[1] - total + 1)
    check_output_folder("--out", out)
    make_images((model, device, dtype), jobs_of(texts, images, seed), out, settings_for, batch_size)
    if PartialState().is_main_process:
        typer.echo(out)

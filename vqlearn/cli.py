"""The command `vqlearn`: generate pictures, train models. Errors are one line on stderr."""

import sys
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(
    add_completion=False,
    rich_markup_mode=None,
    help="VQ-Diffusion: generate pictures from sentences, and train the model that does it.",
)


class Stage(StrEnum):
    """What `vqlearn train` can train."""

    TOKENS = "tokens"
    TEXT = "text"
    DIFFUSION = "diffusion"
    ALL = "all"


@app.command()
def generate(
    prompt: Annotated[str, typer.Argument(help="The sentence to draw.")],
    model: Annotated[str, typer.Option(help="A shipped checkpoint or a folder.")] = "scenes",
    steps: Annotated[int, typer.Option(help="Calls of the denoiser, 1 to T.")] = 25,
    guidance: Annotated[float, typer.Option(help="Guidance scale; 1 or less: none.")] = 5.0,
    truncation: Annotated[float, typer.Option(help="Truncation rate, above 0, up to 1.")] = 1.0,
    seed: Annotated[int, typer.Option(help="Picture i has the seed SEED + i.")] = 0,
    images: Annotated[int, typer.Option(help="How many pictures.")] = 1,
    out: Annotated[Path, typer.Option(help="Where the picture or grid goes.")] = Path("out.png"),
) -> None:
    """Draw a sentence; the last line printed is the path of the picture.

    Several pictures are laid out in one grid. Small ones are enlarged, up to 256 pixels.
    """
    from PIL import Image

    from vqlearn.grid import make_grid
    from vqlearn.pipeline import VQDiffusionPipeline

    if Image.registered_extensions().get(out.suffix.lower()) not in Image.SAVE:
        raise ValueError(f"--out is {str(out)!r}; allowed: a picture file such as grid.png")
    pipeline = VQDiffusionPipeline.from_pretrained(model).to(_best_device())
    result = pipeline(
        prompt,
        num_inference_steps=steps,
        guidance_scale=guidance,
        truncation_rate=truncation,
        num_images_per_prompt=images,
        generator=_generators(seed, images),
    )
    out.parent.mkdir(parents=True, exist_ok=True)
    make_grid(result.images).save(out)
    typer.echo(out)


@app.command()
def train(
    stage: Annotated[Stage, typer.Argument(help="Which network.")] = Stage.ALL,
    out: Annotated[Path, typer.Option(help="The checkpoint folder.")] = Path("runs/scenes"),
    steps: Annotated[int | None, typer.Option(help="Batches, instead of the recipe's.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Pictures in a batch.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of weights and data.")] = 0,
) -> None:
    """Train on scenes: tokens, then text, then diffusion, in one folder.

    Nothing is overwritten: a stage whose result is already in the folder is refused.
    """
    import torch
    from accelerate import Accelerator

    from vqlearn.train import RECIPES, STAGES, refuse_to_overwrite

    names = list(STAGES) if stage is Stage.ALL else [stage.value]
    changes = {"steps": steps, "batch_size": batch_size, "seed": seed}
    changes = {name: value for name, value in changes.items() if value is not None}
    recipes = {name: replace(RECIPES[name], **changes) for name in names}
    refuse_to_overwrite(out, names)
    # Without being told, accelerate does not join processes that have no GPU.
    accelerator = Accelerator(cpu=not torch.accelerator.is_available())
    for name in names:
        STAGES[name](out, recipes[name], accelerator)
    if accelerator.is_main_process:
        typer.echo(out)


def main() -> None:
    """Run the command; a user's mistake ends with one line and an exit code other than 0."""
    try:
        sys.exit(app(standalone_mode=False))
    except typer.TyperException as error:
        _fail(error.format_message(), error.exit_code)
    except typer.Abort:
        _fail("stopped", 130)
    except (OSError, TypeError, ValueError) as error:
        _fail(str(error), 1)


def _fail(message: str, exit_code: int) -> None:
    print("vqlearn:", " ".join(message.split()), file=sys.stderr)
    sys.exit(exit_code)


def _best_device() -> str:
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def _generators(seed: int, images: int) -> list:
    import torch

    return [torch.Generator().manual_seed(seed + i) for i in range(images)]

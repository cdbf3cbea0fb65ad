"""The command `vqlearn`. Errors are one line on stderr."""

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


class Quantizer(StrEnum):
    """How `vqlearn train tokens` turns vectors into tokens."""

    NEAREST = "nearest"
    GUMBEL = "gumbel"


class Schedule(StrEnum):
    """The schedules that `vqlearn train diffusion` knows."""

    RELEASED = "released"
    PAPER = "paper"
    ABSORBING = "absorbing"


class Precision(StrEnum):
    """What networks compute with; weights stay float32."""

    NO = "no"
    FP16 = "fp16"
    BF16 = "bf16"


@app.command()
def generate(
    prompt: Annotated[str, typer.Argument(help="The sentence to draw.")],
    model: Annotated[str, typer.Option(help="A shipped checkpoint or a folder.")] = "scenes",
    steps: Annotated[int, typer.Option(help="Calls of the denoiser, 1 to T.")] = 25,
    guidance: Annotated[float, typer.Option(help="Guidance scale; 1 or less: none.")] = 1.5,
    truncation: Annotated[float, typer.Option(help="Truncation rate, above 0, up to 1.")] = 0.9,
    seed: Annotated[int, typer.Option(help="Picture i has the seed SEED + i.")] = 0,
    images: Annotated[int, typer.Option(help="How many pictures.")] = 1,
    out: Annotated[Path, typer.Option(help="Where the picture or grid goes.")] = Path("out.png"),
    film: Annotated[Path | None, typer.Option(help="Also a GIF of how it appears.")] = None,
) -> None:
    """Draw a caption; the last line printed is the path of the image.

    Several images are laid out in one grid. Small ones are enlarged, up to 256 pixels.
    """
    from PIL import Image

    from vqlearn.pipeline.film import Film
    from vqlearn.pipeline.grid import make_grid
    from vqlearn.pipeline.pipeline import VQDiffusionPipeline

    if film is not None and film.suffix.lower() != ".gif":
        raise ValueError(f"--film is {str(film)!r}; allowed: a GIF file such as film.gif")
    if Image.registered_extensions().get(out.suffix.lower()) not in Image.SAVE:
        raise ValueError(f"--out is {str(out)!r}; allowed: a picture file such as grid.png")
    pipeline = VQDiffusionPipeline.from_pretrained(model).to(_best_device())
    recorded = None if film is None else Film(pipeline)
    result = pipeline(
        prompt,
        num_inference_steps=steps,
        guidance_scale=guidance,
        truncation_rate=truncation,
        num_images_per_prompt=images,
        generator=_generators(seed, images),
        callback=recorded,
    )
    if recorded is not None:
        film.parent.mkdir(parents=True, exist_ok=True)
        recorded.save(film)
    out.parent.mkdir(parents=True, exist_ok=True)
    make_grid(result.images).save(out)
    typer.echo(out)


@app.command()
def train(
    stage: Annotated[Stage, typer.Argument(help="Which network.")] = Stage.ALL,
    out: Annotated[Path, typer.Option(help="The checkpoint folder.")] = Path("runs/scenes"),
    data: Annotated[str, typer.Option(help="scenes, or a folder with metadata.jsonl.")] = "scenes",
    image_size: Annotated[int, typer.Option(help="Pixels of a side, a multiple of 4.")] = 32,
    steps: Annotated[int | None, typer.Option(help="Batches, instead of the recipe's.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Pictures in a batch.")] = None,
    save_every: Annotated[int | None, typer.Option(help="Steps between saved states.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of weights and data.")] = 0,
    discriminator: Annotated[bool, typer.Option(help="Sharpen tokens with one.")] = False,
    quantizer: Annotated[
        Quantizer, typer.Option(help="Tokens: nearest codes, or drawn ones.")
    ] = Quantizer.NEAREST,
    schedule: Annotated[
        Schedule | None, typer.Option(help="How tokens are hidden; default: released.")
    ] = None,
    start_from: Annotated[
        str | None, typer.Option(help="Go on with the denoiser of this checkpoint.")
    ] = None,
    mixed_precision: Annotated[
        Precision | None, typer.Option(help="bf16: about twice as fast.")
    ] = None,
    tensorboard: Annotated[bool, typer.Option(help="Write curves to OUT/logs.")] = False,
    workers: Annotated[int, typer.Option(help="Processes that load batches in advance.")] = 0,
) -> None:
    """Train: tokens, then text, then diffusion, in one folder.

    Run it again after it was stopped, with the same options, and it goes on where it was. A stage
    that is finished is kept as it is.
    """
    from accelerate import PartialState

    from vqlearn.checkpoints.shipped import resolve
    from vqlearn.training.recipes import RECIPES
    from vqlearn.training.stages.order import STAGES, Settings
    from vqlearn.training.stages.order import train as train_stages

    names = list(STAGES) if stage is Stage.ALL else [stage.value]
    changes = {"steps": steps, "batch_size": batch_size, "save_every": save_every, "seed": seed}
    changes = {name: value for name, value in changes.items() if value is not None}
    recipes = {name: replace(RECIPES[name], **changes) for name in names}
    options = {
        "tokens": {"discriminator": discriminator, "quantizer": quantizer.value},
        "diffusion": {"schedule": schedule and schedule.value},
    }
    start = None if start_from is None else resolve(start_from)
    settings = Settings(out, data, image_size, mixed_precision, tensorboard, workers, start)
    kept = train_stages(settings, recipes, options)
    if PartialState().is_main_process:
        for name in kept:
            typer.echo(f"{name}: finished before, kept", err=True)
        typer.echo(out)


@app.command()
def evaluate(
    model: Annotated[str, typer.Option(help="A shipped checkpoint or a folder.")] = "scenes",
    steps: Annotated[int, typer.Option(help="Calls of the denoiser, 1 to T.")] = 25,
    prompts: Annotated[int, typer.Option(help="Sentences of each kind.")] = 300,
    guidance: Annotated[float, typer.Option(help="Guidance scale; 1 or less: none.")] = 1.5,
    truncation: Annotated[float, typer.Option(help="Truncation rate, above 0, up to 1.")] = 0.9,
    seed: Annotated[int, typer.Option(help="Other sentences and pictures.")] = 0,
    out: Annotated[Path | None, typer.Option(help="Also write the JSON to this file.")] = None,
) -> None:
    """Count how many images of scenes show what their caption says; prints JSON.

    For seen and never seen compositions: the model, its ceiling, its floor, and its bound.
    """
    import json

    from vqlearn.checkpoints.folder import load_clip
    from vqlearn.checkpoints.shipped import resolve
    from vqlearn.evaluation.prompts import Evaluation
    from vqlearn.evaluation.prompts import evaluate as measure
    from vqlearn.pipeline.pipeline import VQDiffusionPipeline

    evaluation = Evaluation(steps, guidance, truncation, prompts, seed)
    pipeline = VQDiffusionPipeline.from_pretrained(model).to(_best_device())
    report = json.dumps(measure(pipeline, load_clip(resolve(model)), evaluation), indent=2)
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(report + "\n", encoding="utf-8")
    typer.echo(report)


@app.command()
def download(
    model: Annotated[str, typer.Argument(help="A repository of the hub, OWNER/NAME.")],
    revision: Annotated[str | None, typer.Option(help="Branch, tag or commit.")] = None,
    variant: Annotated[str | None, typer.Option(help="Kind of weights, such as fp16.")] = None,
    cache_dir: Annotated[Path | None, typer.Option(help="Instead of the hub's cache.")] = None,
) -> None:
    """Fetch a checkpoint from the hub, so that it needs no network later; prints its folder."""
    from vqlearn.checkpoints.hub import HubOptions, is_repository
    from vqlearn.checkpoints.shipped import find_null_text, resolve

    if not is_repository(model):
        raise ValueError(f"the model is {model!r}; allowed: OWNER/NAME of a repository of the hub")
    hub = HubOptions(revision, variant, cache_dir)
    folder = resolve(model, hub)
    find_null_text(model, folder, hub)
    typer.echo(folder)


@app.command()
def verify(
    model: Annotated[str, typer.Argument(help="A shipped checkpoint, a folder, or OWNER/NAME.")],
    steps: Annotated[int, typer.Option(help="Calls of the denoiser, 1 to T.")] = 100,
    half: Annotated[bool, typer.Option(help="Load the weights in float16.")] = False,
    revision: Annotated[str | None, typer.Option(help="Branch, tag or commit.")] = None,
    variant: Annotated[str | None, typer.Option(help="Kind of weights, such as fp16.")] = None,
    out: Annotated[Path, typer.Option(help="Folder for the report.")] = Path("verify"),
) -> None:
    """Check a checkpoint on this machine: digests, agreement, four images, time and memory.

    Writes report.json and sheet.png; prints their paths.
    """
    import json

    import torch

    from vqlearn.checkpoints.hub import HubOptions
    from vqlearn.checkpoints.shipped import resolve
    from vqlearn.cli.verify import verify as examine
    from vqlearn.pipeline.grid import make_grid
    from vqlearn.pipeline.pipeline import VQDiffusionPipeline

    dtype = torch.float16 if half else None
    pipeline = VQDiffusionPipeline.from_pretrained(
        model, torch_dtype=dtype, revision=revision, variant=variant
    )
    folder = resolve(model, HubOptions(revision, variant))
    report, pictures = examine(pipeline.to(_best_device()), folder, steps)
    out.mkdir(parents=True, exist_ok=True)
    report = {"model": model, "revision": revision, "variant": variant, **report}
    (out / "report.json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    make_grid(pictures).save(out / "sheet.png")
    typer.echo(out / "report.json")
    typer.echo(out / "sheet.png")


@app.command()
def doctor() -> None:
    """Tell versions, devices, memory, and where weights are: what a bug report should hold."""
    from vqlearn.cli.doctor import examine

    for name, finding in examine():
        typer.echo(f"{name:<16}{finding}")


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

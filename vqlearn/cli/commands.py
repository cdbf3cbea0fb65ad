"""The command `vqlearn`. Errors are one line on stderr."""

import atexit
import gc
import json
import sys
from importlib import metadata
from pathlib import Path
from typing import Annotated

import typer
from typer.core import TyperGroup

from vqlearn.cli.batch import batch
from vqlearn.cli.challenge import challenge
from vqlearn.cli.convert import convert
from vqlearn.cli.course import assign, grade
from vqlearn.cli.edit import edit
from vqlearn.cli.messages import one_line
from vqlearn.cli.options import (
    ClassLabel,
    Device,
    Dtype,
    Guidance,
    Model,
    OwnGuidance,
    OwnTruncation,
    Truncation,
    check_images_and_seed,
)
from vqlearn.cli.tokens import app as tokens_app
from vqlearn.cli.train import train
from vqlearn.cli.train_options import Grouped


class Stopped(Exception):
    """A command was interrupted: what is said of it, and the exit code."""


class Commands(TyperGroup):
    """All commands. Of an interrupted one typer would keep nothing but an exit code."""

    def invoke(self, context: typer.Context) -> object:
        """Run the command. Raises `Stopped` where it raises `KeyboardInterrupt`."""
        try:
            return super().invoke(context)
        except KeyboardInterrupt as error:
            raise Stopped(*error.args or ("stopped",), getattr(error, "exit_code", 130)) from error


app = typer.Typer(
    cls=Commands,
    add_completion=False,
    rich_markup_mode=None,
)


Revision = Annotated[str | None, typer.Option(help="Branch, tag or commit.")]
Variant = Annotated[str | None, typer.Option(help="Kind of weights, such as fp16.")]

MOST_PROMPTS = 100_000


@app.callback(invoke_without_command=True)
def begin(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    """VQ-Diffusion: generate images from captions, and train the model that does it."""
    if version:
        typer.echo(f"vqlearn {metadata.version('vqlearn')}")
        raise typer.Exit
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


@app.command()
def generate(
    prompt: Annotated[
        str | None, typer.Argument(help="What the image shall show, of a model that reads text.")
    ] = None,
    model: Model = "scenes",
    class_label: ClassLabel = None,
    steps: Annotated[int, typer.Option(help="Sampling steps of VQ-Diffusion, 1 to T.")] = 25,
    guidance: OwnGuidance = None,
    truncation: OwnTruncation = None,
    seed: Annotated[int, typer.Option(help="Image i has the seed SEED + i.")] = 0,
    images: Annotated[int, typer.Option(help="How many images.")] = 1,
    out: Annotated[Path, typer.Option(help="Where the image or grid goes.")] = Path("out.png"),
    film: Annotated[Path | None, typer.Option(help="Also a GIF of how it appears.")] = None,
    device: Device = None,
    dtype: Dtype = None,
    unfinished: Annotated[
        bool, typer.Option("--unfinished", help="From the newest state of a training.")
    ] = False,
) -> None:
    """Generate an image; the last line printed is its path.

    Several images are laid out in one grid. Small ones are enlarged, up to 256 pixels.
    """
    import torch

    from vqlearn.cli import outputs
    from vqlearn.cli.asked import Told, options_of, settings
    from vqlearn.cli.models import open_model, open_unfinished
    from vqlearn.pipeline import Film, make_grid
    from vqlearn.pipeline.reverse_steps import ReverseSteps
    from vqlearn.probability import Sampling

    # Or Python searches all that was imported for garbage: 0.6 s. Only here: what the processes of
    # a training share must be cleaned up.
    atexit.register(gc.freeze)
    check_images_and_seed(images, seed)
    settings(None, guidance, truncation)
    Sampling(num_inference_steps=steps)
    out = outputs.check_image_file("--out", out)
    if film is not None:
        film = outputs.check_gif_file("--film", film)
        outputs.check_different("--film", film, "--out", out)
    pipeline = (open_unfinished if unfinished else open_model)(model, device, dtype)
    asked = options_of(pipeline, Told(prompt, class_label, guidance), images)
    sampling = settings(pipeline.recommended, guidance, truncation)
    if film is not None and not isinstance(pipeline, ReverseSteps):
        raise ValueError(f"--film is {str(film)!r}; allowed: none, {model} is no VQ-Diffusion")
    watch = {} if film is None else {"callback": Film(pipeline)}
    result = pipeline(
        **asked,
        num_inference_steps=steps,
        truncation_rate=sampling.truncation_rate,
        generator=[torch.Generator().manual_seed(seed + i) for i in range(images)],
        **watch,
    )
    if film is not None:
        watch["callback"].save(film)
    outputs.save_image(make_grid(result.images), out)
    typer.echo(out)


app.command()(batch)


app.command()(edit)


app.command(cls=Grouped)(train)


@app.command()
def evaluate(
    model: Model = "scenes",
    steps: Annotated[int | None, typer.Option(help="Sampling steps, 1 to T; default: 25.")] = None,
    prompts: Annotated[int, typer.Option(help="Prompts of each kind.")] = 300,
    guidance: Guidance = 1.5,
    truncation: Truncation = 0.9,
    seed: Annotated[int, typer.Option(help="Other prompts and images.")] = 0,
    data: Annotated[str, typer.Option(help="scenes, or a folder with metadata.jsonl.")] = "scenes",
    frontier: Annotated[
        bool, typer.Option("--frontier", help="Every unmasking rule, by its number of steps.")
    ] = False,
    grid: Annotated[
        Path | None, typer.Option(help="A picture: images of --data FOLDER, samples below them.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Also write the JSON to this file.")] = None,
    device: Device = None,
    dtype: Dtype = None,
) -> None:
    """Measure a model on scenes, or on the images of a folder; prints JSON.

    Of scenes: how many images show what their caption says, for seen and never seen compositions;
    the model, its ceiling, its floor, and its bound. Of a folder: what tokens keep of an image,
    bits per token, and how often CLIP finds the caption of an image: of those that the model has
    learned from, and of those held out, if it was trained so. With --frontier, of scenes: accuracy
    and diversity against network evaluations; hours for 300 prompts, so try 20 first.

    Guidance and truncation are the same for all models, whatever one recommends, so that results
    can be compared.
    """
    from vqlearn.cli import measures, outputs
    from vqlearn.evaluation import Evaluation
    from vqlearn.probability import Sampling
    from vqlearn.probability.checks import check_integer
    from vqlearn.storage import as_path, check_output_file, write_text

    check_integer("--prompts", prompts, 1, MOST_PROMPTS)
    if frontier:
        measures.check_frontier(steps, data)
    steps = Evaluation.num_inference_steps if steps is None else steps
    Sampling(guidance, truncation, steps)
    evaluation = Evaluation(steps, guidance, truncation, prompts, seed)
    if out is not None:
        out = as_path("--out", out)
        check_output_file("--out", out)
    if grid is not None:
        measures.check_grid(data)
        grid = outputs.check_image_file("--grid", grid)
    asked = (model, device, dtype)
    if frontier:
        found = measures.of_rules(asked, evaluation)
    else:
        found = measures.of_model(asked, evaluation, data, grid)
    report = json.dumps(found, indent=2)
    if out is not None:
        write_text(out, report + "\n")
    typer.echo(report)


app.add_typer(tokens_app, name="tokens")
app.command()(assign)
app.command()(grade)
app.command()(challenge)
app.command()(convert)


@app.command()
def download(
    model: Annotated[
        str, typer.Argument(help="OWNER/NAME of the hub, or official/NAME; official: which NAMEs.")
    ],
    revision: Revision = None,
    variant: Variant = None,
    cache_dir: Annotated[Path | None, typer.Option(help="Instead of the hub's cache.")] = None,
    out: Annotated[
        Path | None, typer.Option(help="Of official/NAME: the folder; default: official/NAME.")
    ] = None,
    delete_parts: Annotated[
        bool, typer.Option("--delete-parts", help="Of official/NAME: once they are converted.")
    ] = False,
) -> None:
    """Fetch a checkpoint from the hub, so that it needs no network later; prints its folder.

    Or fetch an official training checkpoint and convert it; its files go to OUT-files. Stopped, the
    same command goes on where it was.
    """
    from vqlearn.checkpoints import HubOptions, find_null_text
    from vqlearn.checkpoints import hub as repositories
    from vqlearn.cli import official

    if official.is_official(model):
        official.check_no_hub_options(revision=revision, variant=variant, cache_dir=cache_dir)
        typer.echo(official.fetched(model, out, delete_parts=delete_parts))
        return
    official.check_only_official(out, delete_parts=delete_parts)
    if not repositories.is_repository(model):
        raise ValueError(f"the model is {model!r}; allowed: OWNER/NAME of a repository of the hub")
    hub = HubOptions(revision, variant, cache_dir)
    folder = repositories.download(model, hub)
    find_null_text(model, folder, hub)
    typer.echo(folder)


@app.command()
def verify(
    model: Annotated[str, typer.Argument(help="A shipped checkpoint, a folder, or OWNER/NAME.")],
    steps: Annotated[int, typer.Option(help="Sampling steps, 1 to T.")] = 100,
    half: Annotated[bool, typer.Option(help="Load the weights in float16.")] = False,
    revision: Revision = None,
    variant: Variant = None,
    out: Annotated[Path, typer.Option(help="Folder for the report.")] = Path("verify"),
) -> None:
    """Check a checkpoint on this machine: digests, agreement, four images, time and memory.

    Writes report.json and sheet.png; prints their paths.
    """
    from vqlearn.checkpoints import HubOptions
    from vqlearn.cli.verify import write_report

    for file in write_report(model, HubOptions(revision, variant), steps, half=half, out=out):
        typer.echo(file)


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
        message, exit_code = error.format_message(), error.exit_code
    except Stopped as error:
        message, exit_code = error.args
    except (OSError, TypeError, ValueError) as error:
        message, exit_code = str(error), 1
    except (MemoryError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and "memory" not in str(error):
            raise  # a mistake of ours
        message, exit_code = f"the memory does not suffice: {error}", 1
    if message:
        print("vqlearn:", one_line(message), file=sys.stderr)
    sys.exit(exit_code)

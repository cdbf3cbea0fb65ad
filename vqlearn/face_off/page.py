"""The results as a page, `figures/face_off.md`, with its pictures: all made of the JSON."""

from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path

from vqlearn.face_off import caption_pictures, measures, pictures, tables
from vqlearn.face_off.results import Report

PICTURES: Mapping[str, Callable[[Report, Path], None]] = {
    "quality": pictures.draw_quality,
    "costs": pictures.draw_costs,
    "errors": pictures.draw_errors,
    "directions": pictures.draw_directions,
    "forcing": pictures.draw_forcing,
    "captions": caption_pictures.draw,
}
TEXT = """# The face-off

Made by `{command}`. Where several seeds were run, a cell says their mean and, in brackets, the
lowest and the highest of them. Tokens were learnt and measured on {machines}.

## Verdicts

Every number is made so that above a threshold it speaks for the claim: 1 for growth, 10 and 15
for the two factors, a half for wrong tokens, and 0 for all others. If all seeds of all numbers
lie above it, the claim is confirmed; if none does, refuted; otherwise it depends. The rule does
not know what is much and what is little: read the numbers too.

{verdicts}

## Bits and right sentences

Bits of a token are exact for the raster transformer, and upper bounds for all others. A sentence
is right if the picture shows it; of 100 such sentences a share has a standard error of up to 5 %.
Guided means guidance 1.5 and truncation 0.9. Diffusion makes 25 calls here (naming x_{{t-1}}: all
100).

{quality}

Right sentences of pairs seen in training, in %, with 100 to 5 calls (seed 0):

{calls}

![Right sentences against calls](face_off_quality.png)

## Cost of a picture

Operations are multiplications and additions, counted. Seconds are those of a picture, where 1, 8
or 32 are drawn at once, on one thread of a CPU ({cpu}).

{costs}

![Operations and seconds against tokens](face_off_costs.png)

{cuda}## Wrong tokens

Half of the tokens of a true picture are lost, and some of the others are wrong. "Lost changed"
are lost tokens that come out otherwise than without the errors. "Replaced" are wrong tokens that
get another code, "mended" those that get the true one; all in %.

{errors}

![What wrong tokens do](face_off_errors.png)

## One half given

One half of a true picture is given, the other is drawn: sentences that come out right, in %.

{directions}

![Right sentences against the half that is given](face_off_directions.png)

## Rows that it drew itself

A second model, trained with another seed, reads true rows, and rows that a system drew from its
law as it is, with 100 calls: bits of a token.

{forcing}

![Bits of drawn rows from the top to the bottom](face_off_forcing.png)

## Letters

Letters of captions, whose law is known: these rows hold {floor:.3f} bits a letter, and no model
can need less on the average. The raster transformer's bits are exact, all others upper bounds.
The auxiliary loss weighs 0.0005 where nothing else is said.

{captions}

![Bits of a letter](face_off_captions.png)
"""
CUDA = """On CUDA ({machine}), seconds of the clock. What is not here was not measured.

{table}

"""


def missing(report: Report) -> list[str]:
    """Runs that the page waits for: all on the CPU that need no second seed.

    Of the rows that a contender drew, only the judges' own bear on a verdict.
    """
    judged = {f"forcing/{name}/0" for name in measures.JUDGES}
    wanted = [
        run
        for run in measures.names()
        if run.startswith("cost/")
        or (run.endswith("/0") and (run in judged or not run.startswith("forcing/")))
    ]
    return [run for run in wanted if run not in report["runs"]]


def text(report: Report) -> str:
    """The page in Markdown. Raises `KeyError` if one of the `missing` is needed."""
    worlds = report["worlds"]
    return TEXT.format(
        command=report["command"],
        machines=", ".join(machines(report)),
        verdicts=tables.verdict_table(report),
        quality=tables.quality_table(report),
        calls=tables.calls_table(report),
        cpu=worlds["cost"]["machine"],
        costs=tables.cost_table(report),
        cuda=_cuda(report),
        errors=tables.errors_table(report),
        directions=tables.directions_table(report),
        forcing=tables.forcing_table(report),
        floor=worlds["captions"]["floor_on_test_rows"],
        captions=tables.captions_table(report),
    )


def machines(report: Report) -> list[str]:
    """Where contenders learnt tokens, each machine with its number of runs."""
    counts = Counter(run["machine"] for run in report["runs"].values() if "machine" in run)
    return [f"{name} ({n} of {counts.total()} runs)" for name, n in counts.most_common()]


def write(report: Report, file: Path) -> None:
    """The page beside the JSON, and every picture that it shows."""
    file.with_suffix(".md").write_text(text(report), encoding="utf-8")
    for name, draw in PICTURES.items():
        draw(report, file.with_name(f"{file.stem}_{name}.png"))


def _cuda(report: Report) -> str:
    if "cuda-cost" not in report["worlds"]:
        return ""
    machine = report["worlds"]["cuda-cost"]["machine"]
    return CUDA.format(machine=machine, table=tables.cuda_table(report))

"""The results as a page, `figures/face_off.md`, with its images: all made of the JSON."""

from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path

from vqlearn.experiments.face_off import (
    caption_plots,
    gallery,
    tables,
)
from vqlearn.experiments.face_off import (
    plots as pictures,
)
from vqlearn.experiments.face_off import (
    runs as measures,
)
from vqlearn.experiments.face_off.quality import CALLS
from vqlearn.experiments.face_off.results import Report, cost

PICTURES: Mapping[str, Callable[[Report, Path], None]] = {
    "quality": pictures.draw_quality,
    "gallery": gallery.draw,
    "costs": pictures.draw_costs,
    "errors": pictures.draw_errors,
    "downstream": pictures.draw_downstream,
    "directions": pictures.draw_directions,
    "forcing": pictures.draw_forcing,
    "captions": caption_plots.draw,
}
TEXT = """# The face-off

Made by `{command}`. Where several seeds were run, a cell says their mean and, in brackets, the
lowest and the highest of them. Tokens were learnt and measured on {machines}.

## Verdicts

Every number is made so that above a threshold it speaks for the claim: 1 for growth, 10 and 15
for the two factors, 50 for wrong tokens, and 0 for all others. If all seeds of all numbers
lie above it, the claim is confirmed; if none does, refuted. Otherwise the verdict names what one
has to know to be sure. The rule does not know what is much and what is little: read the numbers
too.

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

The first sentences, drawn guided, seed 0.

{sentences}

![True scenes and drawn ones](face_off_gallery.png)

## Cost of a picture

Operations are multiplications and additions, counted. Seconds are those of a picture, where 1, 8
or 32 are drawn at once, on one thread of a CPU ({cpu}). Of more than 64 tokens only a part is
drawn, and counted as often as it would be made: some calls, where all cost the same, and for
"prefix only" 16 prefixes of evenly spaced lengths. Read seconds with care: of the same denoiser
with 64 tokens, a call took from {fastest_call:.1f} to {slowest_call:.1f} milliseconds.

Without a cache the raster transformer reads all places for each token, the empty ones too, as a
plain sampler does. "Prefix only" leaves these out.

{costs}

![Operations and seconds against tokens](face_off_costs.png)

{cuda}## Wrong tokens

Half of the tokens of a true picture are lost, and some of the others are wrong. The raster
transformer loses the lower half, all others any half, as they are used to. "Lost changed" are lost
tokens that come out otherwise than without the errors. "Replaced" are wrong tokens that get another
code, "mended" those that get the true one; all in %.

{errors}

![What wrong tokens do](face_off_errors.png)

The same on equal terms: both get the same upper halves with the same wrong tokens, and draw the
lower half. VQ-Diffusion (released schedule) keeps the upper half, or may draw it anew.

{downstream}

![Which rows of the grid change](face_off_downstream.png)

## One half given

One half of a true picture is given, the other is drawn: sentences that come out right, in %.

{directions}

The nearest-neighbour kernel is not here: half a picture with noise in its other half is no state
that it knows.

![Right sentences against the half that is given](face_off_directions.png)

## Rows that it drew itself

A second model, trained with another seed, reads true rows, and rows that a system drew from its
law as it is, with 100 calls: bits of a token.

{forcing}

![Bits of drawn rows from the top to the bottom](face_off_forcing.png)

Are rows strange because their pictures show something else than the sentence? Bits of a token to
the raster network, with those rows apart (seed 0; where a system was trained again on
another machine, it draws other rows):

{strangeness}

## Letters

Letters of captions, whose law is known: these rows hold {floor:.3f} bits a letter, and no model
can need less on the average. The raster transformer's bits are exact, all others upper bounds.
The auxiliary loss weighs 0.0005 where nothing else is said; other weights were learnt with one
seed, so compare what they change with how far the seeds of the first column lie apart.

{captions}

![Bits of a letter](face_off_captions.png)
"""
CUDA = """On CUDA ({machine}), seconds of the clock. What is not here was not measured.

{table}

"""


def missing(report: Report) -> list[str]:
    """Runs that the page waits for: all on the CPU that need no second seed.

    Of the rows that a system drew, only the judges' own bear on a verdict.
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
    fastest_call, *_, slowest_call = sorted(milliseconds_of_a_call(report))
    return TEXT.format(
        command=report["command"],
        machines=", ".join(machines(report)),
        verdicts=tables.verdict_table(report),
        quality=tables.quality_table(report),
        calls=tables.calls_table(report),
        sentences=gallery.sentences(),
        fastest_call=fastest_call,
        slowest_call=slowest_call,
        cpu=worlds["cost"]["machine"],
        costs=tables.cost_table(report),
        cuda=_cuda(report),
        errors=tables.errors_table(report),
        downstream=tables.downstream_table(report),
        directions=tables.directions_table(report),
        forcing=tables.forcing_table(report),
        strangeness=tables.strangeness_table(report),
        floor=worlds["captions"]["floor_on_test_rows"],
        captions=tables.captions_table(report),
    )


def machines(report: Report) -> list[str]:
    """Where systems learnt tokens, each machine with its number of runs."""
    counts = Counter(run["machine"] for run in report["runs"].values() if "machine" in run)
    return [f"{name} ({n} of {counts.total()} runs)" for name, n in counts.most_common()]


def milliseconds_of_a_call(report: Report) -> list[float]:
    """One call of the denoiser for 64 tokens, one image, as each number of calls has it."""
    return [
        1000 * cost(report, f"diffusion {calls}", 64, "seconds", "1") / calls for calls in CALLS
    ]


def write(report: Report, file: Path) -> None:
    """The page beside the JSON, and every image that it shows."""
    file.with_suffix(".md").write_text(text(report), encoding="utf-8")
    for name, draw in PICTURES.items():
        draw(report, file.with_name(f"{file.stem}_{name}.png"))


def _cuda(report: Report) -> str:
    if "cuda-cost" not in report["worlds"]:
        return ""
    machine = report["worlds"]["cuda-cost"]["machine"]
    return CUDA.format(machine=machine, table=tables.cuda_table(report))

"""The results as tables in Markdown, for the README and the lesson: nothing is typed by hand."""

from collections.abc import Sequence

from vqlearn.experiments.face_off import captions
from vqlearn.experiments.face_off.claims import CLAIMS
from vqlearn.experiments.face_off.costs import BATCHES, COSTS, LENGTHS
from vqlearn.experiments.face_off.downstream import WAYS
from vqlearn.experiments.face_off.inpainting import ONE, SIDES
from vqlearn.experiments.face_off.quality import CALLS
from vqlearn.experiments.face_off.results import (
    FIRST,
    LABELS,
    Report,
    cost,
    measured,
    over_seeds,
    parts,
    right,
)
from vqlearn.experiments.face_off.runs import ABOVE, FROM_ABOVE

KINDS = {"true": "true rows", "right": "drawn, right sentence", "wrong": "drawn, wrong sentence"}
COMPOSITIONS = ("seen", "held_out")
WRONG = ("none", ONE, "0.1", "0.4")
OUTCOMES = ("lost changed", "replaced", "mended")


def quality_table(report: Report) -> str:
    """Bits and right captions of every system, drawn plainly and guided."""
    rows = []
    for name in measured(report, "quality"):
        bits = [over_seeds(report, "quality", name, c, "bits", "mean") for c in COMPOSITIONS]
        shares = [
            _share(report, name, composition, way)
            for way in ("plain", "guided")
            for composition in COMPOSITIONS
        ]
        count = len(bits[0].values)
        cells = [*(each.text(".3f") for each in bits), *shares]
        rows.append([LABELS[name], str(count), *cells])
    titles = ("system", "seeds", "bits, seen", "bits, never seen")
    titles += ("right, seen, %", "never seen", "guided, seen", "never seen")
    return table(titles, rows)


def calls_table(report: Report) -> str:
    """Right captions of the first seed against the calls of the denoiser, guided and not."""
    ways, rows = [f"{way} {count}" for way in ("plain", "guided") for count in CALLS], []
    for name in measured(report, "quality"):
        drawn = parts(report, "quality", name, "seen", "drawn").get(FIRST, {})
        if drawn.keys() >= set(ways):
            rows.append([LABELS[name], *(f"{100 * drawn[way]['share']:.0f}" for way in ways)])
    return table(("system", *ways), rows)


def cost_table(report: Report) -> str:
    """Operations and seconds of an image of 64 and of 1,024 tokens."""
    rows = []
    for way in COSTS:
        cells = []
        for n in (64, 1024):
            cells.append(f"{cost(report, way, n, 'operations') / 1e9:.3g}")
            cells += [f"{cost(report, way, n, 'seconds', count):.3g}" for count in ("1", "8", "32")]
        rows.append([way, *cells])
    units = ("10⁹ operations", "s, 1 at once", "s, 8", "s, 32")
    titles = ("way", *(f"{n}: {unit}" for n in ("64 tokens", "1,024") for unit in units))
    return table(titles, rows)


def cuda_table(report: Report) -> str:
    """Seconds of an image on CUDA, for every way and length that was measured there."""
    rows = []
    for n in LENGTHS:
        for way in COSTS:
            run = report["runs"].get(f"cuda-cost/{way}/{n}")
            if run is not None:
                rows.append([way, f"{n:,}", *(f"{s:.3g}" for s in run["seconds"].values())])
    return table(("way", "tokens", *(f"s, {count} at once" for count in BATCHES)), rows)


def errors_table(report: Report) -> str:
    """What wrong tokens do: to captions, and one in ten of them to the others and to itself."""
    rows = []
    for name in measured(report, "errors"):

        def percent(share: str, what: str, name: str = name) -> str:
            return over_seeds(report, "errors", name, share, what).percent().text(".0f")

        right_ones = [percent(share, "share") for share in WRONG]
        rows.append([LABELS[name], *right_ones, *(percent("0.1", what) for what in OUTCOMES)])
    shares = ("none wrong: right, %", "one", "10 %", "40 %")
    return table(("system", *shares, *(f"10 %: {what}" for what in OUTCOMES)), rows)


def directions_table(report: Report) -> str:
    """Right captions when one half is given."""
    rows = [
        [
            LABELS[name],
            *(
                over_seeds(report, "directions", name, composition, side, "share")
                .percent()
                .text(".0f")
                for composition in COMPOSITIONS
                for side in SIDES
            ),
        ]
        for name in measured(report, "directions")
    ]
    return table(("half given", *SIDES, *(f"{side}, never seen" for side in SIDES)), rows)


def forcing_table(report: Report) -> str:
    """Bits of a token to a second model: of true rows, and of those that a system drew."""
    rows = [
        [
            LABELS[name],
            *(
                over_seeds(report, "forcing", name, judge, kind, "mean").text(".3f")
                for judge in ("raster", "vq-diffusion")
                for kind in ("data", "own")
            ),
        ]
        for name in measured(report, "forcing")
    ]
    titles = ("who draws", "raster reads true rows", "rows drawn")
    return table((*titles, "VQ-Diffusion reads true rows", "rows drawn"), rows)


def downstream_table(report: Report) -> str:
    """Wrong tokens in the upper half: right captions, tokens changed below, tokens mended."""
    rows = []
    for name, way in FROM_ABOVE:

        def percent(share: str, what: str, name: str = name, way: str = way) -> str:
            return over_seeds(report, "downstream", name, way, share, what).percent().text(".0f")

        shares = [percent(share, "share") for share in ("none", *ABOVE)]
        changed = [percent(share, what) for what in ("lost changed", "mended") for share in ABOVE]
        rows.append([f"{LABELS[name]}, {WAYS[way]}", *shares, *changed])
    titles = ("system", "none wrong: right, %", "one", "10 %", "one: lost changed", "10 %")
    return table((*titles, "one: mended", "10 %"), rows)


def strangeness_table(report: Report) -> str:
    """Bits of a token to a second raster network: rows that show the caption, and others."""
    rows = [
        [f"{LABELS[name]}, {title}", *_bits_of(parts(report, "strangeness", name, kind)[FIRST])]
        for name in measured(report, "strangeness")
        for kind, title in KINDS.items()
    ]
    return table(("rows", "number", "mean", "standard error", "median"), rows)


def captions_table(report: Report) -> str:
    """Bits of a letter: the mean of the seeds, and with other weights of the auxiliary loss."""
    rows = []
    for system in captions.SYSTEMS:
        seeds = over_seeds(report, "captions", system, "bits", "mean")
        weights = [captions.with_weight(system, weight) for weight in captions.OTHER_WEIGHTS]
        cells = [
            over_seeds(report, "captions", name, "bits", "mean").text(".3f")
            if f"captions/{name}/0" in report["runs"]
            else ""
            for name in weights
        ]
        rows.append([system, seeds.text(".3f"), *cells])
    titles = ("system", "bits of a letter")
    titles += tuple(f"auxiliary weight {weight:g}" for weight in captions.OTHER_WEIGHTS)
    return table(titles, rows)


def verdict_table(report: Report) -> str:
    """Each claim with its verdict and its numbers."""
    rows = [[c.text, f"**{c.verdict(report)}**", c.reason(report)] for c in CLAIMS]
    return table(("claim", "verdict", "measured"), rows)


def claims_table(report: Report) -> str:
    """The same in short: of all numbers of a claim only the lowest and the highest."""
    rows = [[c.text, f"**{c.verdict(report)}**", c.span(report)] for c in CLAIMS]
    return table(("claim", "verdict", "numbers, from lowest to highest"), rows)


def table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown."""
    lines = [titles, ["---"] * len(titles), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _bits_of(summary: dict[str, float]) -> list[str]:
    numbers = (summary.get(key) for key in ("mean", "standard_error", "median"))
    return [str(summary["rows"]), *("" if each is None else f"{each:.3f}" for each in numbers)]


def _share(report: Report, name: str, composition: str, way: str) -> str:
    """Per cent; a direct prediction is drawn with 100 calls, and never guided."""
    if name == "direct" and way == "guided":
        return ""
    calls = 100 if name == "direct" else 25
    return right(report, name, composition, way, calls).percent().text(".0f")

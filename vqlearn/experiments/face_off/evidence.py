"""The numbers that bear on each claim, out of the report.

Every number is made so that the larger it is, the more it speaks for the claim.
"""

from collections.abc import Iterable, Mapping
from itertools import pairwise
from operator import sub

import numpy as np

from vqlearn.experiments.face_off import captions
from vqlearn.experiments.face_off.downstream import FREE, KEEPS
from vqlearn.experiments.face_off.inpainting import ONE, SHARES
from vqlearn.experiments.face_off.results import Report, Seeds, cost, over_seeds, parts, right
from vqlearn.experiments.face_off.runs import ABOVE, OURS, THEIRS

LONG, SHORT = 1024, 16
READERS = {
    "without a cache": "raster without cache",
    "without one, prefix only": "raster, prefix only",
    "with a cache": "raster",
}
AUXILIARY_WEIGHTS = (captions.DEFAULT_WEIGHT, max(captions.OTHER_WEIGHTS))
PUBLISHED = ("raster", "absorbing", "nearest-neighbour", "uniform")
JUDGES = {"to a raster network": THEIRS, "to a diffusion": OURS}
PAIRS = {"seen": "pairs seen", "held_out": "pairs never seen"}
SIDES = (("upper", "lower"), ("left", "right"))

Numbers = Mapping[tuple[str, ...], Seeds]
"""Each by a value of every factor."""


def slower_growth(report: Report) -> Numbers:
    """From 16 to 1,024 tokens: how many times more does a raster network grow than 100 calls?"""
    kinds = {"operations": ("operations",), "seconds": ("seconds", "1")}
    return {
        (kind, reader): _one(
            _saved(report, way, 100, LONG, *path) / _saved(report, way, 100, SHORT, *path)
        )
        for kind, path in kinds.items()
        for reader, way in READERS.items()
    }


def ten_times(report: Report) -> Numbers:
    """1,024 tokens against 100 calls: how many times less, in calls and in operations?"""
    operations = {
        (f"operations {reader}",): _one(_saved(report, way, 100, LONG, "operations"))
        for reader, way in READERS.items()
    }
    return {("calls",): _one(LONG / 100), **operations}


def fifteen_times(report: Report) -> Numbers:
    """1,024 tokens: how many times fewer seconds does diffusion take?"""
    return {
        (f"{calls} calls", reader, f"{count} at once"): _one(
            _saved(report, way, calls, LONG, "seconds", count)
        )
        for calls in (100, 25)
        for reader, way in READERS.items()
        for count in ("1", "32")
    }


def errors_add_up(report: Report) -> Numbers:
    """Wrong tokens: how many more of the lost ones change than in VQ-Diffusion?

    Each has lost its own half, or both the lower half.
    """
    own = {
        ("own half lost", _wrong(share)): _percent(
            *(over_seeds(report, "errors", name, share, "lost changed") for name in (THEIRS, OURS))
        )
        for share in (ONE, *map(str, SHARES))
    }
    lower = {
        (f"lower half lost, VQ-Diffusion {way}", _wrong(share)): _percent(
            over_seeds(report, "downstream", THEIRS, KEEPS, share, "lost changed"),
            over_seeds(report, "downstream", OURS, mode, share, "lost changed"),
        )
        for way, mode in (("keeps the upper", KEEPS), ("may change the upper", FREE))
        for share in ABOVE
    }
    return {**own, **lower}


def mends(report: Report) -> Numbers:
    """Of wrong tokens: which share gets the true code back?"""
    return {
        (schedule, _wrong(share)): over_seeds(report, "errors", name, share, "mended").percent()
        for schedule, name in (
            ("released schedule", OURS),
            ("paper's schedule", "vq-diffusion-paper"),
        )
        for share in (ONE, *map(str, SHARES))
    }


def order(report: Report) -> Numbers:
    """Right captions if the half that is read first is given, less those if the last one is."""
    biases = {
        (name, pair): _percent(
            *(over_seeds(report, "directions", name, "seen", side, "share") for side in pair)
        )
        for name in (THEIRS, OURS)
        for pair in SIDES
    }
    mine = {("raster", " less ".join(pair)): biases[THEIRS, pair] for pair in SIDES}
    more = {
        ("that less VQ-Diffusion's", " less ".join(pair)): _difference(
            biases[THEIRS, pair], biases[OURS, pair]
        )
        for pair in SIDES
    }
    return {**mine, **more}


def astray(report: Report) -> Numbers:
    """How much stranger are drawn rows of a raster network than true ones, and than VQ-Diffusion's?

    And do they grow stranger from the upper half to the lower?
    """
    own = {("than true rows", judge): gap(report, THEIRS, name) for judge, name in JUDGES.items()}
    more = {
        ("than VQ-Diffusion's", judge): _difference(
            *(gap(report, each, name) for each in (THEIRS, OURS))
        )
        for judge, name in JUDGES.items()
    }
    to_raster, _ = JUDGES
    return {
        **own,
        **more,
        ("in the lower half than in the upper", to_raster): growth(report, THEIRS),
    }


def global_context_bits(report: Report) -> Numbers:
    """The same denoiser in which a token sees only those before it."""
    return _more_bits(report, "causal", OURS)


def global_context_pictures(report: Report) -> Numbers:
    """The same, by right captions."""
    return _fewer_right(report, "causal", OURS, ("guided", 25))


def clearer_target_bits(report: Report) -> Numbers:
    """The same denoiser that names x_{t-1}; neither has an auxiliary loss."""
    return _more_bits(report, "direct", "no-auxiliary")


def clearer_target_pictures(report: Report) -> Numbers:
    """The same, by right captions."""
    return _fewer_right(report, "direct", "no-auxiliary", ("plain", 100))


def better_pictures(report: Report) -> Numbers:
    """With one budget: how many more captions come out right than in a raster network?"""
    return {
        (text,): _percent(*(right(report, name, pairs) for name in (OURS, THEIRS)))
        for pairs, text in PAIRS.items()
    }


def published_order(report: Report) -> Numbers:
    """Bits of a letter: each system of the published order less the one before it."""
    return {
        (f"{worse} less {better}", f"weight {weight:g}"): _difference(
            *(_letters(report, name, weight) for name in (worse, better))
        )
        for weight in sorted((captions.DEFAULT_WEIGHT, *captions.OTHER_WEIGHTS))
        for better, worse in pairwise(PUBLISHED)
    }


def auxiliary_loss(report: Report) -> Numbers:
    """How many bits more does the same kernel need without it, on letters and on tokens?"""
    letters = {
        (f"letters, {kernel}", f"weight {weight:g}"): _difference(
            *(_letters(report, kernel, each) for each in (0, weight))
        )
        for weight in AUXILIARY_WEIGHTS
        for kernel in captions.KERNELS
    }
    weight = f"weight {captions.DEFAULT_WEIGHT:g}"
    tokens = {
        (f"tokens, {text}", weight): seeds
        for (text,), seeds in _more_bits(report, "no-auxiliary", OURS).items()
    }
    return {**letters, **tokens}


def gap(report: Report, name: str, judge: str) -> Seeds:
    """Bits of a token that drawn rows cost this judge more than true ones."""
    return _difference(
        *(over_seeds(report, "forcing", name, judge, rows, "mean") for rows in ("own", "data"))
    )


def growth(report: Report, name: str) -> Seeds:
    """The same for a raster judge: the lower half of the grid less the upper."""
    own, data = (
        parts(report, "forcing", name, "raster", f"{rows} by row") for rows in ("own", "data")
    )
    return Seeds({seed: _lower_less_upper(map(sub, own[seed], data[seed])) for seed in own})


def _lower_less_upper(rows: Iterable[float]) -> float:
    upper, lower = np.array_split(list(rows), 2)
    return float(lower.mean() - upper.mean())


def _saved(report: Report, way: str, calls: int, n: int, *path: str) -> float:
    return cost(report, way, n, *path) / cost(report, f"diffusion {calls}", n, *path)


def _more_bits(report: Report, name: str, than: str) -> Numbers:
    return {
        (text,): _difference(
            *(over_seeds(report, "quality", each, pairs, "bits", "mean") for each in (name, than))
        )
        for pairs, text in PAIRS.items()
    }


def _fewer_right(report: Report, name: str, than: str, way: tuple[str, int]) -> Numbers:
    return {
        (text,): _percent(*(right(report, each, pairs, *way) for each in (than, name)))
        for pairs, text in PAIRS.items()
    }


def _letters(report: Report, system: str, weight: float) -> Seeds:
    name = captions.with_weight(system, weight) if system in captions.KERNELS else system
    return over_seeds(report, "captions", name, "bits", "mean")


def _wrong(share: str) -> str:
    return "one wrong" if share == ONE else f"{100 * float(share):g} % wrong"


def _percent(one: Seeds, other: Seeds) -> Seeds:
    return _difference(one, other).percent()


def _difference(one: Seeds, other: Seeds) -> Seeds:
    return one.over(other, sub)


def _one(value: float) -> Seeds:
    return Seeds({0: value})

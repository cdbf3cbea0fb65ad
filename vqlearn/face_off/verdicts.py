"""Each claim as numbers with a threshold, and a verdict by one rule for all.

Every number is made so that above the threshold it speaks for the claim. All numbers of all seeds
above: confirmed. None above: refuted. Otherwise it depends on what tells the numbers apart, or on
the seed. The rule does not know what is large and what is small: read the numbers too.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from operator import sub

import numpy as np

from vqlearn.face_off import captions
from vqlearn.face_off.results import Report, Seeds, cost, over_seeds, parts, right

LONG, SHORT = 1024, 16
READERS = {"without a cache": "raster without cache", "with a cache": "raster"}
OURS, THEIRS = "vq-diffusion", "raster"
LARGER_WEIGHT = max(captions.OTHER_WEIGHTS)
PUBLISHED = ("raster", "absorbing", "nearest-neighbour", "uniform")
JUDGES = {"to a raster network": "raster", "to a diffusion": "vq-diffusion"}

Numbers = Mapping[str, Seeds]


@dataclass(frozen=True)
class Claim:
    """What is said, the numbers that bear on it, and the threshold.

    `split` says what the verdict depends on, if the numbers lie on both sides.
    """

    text: str
    numbers: Callable[[Report], Numbers]
    above: float
    split: str

    def verdict(self, report: Report) -> str:
        """By the rule above."""
        found = self.numbers(report).values()
        if all(seeds.low > self.above for seeds in found):
            return "confirmed"
        if all(seeds.high <= self.above for seeds in found):
            return "refuted"
        mixed = any(seeds.low <= self.above < seeds.high for seeds in found)
        return f"depends on the {'seed' if mixed else self.split}"

    def reason(self, report: Report) -> str:
        """All numbers, with their seeds."""
        found = self.numbers(report).items()
        return "; ".join(f"{name}: {seeds.text('.3g')}" for name, seeds in found)


def slower_growth(report: Report) -> Numbers:
    """From 16 to 1,024 tokens: how many times more does a raster network grow than 100 calls?"""
    kinds = {"operations": ("operations",), "seconds": ("seconds", "1")}
    return {
        f"{kind} {reader}": _one(
            _saved(report, way, 100, LONG, *path) / _saved(report, way, 100, SHORT, *path)
        )
        for kind, path in kinds.items()
        for reader, way in READERS.items()
    }


def ten_times(report: Report) -> Numbers:
    """1,024 tokens against 100 calls: how many times less, in calls and in operations?"""
    operations = {
        f"operations {reader}": _one(_saved(report, way, 100, LONG, "operations"))
        for reader, way in READERS.items()
    }
    return {"calls": _one(LONG / 100), **operations}


def fifteen_times(report: Report) -> Numbers:
    """1,024 tokens: how many times fewer seconds does diffusion take?"""
    return {
        f"{calls} calls, {reader}, {count} at once": _one(
            _saved(report, way, calls, LONG, "seconds", count)
        )
        for calls in (100, 25)
        for reader, way in READERS.items()
        for count in ("1", "32")
    }


def errors_add_up(report: Report) -> Numbers:
    """Wrong tokens: how many more of those drawn after them change than in VQ-Diffusion?

    And do rows that it drew grow stranger from the upper half to the lower, more than true ones?
    """
    changed = {
        f"lost tokens that change more, {share} wrong": _difference(
            *(over_seeds(report, "errors", name, share, "lost changed") for name in (THEIRS, OURS))
        )
        for share in ("one", "0.1")
    }
    return {**changed, "bits more in the lower half than in the upper": growth(report, THEIRS)}


def mends(report: Report) -> Numbers:
    """Of wrong tokens, one in ten: which share gets the true code back?"""
    return {
        schedule: over_seeds(report, "errors", name, "0.1", "mended")
        for schedule, name in (("released schedule", OURS), ("paper's", "vq-diffusion-paper"))
    }


def order(report: Report) -> Numbers:
    """Right sentences if the half that is read first is given, less those if the last one is."""
    biases = {
        (name, pair): _difference(
            *(over_seeds(report, "directions", name, "seen", side, "share") for side in pair)
        )
        for name in (THEIRS, OURS)
        for pair in (("upper", "lower"), ("left", "right"))
    }
    pairs = {" less ".join(pair): pair for pair in (("upper", "lower"), ("left", "right"))}
    mine = {f"raster, {text}": biases[THEIRS, pair] for text, pair in pairs.items()}
    more = {
        f"that less VQ-Diffusion's, {text}": _difference(biases[THEIRS, pair], biases[OURS, pair])
        for text, pair in pairs.items()
    }
    return {**mine, **more}


def astray(report: Report) -> Numbers:
    """How much stranger are drawn rows of a raster network than those of VQ-Diffusion?"""
    return {
        f"bits more {text}": _difference(*(gap(report, name, judge) for name in (THEIRS, OURS)))
        for text, judge in JUDGES.items()
    }


def global_context(report: Report) -> Numbers:
    """The same denoiser in which a token sees only those before it."""
    return _worse(report, "causal", OURS, ("guided", 25))


def clearer_target(report: Report) -> Numbers:
    """The same denoiser that names x_{t-1}; neither has an auxiliary loss."""
    return _worse(report, "direct", "no-auxiliary", ("plain", 100))


def better_pictures(report: Report) -> Numbers:
    """With one budget: how many more sentences come out right than in a raster network?"""
    return {
        f"right more, {text}": _difference(
            *(right(report, name, composition) for name in (OURS, THEIRS))
        )
        for text, composition in (("pairs seen", "seen"), ("pairs never seen", "held_out"))
    }


def published_order(report: Report) -> Numbers:
    """Bits of a letter: each system of the published order less the one before it."""
    bits = {name: over_seeds(report, "captions", name, "bits", "mean") for name in PUBLISHED}
    return {
        f"{worse} less {better}": _difference(bits[worse], bits[better])
        for better, worse in pairwise(PUBLISHED)
    }


def auxiliary_loss(report: Report) -> Numbers:
    """How many bits more does the same kernel need without it, on letters and on tokens?"""
    letters = {
        f"{kernel}, weight {weight:g}": _difference(
            *(
                over_seeds(report, "captions", captions.with_weight(kernel, each), "bits", "mean")
                for each in (0, weight)
            )
        )
        for weight in (captions.DEFAULT_WEIGHT, LARGER_WEIGHT)
        for kernel in captions.KERNELS
    }
    tokens = (
        over_seeds(report, "quality", name, "seen", "bits", "mean")
        for name in ("no-auxiliary", OURS)
    )
    return {**letters, f"tokens, weight {captions.DEFAULT_WEIGHT:g}": _difference(*tokens)}


CLAIMS = (
    Claim("autoregression slows down more as pictures grow", slower_growth, 1, "cache"),
    Claim("diffusion is 10 times cheaper by counting", ten_times, 10, "way to count"),
    Claim("diffusion is 15 times faster in practice", fifteen_times, 15, "cache"),
    Claim("errors add up in autoregression", errors_add_up, 0, "question"),
    Claim("VQ-Diffusion corrects wrong tokens", mends, 0.5, "schedule"),
    Claim("the order of reading biases autoregression", order, 0, "direction"),
    Claim("teacher forcing leads autoregression astray", astray, 0, "judge"),
    Claim("global context helps", global_context, 0, "measure"),
    Claim("x_0 is the clearer target", clearer_target, 0, "measure"),
    Claim("VQ-Diffusion draws better pictures", better_pictures, 0, "sentences"),
    Claim("letters cost the kernels bits in the published order", published_order, 0, "pair"),
    Claim("the auxiliary loss saves bits", auxiliary_loss, 0, "weight"),
)


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


def _worse(report: Report, name: str, than: str, way: tuple[str, int]) -> Numbers:
    bits = (over_seeds(report, "quality", each, "seen", "bits", "mean") for each in (name, than))
    shares = (right(report, each, "seen", *way) for each in (than, name))
    return {"bits more": _difference(*bits), "right less": _difference(*shares)}


def _difference(one: Seeds, other: Seeds) -> Seeds:
    return one.over(other, sub)


def _one(value: float) -> Seeds:
    return Seeds({0: value})

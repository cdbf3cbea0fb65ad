"""The numbers that bear on each claim, out of the report.

Every number is made so that the larger it is, the more it speaks for the claim.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import pairwise, product
from typing import Any

from vqlearn.experiments.face_off.inpainting import ABOVE, AMOUNTS, FREE, KEEPS
from vqlearn.experiments.face_off.letters import KERNELS, WEIGHTS, with_weight
from vqlearn.experiments.face_off.results import numbers
from vqlearn.experiments.face_off.results.numbers import Seeds, wrong
from vqlearn.experiments.face_off.system_run import DIFFUSION, RASTER
from vqlearn.experiments.report import Report
from vqlearn.experiments.sequences import DEFAULT_AUXILIARY_WEIGHT

LONG, SHORT = 1024, 16
READERS = {
    "without a cache": "raster without cache",
    "without one, prefix only": "raster, prefix only",
    "with a cache": "raster",
}
SCHEDULES = {"released schedule": DIFFUSION, "paper's schedule": "vq-diffusion-paper"}
REFERENCES = {"to a raster network": RASTER, "to a diffusion": DIFFUSION}
WRONG = {wrong(amount): amount for amount in AMOUNTS}
WRONG_ABOVE = {wrong(amount): amount for amount in ABOVE}
LOWER_LOST = {
    "lower half lost, VQ-Diffusion keeps the upper": KEEPS,
    "lower half lost, VQ-Diffusion may change the upper": FREE,
}
PAIRS = {"pairs seen": "seen", "pairs never seen": "held_out"}
PUBLISHED = ("raster", "absorbing", "nearest-neighbour", "uniform")

Numbers = Mapping[tuple[str, ...], Seeds]
"""Each by a value of every factor, in words."""


def over(number: Callable[..., Seeds], *factors: Mapping[str, Any]) -> Callable[[Report], Numbers]:
    """A number of the report at all values of these factors, by the words for the values."""

    def found(report: Report) -> Numbers:
        points = (zip(*each, strict=True) for each in product(*(each.items() for each in factors)))
        return {words: number(report, *values) for words, values in points}

    return found


def compared(
    number: Callable[..., Seeds], report: Report, systems: Sequence[str], *of: Any
) -> Seeds:
    """A number of one system; of two systems, that of the first less that of the second."""
    one, *other = (number(report, system, *of) for system in systems)
    return one.minus(*other) if other else one


def on_pairs(number: Callable[..., Seeds], more: str, less: str) -> Callable[[Report], Numbers]:
    """A number of one system less that of another, on both kinds of captions."""
    return over(lambda report, pairs: compared(number, report, (more, less), pairs), PAIRS)


def times_diffusion(
    report: Report, calls: int, way: str, at_once: int | None = None, n: int = LONG
) -> Seeds:
    """How many times more this way costs than so many calls of a denoiser.

    In seconds if so many images are sampled at once, else in operations.
    """
    ways = (way, f"diffusion {calls}")
    raster, diffusion = (numbers.cost_of(report, each, n, at_once) for each in ways)
    return Seeds({0: raster / diffusion})


def times_growth(report: Report, at_once: int | None, way: str) -> Seeds:
    """How many times more a raster network grows than 100 calls, from 16 to 1,024 tokens."""
    short, long = (times_diffusion(report, 100, way, at_once, n).mean for n in (SHORT, LONG))
    return Seeds({0: long / short})


def times_counted(report: Report, way: str | None) -> Seeds:
    """The factor for 1,024 tokens: operations of this way to read, or without one the calls."""
    return times_diffusion(report, 100, way) if way else Seeds({0: LONG / 100})


slower_growth = over(times_growth, {"operations": None, "seconds": 1}, READERS)
ten_times = over(
    times_counted, {"calls": None} | {f"operations {name}": way for name, way in READERS.items()}
)
fifteen_times = over(
    times_diffusion,
    {"100 calls": 100, "25 calls": 25},
    READERS,
    {"1 at once": 1, "32 at once": 32},
)


def more_change(report: Report, freedom: str | None, amount: str) -> Seeds:
    """How many more of 100 lost tokens change than in VQ-Diffusion, because others are wrong.

    Each has lost its own half; with a freedom of VQ-Diffusion both have lost the lower half.
    """
    raster = numbers.changed(report, RASTER, amount, freedom and KEEPS)
    return raster.minus(numbers.changed(report, DIFFUSION, amount, freedom)).percent()


def errors_add_up(report: Report) -> Numbers:
    """How many more change, whichever half is lost."""
    own = over(more_change, {"own half lost": None}, WRONG)
    lower = over(more_change, LOWER_LOST, WRONG_ABOVE)
    return {**own(report), **lower(report)}


def percent_corrected(report: Report, system: str, amount: str) -> Seeds:
    """How many of 100 wrong tokens get the true code back."""
    return numbers.corrected(report, system, amount).percent()


def first_less_last(report: Report, system: str, sides: tuple[str, str]) -> Seeds:
    """How many more of 100 captions come out right if the half that is read first is given."""
    first, last = (numbers.right_given(report, system, side).percent() for side in sides)
    return first.minus(last)


def exposure_bias(report: Report) -> Numbers:
    """Bits that sampled sequences of a raster network need more than true ones.

    And more than VQ-Diffusion's; and how far they grow from the upper half to the lower.
    """
    comparisons = {"than true sequences": (RASTER,), "than VQ-Diffusion's": (RASTER, DIFFUSION)}
    gaps = over(partial(compared, numbers.gap), comparisons, REFERENCES)(report)
    lower = ("in the lower half than in the upper", "to a raster network")
    return {**gaps, lower: numbers.growth(report, RASTER)}


corrects = over(percent_corrected, SCHEDULES, WRONG)
order = over(
    partial(compared, first_less_last),
    {"raster": (RASTER,), "that less VQ-Diffusion's": (RASTER, DIFFUSION)},
    {"upper less lower": ("upper", "lower"), "left less right": ("left", "right")},
)


def right_guided(report: Report, system: str, composition: str) -> Seeds:
    """Of 100 captions those that come out right, guided and with 25 calls."""
    return numbers.right(report, system, composition).percent()


def right_plain(report: Report, system: str, composition: str) -> Seeds:
    """The same without guidance, with 100 calls."""
    return numbers.right(report, system, composition, guided=False, steps=100).percent()


def published_order(report: Report) -> Numbers:
    """Bits of a letter: each system of the published order less the one before it."""
    return {
        (f"{worse} less {better}", f"weight {weight:g}"): compared(
            bits_with, report, (worse, better), weight
        )
        for weight in WEIGHTS
        for better, worse in pairwise(PUBLISHED)
    }


def auxiliary_loss(report: Report) -> Numbers:
    """Bits that the same kernel needs more without it, on letters and on tokens."""
    found = {}
    for weight in WEIGHTS[1:]:
        for kernel in KERNELS:
            more = bits_with(report, kernel, 0).minus(bits_with(report, kernel, weight))
            found[f"letters, {kernel}", f"weight {weight:g}"] = more
    tokens = on_pairs(numbers.token_bits, "no-auxiliary", DIFFUSION)(report)
    for (pairs,), more in tokens.items():
        found[f"tokens, {pairs}", f"weight {DEFAULT_AUXILIARY_WEIGHT:g}"] = more
    return found


def bits_with(report: Report, system: str, auxiliary_weight: float) -> Seeds:
    """Bits of a letter; only kernels have an auxiliary loss."""
    name = with_weight(system, auxiliary_weight) if system in KERNELS else system
    return numbers.letter_bits(report, name)

"""Each claim with its numbers, a threshold, and a verdict by one rule for all.

Every number is made so that the larger it is, the more it speaks for the claim. All numbers of all
seeds above the threshold: confirmed. None above: refuted. Otherwise the verdict names what one has
to know to be sure: the fewest factors which, once they are fixed, leave all numbers on one side.
The seed is such a factor too. The rule does not know what is large and what is small: read the
numbers too.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import combinations, pairwise, product
from operator import itemgetter
from typing import Any

from vqlearn.experiments.face_off.inpainting import ABOVE, AMOUNTS, FREE, KEEPS
from vqlearn.experiments.face_off.letters import KERNELS, WEIGHTS, with_weight
from vqlearn.experiments.face_off.results import numbers
from vqlearn.experiments.face_off.results.numbers import Seeds, token_bits, wrong
from vqlearn.experiments.face_off.training import DIFFUSION, RASTER
from vqlearn.experiments.report import Report
from vqlearn.experiments.sequences import DEFAULT_AUXILIARY_WEIGHT

LONG, SHORT = 1024, 16
READERS = {
    "without a cache": "raster without cache",
    "without one, prefix only": "raster, prefix only",
    "with a cache": "raster",
}
COUNTED = {"calls": None} | {f"operations {name}": way for name, way in READERS.items()}
SCHEDULES = {"released schedule": DIFFUSION, "paper's schedule": "vq-diffusion-paper"}
REFERENCES = {"to a raster network": RASTER, "to a diffusion": DIFFUSION}
WRONG = {wrong(amount): amount for amount in AMOUNTS}
PAIRS = {"pairs seen": "seen", "pairs never seen": "held_out"}
PUBLISHED = ("raster", "absorbing", "nearest-neighbour", "uniform")

Numbers = Mapping[tuple[str, ...], Seeds]
"""Each by a value of every factor, in words."""


@dataclass(frozen=True)
class Claim:
    """What is said, the numbers that bear on it with their unit, and the threshold.

    `factors` say what the parts of a number's name mean: "the cache".
    """

    text: str
    unit: str
    numbers: Callable[[Report], Numbers]
    factors: tuple[str, ...] = ("captions",)
    above: float = 0

    def verdict(self, report: Report) -> str:
        """By the rule above."""
        sides = {
            (*key, str(seed)): value > self.above
            for key, seeds in self.numbers(report).items()
            for seed, value in seeds.by_seed.items()
        }
        if len(set(sides.values())) == 1:
            return "confirmed" if all(sides.values()) else "refuted"
        *others, last = deciding(sides, (*self.factors, "seed"))
        return f"depends on {', '.join(others)} and {last}" if others else f"depends on {last}"

    def reason(self, report: Report) -> str:
        """All numbers, with their seeds: a line for each in Markdown."""
        found = self.numbers(report).items()
        lines = [f"{', '.join(key)}: {seeds.text('.3g')}" for key, seeds in found]
        return "<br>".join([f"*{self.unit}*", *lines])

    def span(self, report: Report) -> str:
        """The lowest and the highest of all numbers, with their unit."""
        found = [value for seeds in self.numbers(report).values() for value in seeds.values]
        return f"{min(found):.3g} to {max(found):.3g} {self.unit}"


def deciding(sides: Mapping[tuple[str, ...], bool], factors: Sequence[str]) -> list[str]:
    """The fewest factors that tell the sides apart; of equally many the ones named first."""
    for count in range(1, len(factors) + 1):
        for some in combinations(range(len(factors)), count):
            values = itemgetter(*some)
            side_of = {values(key): side for key, side in sides.items()}
            if all(side_of[values(key)] == side for key, side in sides.items()):
                return [f"the {factors[position]}" for position in some]
    raise ValueError(f"the keys are {list(sides)}; allowed: each once")


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


def more_change(report: Report, freedom: str | None, amount: str) -> Seeds:
    """How many more of 100 lost tokens change than in VQ-Diffusion, because others are wrong.

    Each has lost its own half; with a freedom of VQ-Diffusion both have lost the lower half.
    """
    raster = numbers.changed(report, RASTER, amount, freedom and KEEPS)
    return raster.minus(numbers.changed(report, DIFFUSION, amount, freedom)).percent()


def errors_add_up(report: Report) -> Numbers:
    """How many more change, whichever half is lost."""
    own = over(more_change, {"own half lost": None}, WRONG)
    lost, above = "lower half lost, VQ-Diffusion", {wrong(amount): amount for amount in ABOVE}
    freedoms = {f"{lost} keeps the upper": KEEPS, f"{lost} may change the upper": FREE}
    return {**own(report), **over(more_change, freedoms, above)(report)}


def percent(number: Callable[..., Seeds], **how: Any) -> Callable[..., Seeds]:
    """How many of 100, where the number is a share."""
    return lambda report, *of: number(report, *of, **how).percent()


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


def against_variant(
    what: str, how: str, variant: str, usual: str, right: Callable[..., Seeds]
) -> tuple[Claim, Claim]:
    """Two claims on what a variant lacks: it saves bits, and samples better."""
    bits = on_pairs(token_bits, variant, usual)
    images = on_pairs(right, usual, variant)
    return (
        Claim(f"{what} saves bits", f"bits of a token more {how}", bits),
        Claim(f"{what} samples better", f"fewer of 100 captions right {how}", images),
    )


RIGHT_GUIDED = percent(numbers.right)
"""Of 100 captions those that come out right, guided and with 25 calls."""
RIGHT_PLAIN = percent(numbers.right, guided=False, steps=100)
CLAIMS = (
    Claim(
        "autoregression slows down more as images grow",
        "times the growth of 100 calls, from 16 to 1,024 tokens",
        over(times_growth, {"operations": None, "seconds": 1}, READERS),
        ("measure", "cache"),
        above=1,
    ),
    Claim(
        "diffusion is 10 times cheaper by counting",
        "times what diffusion needs",
        over(times_counted, COUNTED),
        ("way to count",),
        above=10,
    ),
    Claim(
        "diffusion is 15 times faster in practice",
        "times the seconds of diffusion, on one CPU thread",
        over(
            times_diffusion,
            {"100 calls": 100, "25 calls": 25},
            READERS,
            {"1 at once": 1, "32 at once": 32},
        ),
        ("number of calls", "cache", "number of images"),
        above=15,
    ),
    Claim(
        "errors add up in autoregression",
        "more of 100 lost tokens change than in VQ-Diffusion",
        errors_add_up,
        ("half that is lost", "number of wrong tokens"),
    ),
    Claim(
        "VQ-Diffusion corrects wrong tokens",
        "of 100 wrong tokens get the true code",
        over(percent(numbers.corrected), SCHEDULES, WRONG),
        ("schedule", "number of wrong tokens"),
        above=50,
    ),
    Claim(
        "the order of reading biases autoregression",
        "more of 100 captions right if the first half is given than with the last",
        over(
            partial(compared, first_less_last),
            {"raster": (RASTER,), "that less VQ-Diffusion's": (RASTER, DIFFUSION)},
            {"upper less lower": ("upper", "lower"), "left less right": ("left", "right")},
        ),
        ("comparison", "direction"),
    ),
    Claim(
        "teacher forcing leads to exposure bias",
        "bits of a token more in sequences that it sampled",
        exposure_bias,
        ("comparison", "reference model"),
    ),
    *against_variant("global context", "with causal attention", "causal", DIFFUSION, RIGHT_GUIDED),
    *against_variant(
        *("x_0 as the target", "when predicting x_{t-1}", "direct", "no-auxiliary"),
        RIGHT_PLAIN,
    ),
    Claim(
        "VQ-Diffusion samples better images",
        "more of 100 captions right than with the raster transformer",
        on_pairs(RIGHT_GUIDED, DIFFUSION, RASTER),
    ),
    Claim(
        "letters cost the kernels bits in the published order",
        "bits of a letter more",
        published_order,
        ("pair", "weight of the auxiliary loss"),
    ),
    Claim(
        "the auxiliary loss saves bits",
        "bits more without it",
        auxiliary_loss,
        ("kernel", "weight"),
    ),
)

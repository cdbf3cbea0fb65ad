"""Each claim with its numbers, a threshold, and a verdict by one rule for all.

All numbers of all seeds above the threshold: confirmed. None above: refuted. Otherwise the verdict
names what one has to know to be sure: the fewest factors which, once they are fixed, leave all
numbers on one side. The seed is such a factor too. The rule does not know what is large and what is
small: read the numbers too.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from vqlearn.experiments.face_off.results import evidence
from vqlearn.experiments.face_off.results.evidence import Numbers
from vqlearn.experiments.report import Report


@dataclass(frozen=True)
class Claim:
    """What is said, the numbers that bear on it with their unit, and the threshold.

    `factors` say what the parts of a number's name mean: "the cache".
    """

    text: str
    numbers: Callable[[Report], Numbers]
    unit: str
    above: float
    factors: tuple[str, ...]

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
            if _decide(sides, some):
                return [f"the {factors[position]}" for position in some]
    raise ValueError(f"the keys are {list(sides)}; allowed: each once")


def _decide(sides: Mapping[tuple[str, ...], bool], positions: Sequence[int]) -> bool:
    """Do equal values in these positions always mean the same side?"""
    side_of: dict[tuple[str, ...], bool] = {}
    for key, side in sides.items():
        values = tuple(key[position] for position in positions)
        if side_of.setdefault(values, side) != side:
            return False
    return True


CAUSAL, DIRECT = "with causal attention", "when predicting x_{t-1}"
CLAIMS = (
    Claim(
        "autoregression slows down more as images grow",
        evidence.slower_growth,
        "times the growth of 100 calls, from 16 to 1,024 tokens",
        1,
        ("measure", "cache"),
    ),
    Claim(
        "diffusion is 10 times cheaper by counting",
        evidence.ten_times,
        "times what diffusion needs",
        10,
        ("way to count",),
    ),
    Claim(
        "diffusion is 15 times faster in practice",
        evidence.fifteen_times,
        "times the seconds of diffusion, on one CPU thread",
        15,
        ("number of calls", "cache", "number of images"),
    ),
    Claim(
        "errors add up in autoregression",
        evidence.errors_add_up,
        "more of 100 lost tokens change than in VQ-Diffusion",
        0,
        ("half that is lost", "number of wrong tokens"),
    ),
    Claim(
        "VQ-Diffusion corrects wrong tokens",
        evidence.corrects,
        "of 100 wrong tokens get the true code",
        50,
        ("schedule", "number of wrong tokens"),
    ),
    Claim(
        "the order of reading biases autoregression",
        evidence.order,
        "more of 100 captions right if the first half is given than with the last",
        0,
        ("comparison", "direction"),
    ),
    Claim(
        "teacher forcing leads to exposure bias",
        evidence.exposure_bias,
        "bits of a token more in sequences that it sampled",
        0,
        ("comparison", "reference model"),
    ),
    Claim(
        "global context saves bits",
        evidence.global_context_bits,
        f"bits of a token more {CAUSAL}",
        0,
        ("captions",),
    ),
    Claim(
        "global context samples better",
        evidence.global_context_images,
        f"fewer of 100 captions right {CAUSAL}",
        0,
        ("captions",),
    ),
    Claim(
        "x_0 as the target saves bits",
        evidence.clearer_target_bits,
        f"bits of a token more {DIRECT}",
        0,
        ("captions",),
    ),
    Claim(
        "x_0 as the target samples better",
        evidence.clearer_target_images,
        f"fewer of 100 captions right {DIRECT}",
        0,
        ("captions",),
    ),
    Claim(
        "VQ-Diffusion samples better images",
        evidence.better_images,
        "more of 100 captions right than with the raster transformer",
        0,
        ("captions",),
    ),
    Claim(
        "letters cost the kernels bits in the published order",
        evidence.published_order,
        "bits of a letter more",
        0,
        ("pair", "weight of the auxiliary loss"),
    ),
    Claim(
        "the auxiliary loss saves bits",
        evidence.auxiliary_loss,
        "bits more without it",
        0,
        ("kernel", "weight"),
    ),
)

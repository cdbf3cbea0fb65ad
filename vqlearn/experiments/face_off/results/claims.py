"""Each claim with its numbers, a threshold, and a verdict by one rule for all.

All numbers of all seeds above the threshold: confirmed. None above: refuted. Otherwise the verdict
names what one has to know to be sure: the fewest factors which, once they are fixed, leave all
numbers on one side. The seed is such a factor too. The rule does not know what is large and what is
small: read the numbers too.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from operator import itemgetter

from vqlearn.experiments.face_off.results import evidence
from vqlearn.experiments.face_off.results.evidence import Numbers
from vqlearn.experiments.face_off.results.numbers import Seeds, token_bits
from vqlearn.experiments.face_off.system_run import DIFFUSION, RASTER
from vqlearn.experiments.report import Report


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


def against_variant(
    what: str, how: str, variant: str, usual: str, right: Callable[..., Seeds]
) -> tuple[Claim, Claim]:
    """Two claims on what a variant lacks: it saves bits, and samples better."""
    bits = evidence.on_pairs(token_bits, variant, usual)
    images = evidence.on_pairs(right, usual, variant)
    return (
        Claim(f"{what} saves bits", f"bits of a token more {how}", bits),
        Claim(f"{what} samples better", f"fewer of 100 captions right {how}", images),
    )


CLAIMS = (
    Claim(
        "autoregression slows down more as images grow",
        "times the growth of 100 calls, from 16 to 1,024 tokens",
        evidence.slower_growth,
        ("measure", "cache"),
        above=1,
    ),
    Claim(
        "diffusion is 10 times cheaper by counting",
        "times what diffusion needs",
        evidence.ten_times,
        ("way to count",),
        above=10,
    ),
    Claim(
        "diffusion is 15 times faster in practice",
        "times the seconds of diffusion, on one CPU thread",
        evidence.fifteen_times,
        ("number of calls", "cache", "number of images"),
        above=15,
    ),
    Claim(
        "errors add up in autoregression",
        "more of 100 lost tokens change than in VQ-Diffusion",
        evidence.errors_add_up,
        ("half that is lost", "number of wrong tokens"),
    ),
    Claim(
        "VQ-Diffusion corrects wrong tokens",
        "of 100 wrong tokens get the true code",
        evidence.corrects,
        ("schedule", "number of wrong tokens"),
        above=50,
    ),
    Claim(
        "the order of reading biases autoregression",
        "more of 100 captions right if the first half is given than with the last",
        evidence.order,
        ("comparison", "direction"),
    ),
    Claim(
        "teacher forcing leads to exposure bias",
        "bits of a token more in sequences that it sampled",
        evidence.exposure_bias,
        ("comparison", "reference model"),
    ),
    *against_variant(
        "global context", "with causal attention", "causal", DIFFUSION, evidence.right_guided
    ),
    *against_variant(
        *("x_0 as the target", "when predicting x_{t-1}", "direct", "no-auxiliary"),
        evidence.right_plain,
    ),
    Claim(
        "VQ-Diffusion samples better images",
        "more of 100 captions right than with the raster transformer",
        evidence.on_pairs(evidence.right_guided, DIFFUSION, RASTER),
    ),
    Claim(
        "letters cost the kernels bits in the published order",
        "bits of a letter more",
        evidence.published_order,
        ("pair", "weight of the auxiliary loss"),
    ),
    Claim(
        "the auxiliary loss saves bits",
        "bits more without it",
        evidence.auxiliary_loss,
        ("kernel", "weight"),
    ),
)

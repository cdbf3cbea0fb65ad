"""Effects with intervals: how far systems lie apart, over test items and over seeds.

A measure of a system is an `Estimate` for each seed that was run. Answers were not stored item by
item, so differences are unpaired: the two systems count as if they had met different test items.
They met the same, so a paired interval would be narrower wherever both find the same items hard.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from vqlearn.evaluation import Share
from vqlearn.experiments.face_off.exposure_bias import ExposureBiasRun
from vqlearn.experiments.face_off.inpainting import DirectionsRun, ErrorEffect
from vqlearn.experiments.face_off.letters import LetterRun
from vqlearn.experiments.face_off.quality import USUAL_CALLS, QualityRun
from vqlearn.experiments.face_off.results import numbers
from vqlearn.experiments.face_off.results.numbers import Seeds
from vqlearn.experiments.report import Report
from vqlearn.probability import (
    Bits,
    Estimate,
    average_estimate,
    linear_combination,
    student_interval,
)

Measured = Mapping[int, Estimate]
"""One measure of one system, by seed."""
ENOUGH_SEEDS = 3


@dataclass(frozen=True)
class Effect:
    """A number with its interval over test items, and what each seed gives."""

    estimate: Estimate
    seeds: Seeds

    @property
    def over_seeds(self) -> Estimate | None:
        """The interval over seeds; None of fewer than three."""
        values = self.seeds.values
        return student_interval(values) if len(values) >= ENOUGH_SEEDS else None

    def times(self, factor: float) -> "Effect":
        """The same in another unit."""
        seeds = {seed: factor * value for seed, value in self.seeds.by_seed.items()}
        return Effect(linear_combination([(factor, self.estimate)]), Seeds(seeds))

    def text(self, form: str) -> str:
        """The number and its interval over test items in this format."""
        return interval_text(self.estimate, form)

    def seeds_text(self, form: str) -> str:
        """What each seed gives, and the interval over seeds where there is one."""
        each = ", ".join(f"{value:z{form}}" for value in self.seeds.values)
        return f"{each} {_ends(self.over_seeds, form)}" if self.over_seeds else each


def interval_text(estimate: Estimate, form: str) -> str:
    """Such as "0.12 [0.10, 0.14]"; what rounds to 0 has no sign (the letter z)."""
    return f"{estimate.value:z{form}} {_ends(estimate, form)}"


def _ends(estimate: Estimate, form: str) -> str:
    return f"[{estimate.low:z{form}}, {estimate.high:z{form}}]"


def combined(terms: Sequence[tuple[float, Measured]]) -> Effect:
    """A sum of measures, each times its factor, over the seeds that all of them have.

    Seeds met the same test items: more of them make the interval over items no narrower. Raises
    `ValueError` if the measures have no seed in common.
    """
    common = sorted(set.intersection(*(set(measure) for _, measure in terms)))
    if not common:
        raise ValueError(f"seeds {[list(each) for _, each in terms]} have none in common")
    means = [(c, average_estimate([each[seed] for seed in common])) for c, each in terms]
    seeds = {seed: sum(c * each[seed].value for c, each in terms) for seed in common}
    return Effect(linear_combination(means), Seeds(seeds))


def effect(more: Measured, less: Measured | None = None) -> Effect:
    """A measure; or of two measures, the first minus the second."""
    return combined([(1, more)] if less is None else [(1, more), (-1, less)])


def of_share(share: Share) -> Estimate:
    """A count of right items."""
    return Estimate.of_share(share.right, share.total)


def of_bits(bits: Bits) -> Estimate:
    """A mean over items."""
    return Estimate.of_mean(*bits)


def token_bits(report: Report, system: str, composition: str) -> Measured:
    """Bits per token of the true tokens, exact or a bound."""
    path = ("by_composition", composition, "bits_per_token")
    return _estimates(numbers.over_seeds(report, QualityRun, system, *path), of_bits)


def character_bits(report: Report, system: str) -> Measured:
    """Bits per character above the entropy of each caption.

    How hard a caption is was taken off, so these have the differences of the bits themselves, and
    smaller errors.
    """
    return _estimates(numbers.over_seeds(report, LetterRun, system, "bits_above_floor"), of_bits)


def parsed(report: Report, system: str) -> Measured:
    """The share of sampled captions that the parser understands."""
    return _estimates(numbers.over_seeds(report, LetterRun, system, "samples", "parsed"), of_share)


def accuracy(
    report: Report,
    system: str,
    composition: str,
    *,
    guided: bool = True,
    steps: int = USUAL_CALLS,
) -> Measured:
    """The share of images that show their caption; `steps` matter where they can be chosen."""
    return _estimates(numbers.accuracies(report, system, composition, guided, steps), of_share)


def accuracy_given(report: Report, system: str, side: str, composition: str = "seen") -> Measured:
    """The same where this half of a true image is given."""
    path = (composition, side, "accuracy")
    return _estimates(numbers.over_seeds(report, DirectionsRun, system, *path), of_share)


def accuracy_with_errors(
    report: Report, system: str, freedom: str | None, amount: str | None
) -> Measured:
    """The same where so many of the given tokens are corrupted; no amount: none is."""
    path = ("by_amount", amount, "accuracy") if amount else ("untouched",)
    return _estimates(numbers.with_errors(report, system, freedom, *path), of_share)


def token_share(
    what: str, report: Report, system: str, amount: str, freedom: str | None = None
) -> Measured:
    """The "changed", "replaced" or "corrected" share of tokens, with the interval of few trials.

    Tokens of one image are no independent trials: each image counts as one.
    """
    found: Seeds = numbers.with_errors(report, system, freedom, "by_amount", amount)

    def estimate(of: ErrorEffect) -> Estimate:
        images = of.accuracy.total
        return Estimate.of_share(getattr(of, f"{what}_share") * images, images)

    return _estimates(found, estimate)


def reference_bits(report: Report, system: str, reference: str, whose: str) -> Measured:
    """Bits per token to this reference: of a system's "own" samples, or of the "data"."""
    return _estimates(
        numbers.over_seeds(report, ExposureBiasRun, system, reference, whose), of_bits
    )


def _estimates(found: Seeds, estimate: Callable[..., Estimate]) -> Measured:
    return {seed: estimate(each) for seed, each in sorted(found.by_seed.items())}

"""Numbers out of the report: one for each seed, their mean, and how far the seeds lie apart.

Shares are from 0 to 1. Every look-up raises `KeyError` if no seed of the system was run.
"""

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from vqlearn.experiments.face_off.costs import Cost, CostRun
from vqlearn.experiments.face_off.exposure_bias import ExposureBiasRun
from vqlearn.experiments.face_off.inpainting import ONE, DirectionsRun, DownstreamRun, ErrorsRun
from vqlearn.experiments.face_off.letters import LetterRun
from vqlearn.experiments.face_off.quality import USUAL_CALLS, QualityRun
from vqlearn.experiments.face_off.training import RASTER, SEEDS, SystemRun, run_id
from vqlearn.experiments.report import Report
from vqlearn.experiments.systems import LABELS

Measure = type[SystemRun] | type[LetterRun]


@dataclass(frozen=True)
class Seeds:
    """One number (or whatever was found) for each seed that was run."""

    by_seed: dict[int, Any]

    @property
    def values(self) -> tuple[Any, ...]:
        """The numbers alone, in the order of the seeds."""
        return tuple(self.by_seed[seed] for seed in sorted(self.by_seed))

    @property
    def mean(self) -> float:
        """The mean over seeds."""
        return sum(self.values) / len(self.values)

    def text(self, form: str) -> str:
        """The mean in this format, and from where to where the seeds go if there are several."""
        if len(self.values) == 1:
            return f"{self.mean:{form}}"
        return f"{self.mean:{form}} ({min(self.values):{form}} to {max(self.values):{form}})"

    def minus(self, other: "Seeds") -> "Seeds":
        """The difference seed by seed, of the seeds that both have.

        Raises `ValueError` if they have none in common.
        """
        one, two = self.by_seed, other.by_seed
        if one.keys().isdisjoint(two):
            raise ValueError(f"seeds {list(one)} and {list(two)} have none in common")
        return Seeds({seed: one[seed] - two[seed] for seed in one if seed in two})

    def percent(self) -> "Seeds":
        """A hundred times the numbers."""
        return Seeds({seed: 100 * value for seed, value in self.by_seed.items()})


def results_of(report: Report, measure: Measure, system: str) -> dict[int, Any]:
    """The results of one measure of one system, by seed."""
    ids = {seed: run_id(measure.measure_id, system, seed) for seed in SEEDS}
    found = {seed: report.runs[id].result for seed, id in ids.items() if id in report.runs}
    if not found:
        raise KeyError(f"none of the runs {', '.join(ids.values())} is in the report")
    return found


def measured(report: Report, measure: Measure) -> list[str]:
    """The systems that have a run of this measure, in the order of the labels."""
    return [
        name
        for name in LABELS
        if any(run_id(measure.measure_id, name, seed) in report.runs for seed in SEEDS)
    ]


def over_seeds(report: Report, measure: Measure, system: str, *path: str) -> Seeds:
    """What stands at the end of a path of fields and keys in each of these results."""
    found = results_of(report, measure, system)
    for name in path:
        found = {
            seed: part[name] if isinstance(part, dict) else getattr(part, name)
            for seed, part in found.items()
        }
    return Seeds(found)


def token_bits(report: Report, system: str, composition: str) -> Seeds:
    """Bits of a token, exact or a bound."""
    path = ("by_composition", composition, "bits_per_token", "mean")
    return over_seeds(report, QualityRun, system, *path)


def letter_bits(report: Report, system: str) -> Seeds:
    """Bits of a letter, exact or a bound."""
    return over_seeds(report, LetterRun, system, "bits", "mean")


def right(
    report: Report,
    system: str,
    composition: str,
    *,
    guided: bool = True,
    steps: int = USUAL_CALLS,
) -> Seeds:
    """The share of captions that come out right; `steps` matter only where they can be chosen.

    Of those seeds that were sampled so; raises `KeyError` if none was.
    """
    found = over_seeds(report, QualityRun, system, "by_composition", composition).by_seed
    shares = {seed: part.share(guided=guided, steps=steps) for seed, part in found.items()}
    known = {seed: share for seed, share in shares.items() if share is not None}
    if not known:
        raise KeyError(f"no seed of {system} was sampled {guided=} with {steps} steps")
    return Seeds(known)


def right_given(report: Report, system: str, side: str, composition: str = "seen") -> Seeds:
    """The share of captions that come out right if this half is given."""
    return over_seeds(report, DirectionsRun, system, composition, side, "accuracy", "share")


def with_errors(report: Report, system: str, freedom: str | None, *path: str) -> Seeds:
    """A number of `Errors`: each system has lost half in its own way; with a freedom, the lower."""
    if freedom is None:
        return over_seeds(report, ErrorsRun, system, *path)
    return over_seeds(report, DownstreamRun, system, freedom, *path)


def share_of_tokens(
    what: str, report: Report, system: str, amount: str, freedom: str | None = None
) -> Seeds:
    """The share of lost or of wrong tokens that something happens to where tokens are wrong."""
    return with_errors(report, system, freedom, "by_amount", amount, f"{what}_share")


changed = partial(share_of_tokens, "changed")
"""Of lost tokens those that come out otherwise because others are wrong."""
replaced = partial(share_of_tokens, "replaced")
"""Of wrong tokens those that get another code."""
corrected = partial(share_of_tokens, "corrected")
"""Of wrong tokens those that get the true code."""


def right_below(report: Report, system: str, freedom: str | None, amount: str | None) -> Seeds:
    """The share of captions that come out right although tokens are wrong; no amount: none is."""
    path = ("by_amount", amount, "accuracy") if amount else ("untouched",)
    return with_errors(report, system, freedom, *path, "share")


def reference_bits(report: Report, system: str, reference: str, whose: str) -> Seeds:
    """Bits of a token to this reference: of a system's "own" sequences, or of true ones, "data"."""
    return over_seeds(report, ExposureBiasRun, system, reference, whose, "mean")


def gap(report: Report, system: str, reference: str) -> Seeds:
    """Bits of a token that sampled sequences cost this reference more than true ones."""
    sampled, true = (reference_bits(report, system, reference, each) for each in ("own", "data"))
    return sampled.minus(true)


def growth(report: Report, system: str) -> Seeds:
    """That gap to a raster reference, the lower half of the grid less the upper."""
    found = over_seeds(report, ExposureBiasRun, system, RASTER).by_seed
    gaps = {seed: np.subtract(of.own_by_row, of.data_by_row) for seed, of in found.items()}
    halves = {seed: np.array_split(gap, 2) for seed, gap in gaps.items()}
    return Seeds({seed: float(low.mean() - up.mean()) for seed, (up, low) in halves.items()})


def cost(report: Report, way: str, n: int) -> Cost:
    """What is known of sampling n tokens this way on the CPU."""
    return report.runs[CostRun(way, n).id].result


def cost_of(report: Report, way: str, n: int, at_once: int | None = None) -> float:
    """Operations for one image; seconds for it, where so many are sampled at once."""
    found = cost(report, way, n)
    return found.operations_per_image if at_once is None else found.seconds_per_image[str(at_once)]


def wrong(amount: str) -> str:
    """How many tokens are wrong, in words."""
    return "one wrong" if amount == ONE else f"{100 * float(amount):g} % wrong"

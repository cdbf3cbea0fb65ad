"""Numbers out of the report: one for each seed, their mean, and how far the seeds lie apart."""

from collections.abc import Callable
from dataclasses import dataclass
from operator import sub
from typing import Any

import numpy as np

from vqlearn.experiments.face_off.costs import Cost, CostRun
from vqlearn.experiments.face_off.exposure_bias import ExposureBiasRun, ReferenceBits
from vqlearn.experiments.face_off.inpainting import (
    DirectionsRun,
    DownstreamRun,
    Errors,
    ErrorsRun,
    HalfGiven,
)
from vqlearn.experiments.face_off.letters import LetterRun
from vqlearn.experiments.face_off.quality import USUAL_CALLS, QualityRun
from vqlearn.experiments.face_off.system_run import RASTER, SEEDS, SystemRun, run_id
from vqlearn.experiments.report import Report
from vqlearn.experiments.systems import LABELS

COMPOSITIONS = {"seen": "pairs seen in training", "held_out": "with a pair never seen"}
Measure = type[SystemRun] | type[LetterRun]


@dataclass(frozen=True)
class Seeds:
    """One number for each seed that was run."""

    by_seed: dict[int, float]

    @property
    def values(self) -> tuple[float, ...]:
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
        common = self.by_seed.keys() & other.by_seed.keys()
        if not common:
            raise ValueError(
                f"seeds {list(self.by_seed)} and {list(other.by_seed)} have none in common"
            )
        return Seeds({seed: sub(self.by_seed[seed], other.by_seed[seed]) for seed in common})

    def percent(self) -> "Seeds":
        """A hundred times the numbers."""
        return Seeds({seed: 100 * value for seed, value in self.by_seed.items()})


def results_of(report: Report, measure: Measure, system: str) -> dict[int, Any]:
    """The results of one measure of one system, by seed. Raises `KeyError` if there are none."""
    ids = {seed: run_id(measure.measure_id, system, seed) for seed in SEEDS}
    found = {seed: report.runs[id].result for seed, id in ids.items() if id in report.runs}
    if not found:
        raise KeyError(f"none of the runs {', '.join(ids.values())} is in the report")
    return found


def over_seeds(
    report: Report, measure: Measure, system: str, number: Callable[[Any], float]
) -> Seeds:
    """A number of each of these results. Raises `KeyError` if there are none."""
    found = results_of(report, measure, system)
    return Seeds({seed: number(result) for seed, result in found.items()})


def token_bits(report: Report, system: str, composition: str) -> Seeds:
    """Bits of a token, exact or a bound."""

    def bits(quality: Any) -> float:
        return quality.by_composition[composition].bits_per_token.mean

    return over_seeds(report, QualityRun, system, bits)


def letter_bits(report: Report, system: str) -> Seeds:
    """Bits of a letter, exact or a bound."""
    return over_seeds(report, LetterRun, system, lambda learned: learned.bits.mean)


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
    shares = {
        seed: quality.by_composition[composition].share(guided=guided, steps=steps)
        for seed, quality in results_of(report, QualityRun, system).items()
    }
    known = {seed: share for seed, share in shares.items() if share is not None}
    if not known:
        raise KeyError(f"no seed of {system} was sampled {guided=} with {steps} steps")
    return Seeds(known)


def of_errors(report: Report, system: str, amount: str, field: str) -> Seeds:
    """A share of `ErrorEffect`, by seed."""

    def share(found: Errors) -> float:
        return getattr(found.by_amount[amount], field)

    return over_seeds(report, ErrorsRun, system, share)


def changed(report: Report, system: str, amount: str) -> Seeds:
    """The share of lost tokens that come out otherwise because others are wrong."""
    return of_errors(report, system, amount, "changed_share")


def replaced(report: Report, system: str, amount: str) -> Seeds:
    """The share of wrong tokens that get another code."""
    return of_errors(report, system, amount, "replaced_share")


def corrected(report: Report, system: str, amount: str) -> Seeds:
    """The share of wrong tokens that get the true code."""
    return of_errors(report, system, amount, "corrected_share")


def right_with(report: Report, system: str, amount: str | None) -> Seeds:
    """The share of captions that come out right although tokens are wrong; None: none is."""

    def share(found: Errors) -> float:
        return (found.by_amount[amount].accuracy if amount else found.untouched).share

    return over_seeds(report, ErrorsRun, system, share)


def of_damage(report: Report, system: str, freedom: str, amount: str, field: str) -> Seeds:
    """The same of wrong tokens in the upper half, by what may happen to it."""

    def share(found: dict[str, Errors]) -> float:
        return getattr(found[freedom].by_amount[amount], field)

    return over_seeds(report, DownstreamRun, system, share)


def changed_below(report: Report, system: str, freedom: str, amount: str) -> Seeds:
    """The share of the lower half that comes out otherwise because tokens above are wrong."""
    return of_damage(report, system, freedom, amount, "changed_share")


def corrected_above(report: Report, system: str, freedom: str, amount: str) -> Seeds:
    """The share of wrong tokens in the upper half that get the true code."""
    return of_damage(report, system, freedom, amount, "corrected_share")


def right_below(report: Report, system: str, freedom: str, amount: str | None) -> Seeds:
    """The share of captions that come out right although tokens above are wrong; None: none is."""

    def share(found: dict[str, Errors]) -> float:
        part = found[freedom]
        return (part.by_amount[amount].accuracy if amount else part.untouched).share

    return over_seeds(report, DownstreamRun, system, share)


def right_given(report: Report, system: str, side: str, composition: str = "seen") -> Seeds:
    """The share of captions that come out right if this half is given."""

    def share(found: dict[str, dict[str, HalfGiven]]) -> float:
        return found[composition][side].accuracy.share

    return over_seeds(report, DirectionsRun, system, share)


def reference_bits(report: Report, system: str, reference: str) -> tuple[Seeds, Seeds]:
    """Bits of a token to this reference: of true sequences, and of sampled ones."""
    found = results_of(report, ExposureBiasRun, system).items()
    parts = {seed: each[reference] for seed, each in found}
    true = Seeds({seed: part.data.mean for seed, part in parts.items()})
    return true, Seeds({seed: part.own.mean for seed, part in parts.items()})


def gap(report: Report, system: str, reference: str) -> Seeds:
    """Bits of a token that sampled sequences cost this reference more than true ones."""
    true, own = reference_bits(report, system, reference)
    return own.minus(true)


def growth(report: Report, system: str) -> Seeds:
    """That gap to a raster reference, the lower half of the grid less the upper."""

    def lower_less_upper(found: dict[str, ReferenceBits]) -> float:
        part = found[RASTER]
        upper, lower = np.array_split(np.subtract(part.own_by_row, part.data_by_row), 2)
        return float(lower.mean() - upper.mean())

    return over_seeds(report, ExposureBiasRun, system, lower_less_upper)


def measured(report: Report, measure: Measure) -> list[str]:
    """Which systems have a run of this measure, in the order of the labels?"""
    return [
        name
        for name in LABELS
        if any(run_id(measure.measure_id, name, seed) in report.runs for seed in SEEDS)
    ]


def cost(report: Report, way: str, n: int) -> Cost:
    """What is known of sampling n tokens this way on the CPU."""
    return report.runs[CostRun(way, n).id].result

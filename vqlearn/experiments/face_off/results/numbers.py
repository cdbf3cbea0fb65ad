"""Numbers out of the report: one for each seed, their mean, and how far the seeds lie apart."""

from collections.abc import Callable
from dataclasses import dataclass
from operator import sub
from typing import Any

from vqlearn.experiments.face_off.costs import Cost, CostRun
from vqlearn.experiments.face_off.letters import LetterRun
from vqlearn.experiments.face_off.quality import USUAL_CALLS, QualityRun
from vqlearn.experiments.face_off.system_run import SEEDS, SystemRun, run_id
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

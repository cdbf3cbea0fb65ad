"""Numbers out of the report: one for each seed, their mean, and how far the seeds lie apart.

Shares are from 0 to 1. Every look-up raises `KeyError` if no seed of the system was run.
"""

from dataclasses import dataclass
from typing import Any

from vqlearn.experiments.face_off.costs import Cost, CostRun
from vqlearn.experiments.face_off.inpainting import DownstreamRun, ErrorsRun
from vqlearn.experiments.face_off.letters import LetterRun
from vqlearn.experiments.face_off.quality import QualityRun
from vqlearn.experiments.face_off.training import SEEDS, SystemRun, run_id
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


def accuracies(report: Report, system: str, composition: str, guided: bool, steps: int) -> Seeds:
    """How many images show their caption; `steps` matter only where they can be chosen.

    Of those seeds that were sampled so; raises `KeyError` if none was.
    """
    found = over_seeds(report, QualityRun, system, "by_composition", composition).by_seed
    counts = {seed: part.accuracy(guided=guided, steps=steps) for seed, part in found.items()}
    known = {seed: count for seed, count in counts.items() if count is not None}
    if not known:
        raise KeyError(f"no seed of {system} was sampled {guided=} with {steps} steps")
    return Seeds(known)


def readable(report: Report, system: str, composition: str, *, guided: bool, steps: int) -> Seeds:
    """The share of such images that the scene reader can read at all."""
    found = accuracies(report, system, composition, guided, steps).by_seed
    return Seeds({seed: 1 - each.unreadable / each.total for seed, each in found.items()})


def with_errors(report: Report, system: str, freedom: str | None, *path: str) -> Seeds:
    """A part of `Errors`: each system lacks half in its own way; with a freedom, the lower."""
    if freedom is None:
        return over_seeds(report, ErrorsRun, system, *path)
    return over_seeds(report, DownstreamRun, system, freedom, *path)


def cost(report: Report, way: str, n: int) -> Cost:
    """What is known of sampling n tokens this way on the CPU."""
    return report.runs[CostRun(way, n).id].result


def cost_of(report: Report, way: str, n: int, at_once: int | None = None) -> float:
    """Operations for one image; seconds for it, where so many are sampled at once."""
    found = cost(report, way, n)
    return found.operations_per_image if at_once is None else found.seconds_per_image[str(at_once)]

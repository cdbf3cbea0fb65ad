"""Numbers out of `figures/face_off.json`: the mean over seeds, and how far the seeds lie apart."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import reduce
from typing import Any

Report = dict[str, Any]

FIRST = 0  # the seed of which more is measured: every number of calls, and what is shown
COMPOSITION_TITLES = {"seen": "pairs seen in training", "held_out": "with a pair never seen"}
LABELS = {
    "vq-diffusion": "VQ-Diffusion, released schedule",
    "vq-diffusion-paper": "VQ-Diffusion, paper's schedule",
    "absorbing": "absorbing (masks only)",
    "multinomial": "multinomial",
    "nearest-neighbour": "D3PM, nearest neighbour",
    "raster": "raster transformer",
    "imagebart": "ImageBART, 2 scales",
    "causal": "VQ-Diffusion, causal attention",
    "direct": "VQ-Diffusion, naming x_{t-1}",
    "no-auxiliary": "VQ-Diffusion, no auxiliary loss",
}


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
        """The mean of the seeds."""
        return sum(self.values) / len(self.values)

    @property
    def low(self) -> float:
        """The lowest of the seeds."""
        return min(self.values)

    @property
    def high(self) -> float:
        """The highest of the seeds."""
        return max(self.values)

    def text(self, form: str) -> str:
        """The mean in this format, and from where to where the seeds go if there are several."""
        if len(self.values) == 1:
            return f"{self.mean:{form}}"
        return f"{self.mean:{form}} ({self.low:{form}} to {self.high:{form}})"

    def over(self, other: "Seeds", combine: Callable[[float, float], float]) -> "Seeds":
        """Seed by seed, such as a difference; of the seeds that both have.

        Raises `ValueError` if they have none in common.
        """
        common = self.by_seed.keys() & other.by_seed.keys()
        if not common:
            raise ValueError(
                f"seeds {list(self.by_seed)} and {list(other.by_seed)} have none in common"
            )
        return Seeds({seed: combine(self.by_seed[seed], other.by_seed[seed]) for seed in common})

    def percent(self) -> "Seeds":
        """A hundred times the numbers."""
        return Seeds({seed: 100 * value for seed, value in self.by_seed.items()})


def over_seeds(report: Report, measure: str, name: str, *path: str) -> Seeds:
    """The number at the end of this path, in the run of each seed that is there.

    Raises `KeyError` if there is none.
    """
    return Seeds(parts(report, measure, name, *path))


def parts(report: Report, measure: str, name: str, *path: str) -> dict[int, Any]:
    """The same for anything that is no number, by seed."""
    start = f"{measure}/{name}/"
    found = {
        int(key.removeprefix(start)): run
        for key, run in report["runs"].items()
        if key.startswith(start)
    }
    if not found:
        raise KeyError(f"no run {start}…; there are: {', '.join(report['runs'])}")
    return {seed: reduce(lambda part, key: part[key], path, run) for seed, run in found.items()}


def right(
    report: Report, name: str, composition: str, way: str = "guided", calls: int = 25
) -> Seeds:
    """The share of captions that come out right; `calls` matter only where they can be chosen.

    Of those seeds that were drawn that way; raises `KeyError` if none was.
    """
    drawn = parts(report, "quality", name, composition, "drawn")
    keys = (way, f"{way} {calls}")
    shares = {
        seed: each[key]["share"] for seed, each in drawn.items() for key in keys if key in each
    }
    if not shares:
        raise KeyError(f"no seed of {name} was drawn {' or '.join(keys)}")
    return Seeds(shares)


def measured(report: Report, measure: str) -> list[str]:
    """Which systems have a run of this measure, in the order of the labels?"""
    there = {key.split("/")[1] for key in report["runs"] if key.startswith(f"{measure}/")}
    return [name for name in LABELS if name in there]


def cost(report: Report, way: str, n: int, *path: str) -> Any:
    """What is known of drawing n tokens this way."""
    return reduce(lambda part, key: part[key], path, report["runs"][f"cost/{way}/{n}"])

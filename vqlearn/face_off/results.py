"""Numbers out of `figures/face_off.json`: the mean over seeds, and how far the seeds lie apart."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import reduce
from typing import Any

Report = dict[str, Any]

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
    """One number for each seed that was run, in the order of the seeds."""

    values: tuple[float, ...]

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
        """Seed by seed, such as a difference; raises `ValueError` for other numbers of seeds."""
        pairs = zip(self.values, other.values, strict=True)
        return Seeds(tuple(combine(mine, theirs) for mine, theirs in pairs))


def over_seeds(report: Report, measure: str, name: str, *path: str) -> Seeds:
    """The number at the end of this path, in the run of each seed that is there.

    Raises `KeyError` if there is none.
    """
    start = f"{measure}/{name}/"
    found = [run for key, run in report["runs"].items() if key.startswith(start)]
    if not found:
        raise KeyError(f"no run {start}…; there are: {', '.join(report['runs'])}")
    return Seeds(tuple(reduce(lambda part, key: part[key], path, run) for run in found))


def right(
    report: Report, name: str, composition: str, way: str = "guided", calls: int = 25
) -> Seeds:
    """The share of sentences that come out right; `calls` matter only where they can be chosen.

    Raises `KeyError` if it was not drawn that way.
    """
    drawn = over_seeds(report, "quality", name, composition, "drawn")
    key = way if way in drawn.values[0] else f"{way} {calls}"
    return Seeds(tuple(each[key]["share"] for each in drawn.values))


def measured(report: Report, measure: str) -> list[str]:
    """Which contenders have a run of this measure, in the order of the labels?"""
    there = {key.split("/")[1] for key in report["runs"] if key.startswith(f"{measure}/")}
    return [name for name in LABELS if name in there]


def cost(report: Report, way: str, n: int, *path: str) -> Any:
    """What is known of drawing n tokens this way."""
    return reduce(lambda part, key: part[key], path, report["runs"][f"cost/{way}/{n}"])

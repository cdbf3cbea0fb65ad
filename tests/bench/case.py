"""A case: what is measured, beside what, and where that is possible."""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from bench.machine import Machine
from bench.pairs import PAIRS, Alone, Comparison, Work, alone, compare

DIFFUSERS = "diffusers"
CUDA, LINUX, FULL_DEPTH = "a CUDA device", "Linux", "--full-depth"


class Setting(NamedTuple):
    """How often each side is measured, on which device ("cpu", "cuda"), and at full depth, too?"""

    pairs: int = PAIRS
    device: str = "cpu"
    full_depth: bool = False

    def has(self, need: str | None) -> bool:
        """Can, and shall, a case be measured that needs this?"""
        found = {
            CUDA: torch.device(self.device).type == "cuda",
            LINUX: sys.platform == "linux",
            FULL_DEPTH: self.full_depth,
        }
        return need is None or found[need]


class Case(NamedTuple):
    """One line of the table.

    `what` says what is done and how often, `beside` whose the column "theirs" is ("": nobody's).
    `needs` is one of `CUDA`, `LINUX`, `FULL_DEPTH`.
    """

    what: str
    beside: str
    measure: Callable[[Setting], Comparison | Alone]
    needs: str | None = None


@dataclass(frozen=True)
class Result:
    """What came out of a case, and on which machine. One of the other two is None."""

    machine: Machine
    comparison: Comparison | None = None
    alone: Alone | None = None


def result_of(case: Case, setting: Setting, machine: Machine) -> Result:
    """Measure a case."""
    found = case.measure(setting)
    return Result(machine, **{"comparison" if isinstance(found, Comparison) else "alone": found})


def paired(sides: Callable[..., tuple[Work, Work]], **options) -> Callable[[Setting], Comparison]:
    """Measure the two works, theirs and ours, that `sides(device, **options)` makes."""

    def measure(setting: Setting) -> Comparison:
        return compare(*sides(setting.device, **options), setting.pairs)

    return measure


def images_per_second(make: Callable[..., Work], images: int, **options) -> Callable:
    """How many images a second are done by the work that `make(device, images, **options)` makes.

    `images` are those of one run.
    """

    def measure(setting: Setting) -> Alone:
        seconds = alone(make(setting.device, images, **options), setting.pairs).ours
        return Alone(tuple(images / each for each in seconds), "images/s")

    return measure

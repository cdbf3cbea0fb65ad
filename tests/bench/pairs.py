"""Two ways to do the same work, timed in turn: which is quicker, and can this machine tell?

A core that is busy with something else, or that is too warm, slows down whatever runs on it. So
both ways run one after the other, and what counts is the ratio of two neighbours.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch

PAIRS = 10
WIDE, NARROW = 0.25, 0.10  # of the median

Work = Callable[[], object]


class Spread(NamedTuple):
    """The median of some numbers, and the quartiles around it."""

    low: float
    median: float
    high: float


def spread(numbers: tuple[float, ...]) -> Spread:
    """Median and quartiles, with straight lines between the numbers."""
    return Spread(*(float(number) for number in np.quantile(numbers, (0.25, 0.5, 0.75))))


@dataclass(frozen=True)
class Comparison:
    """What theirs took and what ours took, pair by pair: neighbours in time have the same index.

    `unit` is "s", or "MiB" of memory. Raises `ValueError` unless both have the same length, at
    least 1.
    """

    theirs: tuple[float, ...]
    ours: tuple[float, ...]
    unit: str = "s"

    def __post_init__(self) -> None:
        if not self.theirs or len(self.theirs) != len(self.ours):
            found = f"{len(self.theirs)} and {len(self.ours)}"
            raise ValueError(f"theirs and ours have {found} numbers; allowed: equally many, not 0")

    @property
    def ratios(self) -> tuple[float, ...]:
        """Theirs / ours of each pair: 2 means that ours took half as long."""
        return tuple(a / b for a, b in zip(self.theirs, self.ours, strict=True))

    @property
    def ratio(self) -> Spread:
        """The median of the ratios, and their quartiles."""
        return spread(self.ratios)

    @property
    def is_noisy(self) -> bool:
        """Was the machine too noisy to tell?

        The middle half of the ratios says so, which one interruption does not change:

        - It is wider than a quarter of the median: then not even one digit of the ratio is known.
        - Or 1 lies inside, and it is wider than a tenth: then it is not known who was quicker.
          A narrow one around 1 is an answer: both were equally quick.
        """
        low, median, high = self.ratio
        width = (high - low) / median
        return width > WIDE or (low < 1 < high and width > NARROW)


@dataclass(frozen=True)
class Alone:
    """Something that has nothing beside it, measured some times. `unit`: "s" or "images/s"."""

    ours: tuple[float, ...]
    unit: str = "s"


def compare(theirs: Work, ours: Work, pairs: int = PAIRS) -> Comparison:
    """Time both in turn, in seconds. Each runs once before, unmeasured; who begins alternates."""
    theirs()
    ours()
    sides: tuple[tuple[Work, list[float]], ...] = ((theirs, []), (ours, []))
    for number in range(pairs):
        for work, seconds in reversed(sides) if number % 2 else sides:
            seconds.append(elapsed(work))
    return Comparison(*(tuple(seconds) for _, seconds in sides))


def alone(work: Work, times: int = PAIRS) -> Alone:
    """Time it some times, after one run that is not measured."""
    work()
    return Alone(tuple(elapsed(work) for _ in range(times)))


def elapsed(work: Work) -> float:
    """The seconds of one run, all that it left to a GPU included."""
    begin = now()
    work()
    return now() - begin


def now() -> float:
    """Seconds on a clock that only goes forward, once a GPU in use has done what it was given."""
    if torch.cuda.is_initialized():
        torch.cuda.synchronize()
    return time.perf_counter()

"""Comparisons in pairs, with a clock that shows what the test wants."""

import time

import pytest
import torch
from bench import pairs
from bench.pairs import Alone, Comparison, alone, compare


class Clock:
    """A clock that stands still; works made here move it forward and are written down."""

    def __init__(self):
        self.time, self.log = 0.0, []

    def work(self, name, seconds):
        waits = iter(seconds)

        def run():
            self.log.append(name)
            self.time += next(waits)

        return run


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(pairs, "now", lambda: clock.time)
    return clock


def test_each_runs_once_before_and_who_begins_alternates(clock):
    theirs, ours = clock.work("theirs", [99, 6, 8, 9]), clock.work("ours", [50, 1, 2, 3])
    found = compare(theirs, ours, 3)
    assert found == Comparison((6, 8, 9), (1, 2, 3))
    assert found.ratios == (6, 4, 3)
    order = ["theirs", "ours", "theirs", "ours", "ours", "theirs", "theirs", "ours"]
    assert clock.log == order


def test_ten_pairs_by_default(clock):
    found = compare(clock.work("theirs", [2] * 11), clock.work("ours", [1] * 11))
    assert len(found.ratios) == 10


def test_alone_runs_once_before(clock):
    assert alone(clock.work("ours", [9, 1, 2]), 2) == Alone((1, 2))


def test_median_and_quartiles_are_those_of_the_ratios_not_of_the_seconds():
    """A machine that becomes ten times slower in the middle: every ratio is 2 or 3."""
    found = Comparison((2, 4, 60, 30, 20), (1, 2, 20, 10, 10))
    assert found.ratio == (2, 2, 3)


@pytest.mark.parametrize(
    ("ratios", "noisy"),
    [
        ((2.0, 2.0, 2.0, 2.0, 2.0), False),
        ((1.8, 1.8, 2.0, 2.25, 9.0), False),  # 0.45 / 2 = 22 %; one interruption
        ((1.7, 1.7, 2.0, 2.25, 9.0), True),  # 0.55 / 2 = 27 %
        ((0.96, 0.96, 1.0, 1.04, 1.1), False),  # around 1, and narrow: equally quick
        ((0.94, 0.94, 1.0, 1.05, 1.1), True),  # around 1: 11 %
        ((1.14, 1.14, 1.2, 1.3, 1.4), False),  # 13 %, but all on one side
        ((0.75, 0.75, 0.8, 0.87, 0.9), False),
        ((3.0,), False),
    ],
)
def test_noise_is_told_apart_from_an_answer(ratios, noisy):
    assert Comparison(ratios, (1.0,) * len(ratios)).is_noisy is noisy


@pytest.mark.parametrize(("theirs", "ours"), [((), ()), ((1.0,), (1.0, 2.0))])
def test_pairs_have_two_sides(theirs, ours):
    with pytest.raises(ValueError, match="allowed: equally many"):
        Comparison(theirs, ours)


@pytest.mark.parametrize("in_use", [True, False])
def test_a_gpu_in_use_is_waited_for_before_the_clock_is_read(monkeypatch, in_use):
    log = []
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: in_use)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: log.append("wait"))
    monkeypatch.setattr(time, "perf_counter", lambda: log.append("clock") or len(log))
    pairs.elapsed(lambda: log.append("work"))
    waits = ["wait"] if in_use else []
    assert log == [*waits, "clock", "work", *waits, "clock"]

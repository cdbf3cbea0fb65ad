"""How seconds grow with tokens and with steps: whole calls of both pipelines, width 256."""

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple

import torch
from bench.case import DIFFUSERS, Case, paired
from bench.generation import generate
from bench.pairs import spread
from bench.store import Results
from bench.twins import SMALL
from scipy.stats import linregress, t

CONFIG = replace(SMALL, num_layers=2)
SIDES = (8, 16, 32, 64)
STEPS = (5, 10, 20, 50, 100)
FEW = 4
FEWEST = 3  # sizes that a line with an interval needs
GUIDED = {"guidance": 5.0, "dtype": torch.float32, "noise": "fast"}


def name_of(axis: str, size: int) -> str:
    """The name of the case."""
    return f"growth/{axis}-{size}"


AXES = {"tokens": [side**2 for side in SIDES], "steps": list(STEPS)}
CASES = {
    name_of("tokens", side**2): Case(
        f"one image of {side**2:,} tokens, 2 layers: {FEW} guided steps, fast noise",
        DIFFUSERS,
        paired(generate, config=replace(CONFIG, sample_size=side), steps=FEW, **GUIDED),
    )
    for side in SIDES
} | {
    name_of("steps", steps): Case(
        f"one image of 256 tokens, 2 layers: {steps} guided steps, fast noise",
        DIFFUSERS,
        paired(generate, config=CONFIG, steps=steps, **GUIDED),
    )
    for steps in STEPS
}


class Exponent(NamedTuple):
    """The a of seconds = c size^a, and its 95 % interval."""

    low: float
    value: float
    high: float


def exponent(seconds: dict[int, float]) -> Exponent:
    """The slope of a straight line through log seconds against log size, by least squares.

    The interval is Student's, from how far the points lie from the line: so it is wide as well
    where the growth is no power. Needs three sizes.
    """
    line = linregress([math.log(size) for size in seconds], [math.log(s) for s in seconds.values()])
    reach = t.ppf(0.975, len(seconds) - 2) * line.stderr
    return Exponent(line.slope - reach, line.slope, line.slope + reach)


def curves(results: Results, device: str, axis: str) -> dict[str, dict[int, float]]:
    """Median seconds by size, of "theirs" and "ours"; only the sizes that were measured."""
    stored = results.devices.get(device, {})
    found = {size: stored.get(name_of(axis, size)) for size in AXES[axis]}
    pairs = {size: result.comparison for size, result in found.items() if result is not None}
    return {
        "theirs": {size: spread(each.theirs).median for size, each in pairs.items()},
        "ours": {size: spread(each.ours).median for size, each in pairs.items()},
    }


def measured(results: Results) -> Iterator[tuple[str, str, dict[str, dict[int, float]]]]:
    """Device, axis and curves, where enough sizes were measured."""
    for device in results.devices:
        for axis in AXES:
            sides = curves(results, device, axis)
            if len(sides["ours"]) >= FEWEST:
                yield device, axis, sides

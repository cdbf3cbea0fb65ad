"""One plot of the letters: bits of every system, and what the auxiliary loss does to kernels.

Runs that are missing leave a gap.
"""

from collections.abc import Mapping
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes

from vqlearn.experiments import style
from vqlearn.experiments.face_off.letters import (
    KERNELS,
    SYSTEMS,
    WEIGHTS,
    LetterRun,
    with_weight,
)
from vqlearn.experiments.face_off.system_run import SEEDS, run_id
from vqlearn.experiments.report import Report

APART = 0.2  # between two seeds of one system
POINTS = {"marker": "o", "ls": "", "ms": 4, "capsize": 2}
SAME_LOOK = {"mask-and-replace": "vq-diffusion", "uniform": "multinomial"}
COLOURS = {name: style.SYSTEMS[SAME_LOOK.get(name, name)]["color"] for name in SYSTEMS}


def plot(report: Report, file: Path) -> None:
    """Left: one point for each seed; right: bits against the weight of the auxiliary loss.

    Bars are two standard errors of the distance to the floor: all systems have the same test
    captions, and how hard these are is no error of a distance.
    """
    figure, (systems, weights) = plt.subplots(
        1, 2, figsize=(12, 4.2), layout="constrained", width_ratios=(3, 2)
    )
    plot_systems(systems, report)
    plot_weights(weights, report)
    style.save(figure, file)


def plot_systems(axes: Axes, report: Report) -> None:
    """A row for each system, its seeds one below the other, and two ways to guess as lines."""
    for position, system in enumerate(SYSTEMS):
        shifts = APART * (np.arange(len(SEEDS)) - (len(SEEDS) - 1) / 2)
        runs = {position + shift: (system, seed) for shift, seed in zip(shifts, SEEDS, strict=True)}
        y, bits, errors = points(report, runs)
        axes.errorbar(bits, y, xerr=2 * errors, color=COLOURS[system], **POINTS)
    facts = report.data[LetterRun.data]
    for bits, label, colour in (
        (facts.floor_on_test, "the true distribution", style.FLOOR),
        (facts.baselines["5-gram"], "5-gram", style.BASELINE),
    ):
        axes.axvline(bits, color=colour, ls="--", lw=1, label=f"{label}: {bits:.3f}")
    axes.set_yticks(range(len(SYSTEMS)), list(SYSTEMS))
    axes.set(ylim=(len(SYSTEMS) - 0.4, -0.6), xlabel=facts.unit)
    axes.set_title("all systems, one point for each seed", fontsize=10)
    axes.grid(axis="x", alpha=0.3)
    axes.legend(fontsize=8)


def plot_weights(axes: Axes, report: Report) -> None:
    """A line for each kernel through the runs of the first seed; paler points of the others."""
    for kernel in KERNELS:
        axes.plot([], [], "o-", ms=4, color=COLOURS[kernel], label=kernel)
        for seed in SEEDS:
            runs = {x: (with_weight(kernel, weight), seed) for x, weight in enumerate(WEIGHTS)}
            x, bits, errors = points(report, runs)
            look = POINTS | ({"ls": "-"} if seed == SEEDS[0] else {"alpha": 0.4})
            axes.errorbar(x, bits, yerr=2 * errors, color=COLOURS[kernel], **look)
    axes.set_xticks(range(len(WEIGHTS)), [f"{weight:g}" for weight in WEIGHTS])
    axes.set(xlim=(-0.4, len(WEIGHTS) - 0.6), xlabel="weight of the auxiliary loss")
    axes.set_ylabel(report.data[LetterRun.data].unit)
    axes.set_title("kernels", fontsize=10)
    axes.grid(axis="y", alpha=0.3)
    axes.legend(fontsize=8, loc="upper left", bbox_to_anchor=(1.02, 1))


def points(report: Report, runs: Mapping[float, tuple[str, int]]) -> Float[np.ndarray, "3 n"]:
    """Of the runs that are there: where each stands, its bits, the error of those above the floor.

    A run is a system and a seed; for a kernel with another weight the system is its `with_weight`.
    """
    ids = {where: run_id(LetterRun.measure_id, *run) for where, run in runs.items()}
    found = {where: report.runs[id].result for where, id in ids.items() if id in report.runs}
    rows = [
        (where, each.bits.mean, each.bits_above_floor.standard_error)
        for where, each in found.items()
    ]
    return np.array(rows).reshape(-1, 3).T

"""One plot of the letters: bits of every system, and what the auxiliary loss does to kernels.

Runs that are missing leave a gap.
"""

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes

from vqlearn.experiments import style
from vqlearn.experiments.face_off.letters import (
    KERNELS,
    OTHER_WEIGHTS,
    SYSTEMS,
    LetterRun,
    with_weight,
)
from vqlearn.experiments.face_off.system_run import SEEDS, run_id
from vqlearn.experiments.report import Facts, Report
from vqlearn.experiments.sequences import DEFAULT_AUXILIARY_WEIGHT

WEIGHTS = sorted((DEFAULT_AUXILIARY_WEIGHT, *OTHER_WEIGHTS))
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
    facts = report.data[LetterRun.data]
    for position, system in enumerate(SYSTEMS):
        for shift, seed in enumerate(SEEDS):
            found = bits_of(report, system, seed)
            if found is not None:
                mean, error = found
                y = position + APART * (shift - (len(SEEDS) - 1) / 2)
                axes.errorbar(mean, y, xerr=2 * error, color=COLOURS[system], **POINTS)
    for bits, label, colour in guesses(facts):
        axes.axvline(bits, color=colour, ls="--", lw=1, label=f"{label}: {bits:.3f}")
    axes.set_yticks(range(len(SYSTEMS)), list(SYSTEMS))
    axes.set_ylim(len(SYSTEMS) - 0.4, -0.6)
    axes.set_xlabel(report.data[LetterRun.data].unit)
    axes.set_title("all systems, one point for each seed", fontsize=10)
    axes.grid(axis="x", alpha=0.3)
    axes.legend(fontsize=8)


def plot_weights(axes: Axes, report: Report) -> None:
    """A line for each kernel through the runs of the first seed; paler points of the others."""
    for kernel in KERNELS:
        axes.plot([], [], "o-", ms=4, color=COLOURS[kernel], label=kernel)
        for seed in SEEDS:
            runs = [bits_of(report, with_weight(kernel, weight), seed) for weight in WEIGHTS]
            found = [(x, *run) for x, run in enumerate(runs) if run is not None]
            line = {"ls": "-"} if seed == SEEDS[0] else {"alpha": 0.4}
            if found:
                positions, means, errors = np.array(found).T
                style = {"color": COLOURS[kernel], **POINTS, **line}
                axes.errorbar(positions, means, yerr=2 * errors, **style)
    axes.set_xticks(range(len(WEIGHTS)), [f"{weight:g}" for weight in WEIGHTS])
    axes.set_xlim(-0.4, len(WEIGHTS) - 0.6)
    axes.set_xlabel("weight of the auxiliary loss")
    axes.set_ylabel(report.data[LetterRun.data].unit)
    axes.set_title("kernels", fontsize=10)
    axes.grid(axis="y", alpha=0.3)
    axes.legend(fontsize=8, loc="upper left", bbox_to_anchor=(1.02, 1))


def bits_of(report: Report, system: str, seed: int) -> tuple[float, float] | None:
    """Bits per character, and the standard error of their distance to the floor; None if missing.

    For a kernel with another weight of the auxiliary loss, `system` is its `with_weight`.
    """
    record = report.runs.get(run_id(LetterRun.measure_id, system, seed))
    if record is None:
        return None
    return record.result.bits.mean, record.result.bits_above_floor.standard_error


def guesses(facts: Facts) -> list[tuple[float, str, str]]:
    """What the test captions need under their own distribution, and counting: bits and label."""
    return [
        (facts.floor_on_test, "the true distribution", style.FLOOR),
        (facts.baselines["5-gram"], "5-gram", style.BASELINE),
    ]

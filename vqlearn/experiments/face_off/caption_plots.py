"""One image of the captions: bits of every system, and what the auxiliary loss does to kernels.

Runs that are missing leave a gap.
"""

from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np

from vqlearn.experiments.face_off.captions import (
    DEFAULT_WEIGHT,
    KERNELS,
    OTHER_WEIGHTS,
    SEEDS,
    SYSTEMS,
    name_of,
    with_weight,
)
from vqlearn.experiments.face_off.plots import STYLES

WEIGHTS = sorted((DEFAULT_WEIGHT, *OTHER_WEIGHTS))
APART = 0.2  # between two seeds of one system
POINTS = {"marker": "o", "ls": "", "ms": 4, "capsize": 2}
LINES = {"floor_on_test_rows": ("the law itself", "darkred"), "5-gram": ("5-gram", "dimgrey")}
SYSTEM = {"mask-and-replace": "vq-diffusion", "uniform": "multinomial"}
COLOURS = {name: STYLES[SYSTEM.get(name, name)]["color"] for name in SYSTEMS}


def draw(report: dict[str, Any], path: Path) -> None:
    """Left: one point for each seed; right: bits against the weight of the auxiliary loss.

    Bars are two standard errors of the distance to the floor: all systems have the same test
    rows, and how hard these rows are is no error of a distance.
    """
    figure, (systems, weights) = plt.subplots(
        1, 2, figsize=(12, 4.2), layout="constrained", width_ratios=(3, 2)
    )
    draw_systems(systems, report)
    draw_weights(weights, report)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def draw_systems(axes: plt.Axes, report: dict[str, Any]) -> None:
    """A row for each system, its seeds one below the other, and two ways to guess as lines."""
    for position, system in enumerate(SYSTEMS):
        for shift, seed in enumerate(SEEDS):
            found = bits_of(report, system, seed)
            if found is not None:
                mean, error = found
                y = position + APART * (shift - (len(SEEDS) - 1) / 2)
                axes.errorbar(mean, y, xerr=2 * error, color=COLOURS[system], **POINTS)
    for bits, label, colour in guesses(report):
        axes.axvline(bits, color=colour, ls="--", lw=1, label=f"{label}: {bits:.3f}")
    axes.set_yticks(range(len(SYSTEMS)), list(SYSTEMS))
    axes.set_ylim(len(SYSTEMS) - 0.4, -0.6)
    axes.set_xlabel(report["worlds"]["captions"]["unit"])
    axes.set_title("all systems, one point for each seed", fontsize=10)
    axes.grid(axis="x", alpha=0.3)
    axes.legend(fontsize=8)


def draw_weights(axes: plt.Axes, report: dict[str, Any]) -> None:
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
    axes.set_ylabel(report["worlds"]["captions"]["unit"])
    axes.set_title("kernels", fontsize=10)
    axes.grid(axis="y", alpha=0.3)
    axes.legend(fontsize=8, loc="upper left", bbox_to_anchor=(1.02, 1))


def bits_of(report: dict[str, Any], system: str, seed: int) -> tuple[float, float] | None:
    """Bits per character, and the standard error of their distance to the floor; None if missing.

    For a kernel with another weight of the auxiliary loss, `system` is its `with_weight`.
    """
    run = report["runs"].get(name_of(system, seed))
    return run and (run["bits"]["mean"], run["above_floor"]["standard_error"])


def guesses(report: dict[str, Any]) -> list[tuple[float, str, str]]:
    """What the test rows cost the grammar's own distribution, and a model that counts: bits and
    label."""
    world = report["worlds"]["captions"]
    known = {**world["yardsticks"], "floor_on_test_rows": world["floor_on_test_rows"]}
    return [(known[name], *style) for name, style in LINES.items()]

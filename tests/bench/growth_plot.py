"""The plot figures/growth.png: seconds of both against tokens and against steps."""

from pathlib import Path

import matplotlib.pyplot as plt
from bench.growth import AXES, exponent, measured
from bench.store import Results
from matplotlib.axes import Axes

from vqlearn.experiments.style import BASELINE, MODEL, save

PLOT = "growth.png"
COLOURS = {"theirs": BASELINE, "ours": MODEL}
LABELS = {"theirs": "diffusers", "ours": "vqlearn"}


def plot(results: Results, file: Path) -> None:
    """A panel for each axis, logarithmic both ways; nothing is written where too little is there.

    The legend has the exponents. What was measured on another device than the CPU is dashed.
    """
    found = list(measured(results))
    if not found:
        return
    size = (3.6 * len(AXES), 3.2)
    figure, panels = plt.subplots(1, len(AXES), figsize=size, layout="constrained")
    for axes, axis in zip(panels, AXES, strict=True):
        for device, what, sides in found:
            if what == axis:
                _plot_sides(axes, sides, device)
        axes.set(xscale="log", yscale="log", xlabel=axis, ylabel="seconds of one image")
        axes.set_xticks(AXES[axis], [f"{each:,}" for each in AXES[axis]], minor=False)
        axes.minorticks_off()
        axes.grid(alpha=0.3)
        if axes.get_legend_handles_labels()[0]:
            axes.legend(fontsize=8)
    save(figure, file)


def _plot_sides(axes: Axes, sides: dict[str, dict[int, float]], device: str) -> None:
    style = "-" if device == "cpu" else "--"
    on = "" if device == "cpu" else f" on {device}"
    for side, seconds in sides.items():
        label = f"{LABELS[side]}{on}: exponent {exponent(seconds).value:.2f}"
        told = {"color": COLOURS[side], "linestyle": style, "marker": "o", "label": label}
        axes.plot(list(seconds), list(seconds.values()), **told)

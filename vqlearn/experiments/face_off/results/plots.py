"""Plots of the results. Where there are bars, they go from the lowest seed to the highest."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes

from vqlearn.experiments import style
from vqlearn.experiments.face_off import inpainting
from vqlearn.experiments.face_off.costs import LENGTHS
from vqlearn.experiments.face_off.exposure_bias import ExposureBiasRun
from vqlearn.experiments.face_off.quality import CALLS, QualityRun
from vqlearn.experiments.face_off.results import numbers
from vqlearn.experiments.face_off.results.numbers import Seeds
from vqlearn.experiments.face_off.results.tables import FIRST, FREEDOMS, FROM_ABOVE
from vqlearn.experiments.face_off.system_run import RASTER
from vqlearn.experiments.pages import COMPOSITIONS
from vqlearn.experiments.report import Report
from vqlearn.experiments.style import LABELS

LINES = {  # ways to sample: the system whose colour each has, and its line
    "raster without cache": ("raster", "--"),
    "raster": ("raster", "-"),
    "imagebart": ("imagebart", "-"),
    "diffusion 100": ("vq-diffusion", "-"),
    "diffusion 25": ("vq-diffusion", "--"),
}
COSTS = {  # how many images are sampled at once; operations do not depend on it
    "operations for an image": None,
    "seconds, one image": 1,
    "seconds an image, 32 at once": 32,
}


def plot_quality(report: Report, panels: Sequence[Axes]) -> None:
    """Right captions against steps, guided: a line for the first seed, pale points for others.

    A raster network is a level line, pale from the lowest seed to the highest. A direct prediction
    is never guided, and not in the plot.
    """
    for axes, (composition, title) in zip(panels, COMPOSITIONS.items(), strict=True):
        for name in numbers.measured(report, QualityRun):
            found = numbers.over_seeds(report, QualityRun, name, "by_composition", composition)
            sampled = [way for each in found.values for way in each.sampled]
            chosen = {way.steps for way in sampled if way.guided}
            steps = [count for count in CALLS if count in chosen]
            shares = [numbers.right(report, name, composition, steps=n).percent() for n in steps]
            if steps:
                _line_and_points(axes, steps, shares, **style.SYSTEMS[name])
            elif chosen:
                _level(axes, numbers.right(report, name, composition).percent(), name)
        axes.set(title=title, xscale="log", xlabel="calls of the denoiser for an image")
        axes.set_xticks(CALLS, map(str, CALLS))
        axes.minorticks_off()
    panels[0].set(ylabel="captions that come out right, guided, %", ylim=(0, 100))


def plot_costs(report: Report, panels: Sequence[Axes]) -> None:
    """Operations and seconds of an image against its number of tokens."""
    for axes, (title, at_once) in zip(panels, COSTS.items(), strict=True):
        for way, (name, line) in LINES.items():
            values = [numbers.cost_of(report, way, n, at_once) for n in LENGTHS]
            axes.plot(LENGTHS, values, **style.SYSTEMS[name] | {"ls": line, "label": way})
        axes.set(title=title, xscale="log", yscale="log", xlabel="tokens of an image")
        axes.set_xticks(LENGTHS, map(str, LENGTHS))
        axes.minorticks_off()


def plot_errors(report: Report, panels: Sequence[Axes]) -> None:
    """What wrong tokens do: to captions, to other tokens; and how many are corrected."""
    right, changed, corrected = panels
    ticks = ["none", "one", *(f"{100 * float(amount):g} %" for amount in inpainting.AMOUNTS[1:])]
    right.set_title("captions that come out right, %")
    changed.set_title("lost tokens that come out otherwise, %")
    corrected.set_title("wrong tokens that get the true code, %")
    for name in numbers.measured(report, inpainting.ErrorsRun):
        shares = [
            numbers.right_below(report, name, None, each) for each in (None, *inpainting.AMOUNTS)
        ]
        _bars(right, range(len(ticks)), shares, name)
        for axes, number in ((changed, numbers.changed), (corrected, numbers.corrected)):
            shares = [number(report, name, amount) for amount in inpainting.AMOUNTS]
            _bars(axes, range(1, len(ticks)), shares, name)
    for axes in panels:
        axes.set_xlabel("wrong among the tokens that are left")
        axes.set_xticks(range(len(ticks)), ticks)


def plot_downstream(report: Report, panels: Sequence[Axes]) -> None:
    """Tokens that come out otherwise in each row of the grid, if the upper half has errors."""
    for axes, amount in zip(panels, inpainting.ABOVE, strict=True):
        for (name, freedom), line in zip(FROM_ABOVE, ("-", "--", "-"), strict=True):
            path = (freedom, "by_amount", amount, "changed_share_by_row")
            shares = 100 * _mean_rows(report, inpainting.DownstreamRun, name, *path)
            label = f"{LABELS[name]}, {FREEDOMS[freedom]}"
            look = style.SYSTEMS[name] | {"ls": line, "label": label}
            axes.plot(range(1, len(shares) + 1), shares, **look)
        axes.axvline(len(shares) / 2 + 0.5, color="grey", lw=1)
        what = "one wrong token" if amount == inpainting.ONE else numbers.wrong(amount)
        axes.set(title=f"{what} in the upper half", xlabel="row of the grid, from the top")
    panels[0].set(ylabel="tokens that come out otherwise, %")


def plot_directions(report: Report, panels: Sequence[Axes]) -> None:
    """Captions that come out right when one half is given."""
    for axes, (composition, title) in zip(panels, COMPOSITIONS.items(), strict=True):
        for name in numbers.measured(report, inpainting.DirectionsRun):
            shares = [
                numbers.right_given(report, name, side, composition) for side in inpainting.SIDES
            ]
            _bars(axes, range(len(inpainting.SIDES)), shares, name)
        axes.set(title=title, xlabel="the half that is given")
        axes.set_xticks(range(len(inpainting.SIDES)), inpainting.SIDES)
    panels[0].set(ylabel="captions that come out right, %", ylim=(0, 100))


def plot_exposure_bias(report: Report, panels: Sequence[Axes]) -> None:
    """Bits that a raster reference needs for true and for sampled sequences, row by row."""
    (axes,) = panels
    names = numbers.measured(report, ExposureBiasRun)
    true = _mean_rows(report, ExposureBiasRun, names[0], RASTER, "data_by_row")
    rows = range(1, len(true) + 1)
    axes.plot(rows, true, color="black", linewidth=3, label="true sequences")
    for name in names:
        sampled = _mean_rows(report, ExposureBiasRun, name, RASTER, "own_by_row")
        axes.plot(rows, sampled, **style.SYSTEMS[name])
    axes.set(xlabel="row of the grid, from the top", ylabel="bits of a token to a second model")


PLOTS = {
    "quality": (plot_quality, {"ncols": 2, "figsize": (10, 4.6), "sharey": True}),
    "costs": (plot_costs, {"ncols": 3, "figsize": (12, 4.4)}),
    "errors": (plot_errors, {"ncols": 3, "figsize": (12, 4.4)}),
    "downstream": (plot_downstream, {"ncols": 2, "figsize": (10, 4.4)}),
    "directions": (plot_directions, {"ncols": 2, "figsize": (10, 4.5), "sharey": True}),
    "exposure_bias": (plot_exposure_bias, {"figsize": (8, 4.6)}),
}
"""What fills the panels of a figure, and how they are made."""


def plot(report: Report, name: str) -> plt.Figure:
    """One of these, with one legend for all panels."""
    fill, options = PLOTS[name]
    figure, panels = plt.subplots(**options, squeeze=False, layout="constrained")
    fill(report, panels[0].tolist())
    style.legend_below(figure, panels[0, 0])
    return figure


def plot_all(report: Report, folder: Path) -> None:
    """All of these files."""
    for name in PLOTS:
        style.save(plot(report, name), folder / f"face_off_{name}.png")


def _bars(axes: Axes, positions: Sequence[float], shares: Sequence[Seeds], name: str) -> None:
    points = [share.percent() for share in shares]
    means = [point.mean for point in points]
    # the mean of equal seeds is rounded, so it may lie above or below all of them
    below = [max(0.0, point.mean - min(point.values)) for point in points]
    above = [max(0.0, max(point.values) - point.mean) for point in points]
    look = style.SYSTEMS[name]
    axes.errorbar(positions, means, yerr=(below, above), capsize=3, markersize=5, **look)


def _line_and_points(
    axes: Axes, positions: Sequence[float], points: Sequence[Seeds], **look: Any
) -> None:
    axes.plot(positions, [point.by_seed[FIRST] for point in points], markersize=5, **look)
    for position, point in zip(positions, points, strict=True):
        others = [value for seed, value in point.by_seed.items() if seed != FIRST]
        pale = {"marker": look["marker"], "color": look["color"], "alpha": 0.4}
        axes.plot([position] * len(others), others, ls="", markersize=5, **pale)


def _level(axes: Axes, share: Seeds, name: str) -> None:
    colour = style.SYSTEMS[name]["color"]
    axes.axhspan(min(share.values), max(share.values), color=colour, alpha=0.2, lw=0)
    axes.axhline(share.mean, ls="--", lw=1.5, color=colour, label=LABELS[name])


def _mean_rows(report: Report, measure: numbers.Measure, name: str, *path: str) -> np.ndarray:
    return np.mean(numbers.over_seeds(report, measure, name, *path).values, axis=0)

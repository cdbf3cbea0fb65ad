"""Plots of the results. Where there are bars, they go from the lowest seed to the highest."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
from matplotlib.axes import Axes

from vqlearn.experiments import style
from vqlearn.experiments.face_off.costs import LENGTHS, Cost
from vqlearn.experiments.face_off.exposure_bias import ExposureBiasRun
from vqlearn.experiments.face_off.inpainting import (
    ABOVE,
    AMOUNTS,
    ONE,
    SIDES,
    DirectionsRun,
    DownstreamRun,
    ErrorsRun,
)
from vqlearn.experiments.face_off.quality import CALLS, QualityRun
from vqlearn.experiments.face_off.results import evidence, numbers
from vqlearn.experiments.face_off.results.numbers import COMPOSITIONS, Seeds
from vqlearn.experiments.face_off.results.tables import FIRST, FREEDOMS, FROM_ABOVE
from vqlearn.experiments.report import Report
from vqlearn.experiments.style import LABELS

LINES = {  # ways to sample: the system whose colour each has, and its line
    "raster without cache": ("raster", "--"),
    "raster": ("raster", "-"),
    "imagebart": ("imagebart", "-"),
    "diffusion 100": ("vq-diffusion", "-"),
    "diffusion 25": ("vq-diffusion", "--"),
}
COSTS: dict[str, Callable[[Cost], float]] = {
    "operations for an image": evidence.operations,
    "seconds, one image": evidence.seconds_at_once(1),
    "seconds an image, 32 at once": evidence.seconds_at_once(32),
}


def plot_quality(report: Report) -> plt.Figure:
    """Right captions against steps, guided: a line for the first seed, pale points for others.

    A raster network is a level line, pale from the lowest seed to the highest. A direct prediction
    is never guided, and not in the plot.
    """
    figure, panels = plt.subplots(1, 2, figsize=(10, 4.6), layout="constrained", sharey=True)
    for axes, (composition, title) in zip(panels, COMPOSITIONS.items(), strict=True):
        for name in numbers.measured(report, QualityRun):
            found = [
                each.by_composition[composition]
                for each in numbers.results_of(report, QualityRun, name).values()
            ]
            ways = {(way.guided, way.steps) for each in found for way in each.sampled}
            steps = [count for count in CALLS if (True, count) in ways]
            shares = [numbers.right(report, name, composition, steps=n).percent() for n in steps]
            if steps:
                _line_and_points(axes, steps, shares, **style.SYSTEMS[name])
            elif (True, None) in ways:
                _level(axes, numbers.right(report, name, composition).percent(), name)
        axes.set(title=title, xscale="log", xlabel="calls of the denoiser for an image")
        axes.set_xticks(CALLS, map(str, CALLS))
        axes.minorticks_off()
    panels[0].set(ylabel="captions that come out right, guided, %", ylim=(0, 100))
    style.legend_below(figure, panels[0])
    return figure


def plot_costs(report: Report) -> plt.Figure:
    """Operations and seconds of an image against its number of tokens."""
    figure, panels = plt.subplots(1, 3, figsize=(12, 4.4), layout="constrained")
    for axes, (title, number) in zip(panels, COSTS.items(), strict=True):
        for way, (name, line) in LINES.items():
            values = [number(numbers.cost(report, way, n)) for n in LENGTHS]
            axes.plot(LENGTHS, values, **style.SYSTEMS[name] | {"ls": line, "label": way})
        axes.set(title=title, xscale="log", yscale="log", xlabel="tokens of an image")
        axes.set_xticks(LENGTHS, map(str, LENGTHS))
        axes.minorticks_off()
    style.legend_below(figure, panels[0])
    return figure


def plot_errors(report: Report) -> plt.Figure:
    """What wrong tokens do: to captions, to other tokens; and how many are corrected."""
    figure, panels = plt.subplots(1, 3, figsize=(12, 4.4), layout="constrained")
    ticks = ["none", "one", *(f"{100 * float(amount):g} %" for amount in AMOUNTS[1:])]
    for name in numbers.measured(report, ErrorsRun):
        rights = [numbers.right_with(report, name, amount) for amount in (None, *AMOUNTS)]
        changed = [numbers.changed(report, name, amount) for amount in AMOUNTS]
        corrected = [numbers.corrected(report, name, amount) for amount in AMOUNTS]
        for axes, first, shares in zip(
            panels, (0, 1, 1), (rights, changed, corrected), strict=True
        ):
            percents = [share.percent() for share in shares]
            _bars(axes, range(first, len(ticks)), percents, **style.SYSTEMS[name])
    titles = ("captions that come out right, %", "lost tokens that come out otherwise, %")
    titles += ("wrong tokens that get the true code, %",)
    for axes, title in zip(panels, titles, strict=True):
        axes.set(title=title, xlabel="wrong among the tokens that are left")
        axes.set_xticks(range(len(ticks)), ticks)
    style.legend_below(figure, panels[0])
    return figure


def plot_downstream(report: Report) -> plt.Figure:
    """Tokens that come out otherwise in each row of the grid, if the upper half has errors."""
    figure, panels = plt.subplots(1, len(ABOVE), figsize=(10, 4.4), layout="constrained")
    for axes, amount in zip(panels, ABOVE, strict=True):
        for (name, freedom), line in zip(FROM_ABOVE, ("-", "--", "-"), strict=True):
            found = numbers.results_of(report, DownstreamRun, name).values()
            damages = [each[freedom].by_amount[amount] for each in found]
            mean = _mean_rows(each.changed_share_by_row for each in damages)
            label = f"{LABELS[name]}, {FREEDOMS[freedom]}"
            look = style.SYSTEMS[name] | {"ls": line, "label": label}
            axes.plot(range(1, len(mean) + 1), [100 * value for value in mean], **look)
        axes.axvline(len(mean) / 2 + 0.5, color="grey", lw=1)
        what = "one wrong token" if amount == ONE else evidence.wrong(amount)
        axes.set(title=f"{what} in the upper half", xlabel="row of the grid, from the top")
    panels[0].set(ylabel="tokens that come out otherwise, %")
    style.legend_below(figure, panels[0])
    return figure


def plot_directions(report: Report) -> plt.Figure:
    """Captions that come out right when one half is given."""
    figure, panels = plt.subplots(1, 2, figsize=(10, 4.5), layout="constrained", sharey=True)
    for axes, (composition, title) in zip(panels, COMPOSITIONS.items(), strict=True):
        for name in numbers.measured(report, DirectionsRun):
            shares = [
                numbers.right_given(report, name, side, composition).percent() for side in SIDES
            ]
            _bars(axes, range(len(SIDES)), shares, **style.SYSTEMS[name])
        axes.set(title=title, xlabel="the half that is given")
        axes.set_xticks(range(len(SIDES)), SIDES)
    panels[0].set(ylabel="captions that come out right, %", ylim=(0, 100))
    style.legend_below(figure, panels[0])
    return figure


def plot_exposure_bias(report: Report) -> plt.Figure:
    """Bits that a raster reference needs for true and for sampled sequences, row by row."""
    names = numbers.measured(report, ExposureBiasRun)
    figure, axes = plt.subplots(figsize=(8, 4.6), layout="constrained")
    of_raster = {
        name: [
            each["raster"] for each in numbers.results_of(report, ExposureBiasRun, name).values()
        ]
        for name in names
    }
    true = _mean_rows(each.data_by_row for each in of_raster[names[0]])
    rows = range(1, len(true) + 1)
    axes.plot(rows, true, color="black", linewidth=3, label="true sequences")
    for name in names:
        own = _mean_rows(each.own_by_row for each in of_raster[name])
        axes.plot(rows, own, **style.SYSTEMS[name])
    axes.set(xlabel="row of the grid, from the top", ylabel="bits of a token to a second model")
    style.legend_below(figure, axes)
    return figure


PLOTS: dict[str, Callable[[Report], plt.Figure]] = {
    "quality": plot_quality,
    "costs": plot_costs,
    "errors": plot_errors,
    "downstream": plot_downstream,
    "directions": plot_directions,
    "exposure_bias": plot_exposure_bias,
}


def plot_all(report: Report, folder: Path) -> None:
    """All of these files."""
    for name, plot in PLOTS.items():
        style.save(plot(report), folder / f"face_off_{name}.png")


def _bars(axes: Axes, positions: Sequence[float], points: Sequence[Seeds], **look: Any) -> None:
    means = [point.mean for point in points]
    # the mean of equal seeds is rounded, so it may lie above or below all of them
    below = [max(0.0, point.mean - min(point.values)) for point in points]
    above = [max(0.0, max(point.values) - point.mean) for point in points]
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


def _mean_rows(rows: Iterable[Sequence[float]]) -> list[float]:
    return [sum(values) / len(values) for values in zip(*rows, strict=True)]

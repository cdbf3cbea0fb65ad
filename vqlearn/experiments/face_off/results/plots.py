"""Plots of the results. Where there are bars, they go from the lowest seed to the highest.

Those of letters are two standard errors of the distance to the floor: all systems have the same
test captions, and how hard these are is no error of a distance.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes

from vqlearn.experiments import style
from vqlearn.experiments.face_off import inpainting, letters
from vqlearn.experiments.face_off.costs import LENGTHS
from vqlearn.experiments.face_off.exposure_bias import ExposureBiasRun
from vqlearn.experiments.face_off.quality import CALLS, SHOWN, QualityRun
from vqlearn.experiments.face_off.results import numbers
from vqlearn.experiments.face_off.results.numbers import Seeds
from vqlearn.experiments.face_off.results.tables import FIRST, FREEDOMS, FROM_ABOVE, shown_scenes
from vqlearn.experiments.face_off.training import RASTER, SEEDS, run_id
from vqlearn.experiments.pages import COMPOSITIONS
from vqlearn.experiments.report import Report
from vqlearn.experiments.style import LABELS
from vqlearn.experiments.tokens import ShippedTokens, tokens_from_text

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

APART = 0.2  # between two seeds of one system
POINTS = {"marker": "o", "ls": "", "ms": 4, "capsize": 2}
SAME_LOOK = {"mask-and-replace": "vq-diffusion", "uniform": "multinomial"}
COLOURS = {name: style.SYSTEMS[SAME_LOOK.get(name, name)]["color"] for name in letters.SYSTEMS}


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


def plot_letters(report: Report, panels: Sequence[Axes]) -> None:
    """Left: bits of every system; right: bits against the weight of the auxiliary loss.

    Runs that are missing leave a gap.
    """
    plot_systems(panels[0], report)
    plot_weights(panels[1], report)


def plot_systems(axes: Axes, report: Report) -> None:
    """A row for each system, its seeds one below the other, and two ways to guess as lines."""
    for position, system in enumerate(letters.SYSTEMS):
        shifts = APART * (np.arange(len(SEEDS)) - (len(SEEDS) - 1) / 2)
        runs = {position + shift: (system, seed) for shift, seed in zip(shifts, SEEDS, strict=True)}
        y, bits, errors = points(report, runs)
        axes.errorbar(bits, y, xerr=2 * errors, color=COLOURS[system], **POINTS)
    facts = report.data[letters.LetterRun.data]
    for bits, label, colour in (
        (facts.floor_on_test, "the true distribution", style.FLOOR),
        (facts.baselines["5-gram"], "5-gram", style.BASELINE),
    ):
        axes.axvline(bits, color=colour, ls="--", lw=1, label=f"{label}: {bits:.3f}")
    axes.set_yticks(range(len(letters.SYSTEMS)), list(letters.SYSTEMS))
    axes.set(ylim=(len(letters.SYSTEMS) - 0.4, -0.6), xlabel=facts.unit)
    axes.set_title("all systems, one point for each seed", fontsize=10)
    axes.grid(axis="x", alpha=0.3)
    axes.legend(fontsize=8)


def plot_weights(axes: Axes, report: Report) -> None:
    """A line for each kernel through the runs of the first seed; paler points of the others."""
    for kernel in letters.KERNELS:
        axes.plot([], [], "o-", ms=4, color=COLOURS[kernel], label=kernel)
        for seed in SEEDS:
            runs = {
                x: (letters.with_weight(kernel, weight), seed)
                for x, weight in enumerate(letters.WEIGHTS)
            }
            x, bits, errors = points(report, runs)
            look = POINTS | ({"ls": "-"} if seed == FIRST else {"alpha": 0.4})
            axes.errorbar(x, bits, yerr=2 * errors, color=COLOURS[kernel], **look)
    axes.set_xticks(range(len(letters.WEIGHTS)), [f"{weight:g}" for weight in letters.WEIGHTS])
    axes.set(xlim=(-0.4, len(letters.WEIGHTS) - 0.6), xlabel="weight of the auxiliary loss")
    axes.set_ylabel(report.data[letters.LetterRun.data].unit)
    axes.set_title("kernels", fontsize=10)
    axes.grid(axis="y", alpha=0.3)
    axes.legend(fontsize=8, loc="upper left", bbox_to_anchor=(1.02, 1))


def points(report: Report, runs: Mapping[float, tuple[str, int]]) -> Float[np.ndarray, "3 n"]:
    """Of the runs that are there: where each stands, its bits, the error of those above the floor.

    A run is a system and a seed; for a kernel with another weight it is its `with_weight`.
    """
    ids = {where: run_id(letters.LetterRun.measure_id, *run) for where, run in runs.items()}
    found = {where: report.runs[id].result for where, id in ids.items() if id in report.runs}
    rows = [
        (where, each.bits.mean, each.bits_above_floor.standard_error)
        for where, each in found.items()
    ]
    return np.array(rows).reshape(-1, 3).T


PLOTS = {
    "quality": (plot_quality, {"ncols": 2, "figsize": (10, 4.6), "sharey": True}),
    "costs": (plot_costs, {"ncols": 3, "figsize": (12, 4.4)}),
    "errors": (plot_errors, {"ncols": 3, "figsize": (12, 4.4)}),
    "downstream": (plot_downstream, {"ncols": 2, "figsize": (10, 4.4)}),
    "directions": (plot_directions, {"ncols": 2, "figsize": (10, 4.5), "sharey": True}),
    "exposure_bias": (plot_exposure_bias, {"figsize": (8, 4.6)}),
    "captions": (plot_letters, {"ncols": 2, "figsize": (12, 4.2), "width_ratios": (3, 2)}),
}
"""What fills the panels of a figure, and how they are made."""


def plot(report: Report, name: str) -> plt.Figure:
    """One of these, with one legend for all panels where these have none of their own."""
    fill, options = PLOTS[name]
    figure, panels = plt.subplots(**options, squeeze=False, layout="constrained")
    fill(report, panels[0].tolist())
    if panels[0, 0].get_legend() is None:
        handles, labels = panels[0, 0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=4, fontsize=8)
    return figure


def plot_gallery(report: Report, file: Path) -> None:
    """True scenes, then a row of images for each system that was sampled guided."""
    tokens = ShippedTokens()
    names = [name for name in numbers.measured(report, QualityRun) if name != "direct"]
    size = (11, 0.6 * (len(names) + 1) + 0.4)
    figure, panels = plt.subplots(len(names) + 1, 2, figsize=size, layout="constrained")
    for (composition, title), column in zip(COMPOSITIONS.items(), panels.T, strict=True):
        column[0].set_title(title, fontsize=10)
        style.show_images(column[0], shown_scenes(composition).images[:SHOWN])
        for name, axes in zip(names, column[1:], strict=True):
            quality = numbers.results_of(report, QualityRun, name)[FIRST]
            shown = quality.by_composition[composition].shown
            style.show_images(axes, tokens.decode(tokens_from_text(shown)))
    for name, axes in zip(("true scenes", *names), panels[:, 0], strict=True):
        label = LABELS.get(name, name)
        axes.text(-0.02, 0.5, label, transform=axes.transAxes, ha="right", va="center", fontsize=8)
    style.save(figure, file)


def plot_all(report: Report, folder: Path) -> None:
    """Every plot of the page."""
    for name in PLOTS:
        style.save(plot(report, name), folder / f"face_off_{name}.png")
    plot_gallery(report, folder / "face_off_gallery.png")


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

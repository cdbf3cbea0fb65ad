"""Plots of the results. Where there are bars, they go from the lowest seed to the highest."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
from matplotlib.axes import Axes

from vqlearn.experiments.face_off import downstream
from vqlearn.experiments.face_off.costs import LENGTHS
from vqlearn.experiments.face_off.inpainting import ONE, SHARES, SIDES
from vqlearn.experiments.face_off.quality import CALLS
from vqlearn.experiments.face_off.results import (
    COMPOSITION_TITLES,
    FIRST,
    LABELS,
    Report,
    Seeds,
    cost,
    measured,
    over_seeds,
    parts,
    right,
)
from vqlearn.experiments.face_off.runs import ABOVE, FROM_ABOVE

WAYS = {  # to draw: the system whose colour it has, and its line
    "raster without cache": ("raster", "--"),
    "raster": ("raster", "-"),
    "imagebart": ("imagebart", "-"),
    "diffusion 100": ("vq-diffusion", "-"),
    "diffusion 25": ("vq-diffusion", "--"),
}
MARKERS = "osD^vP*X<>"
STYLES = {
    name: {"marker": marker, "color": colour, "label": LABELS[name]}
    for name, marker, colour in zip(LABELS, MARKERS, plt.colormaps["tab10"].colors, strict=True)
}
"""A system looks the same in every image."""


def draw_quality(report: Report, file: Path) -> None:
    """Right captions against calls, guided: a line for the first seed, pale points for others.

    A raster network is a level line, pale from the lowest seed to the highest. A direct prediction
    is never guided, and not in the image.
    """
    figure, panels = plt.subplots(1, 2, figsize=(10, 4.6), layout="constrained", sharey=True)
    for axes, (composition, title) in zip(panels, COMPOSITION_TITLES.items(), strict=True):
        for name in measured(report, "quality"):
            drawn = parts(report, "quality", name, composition, "drawn").values()
            ways = {way for each in drawn for way in each}
            calls = [count for count in CALLS if f"guided {count}" in ways]
            if calls:
                shares = [
                    right(report, name, composition, calls=count).percent() for count in calls
                ]
                _line_and_points(axes, calls, shares, **STYLES[name])
            elif "guided" in ways:
                _level(axes, right(report, name, composition).percent(), name)
        axes.set(title=title, xscale="log", xlabel="calls of the denoiser for a picture")
        axes.set_xticks(CALLS, map(str, CALLS))
        axes.minorticks_off()
    panels[0].set(ylabel="sentences that come out right, guided, %", ylim=(0, 100))
    _legend_below(figure, panels[0])
    _save(figure, file)


def draw_costs(report: Report, file: Path) -> None:
    """Operations and seconds of an image against its number of tokens."""
    figure, panels = plt.subplots(1, 3, figsize=(12, 4.4), layout="constrained")
    titles = ("operations for a picture", "seconds, one picture", "seconds a picture, 32 at once")
    paths = (("operations",), ("seconds", "1"), ("seconds", "32"))
    for axes, title, path in zip(panels, titles, paths, strict=True):
        for way, (name, line) in WAYS.items():
            values = [cost(report, way, n, *path) for n in LENGTHS]
            axes.plot(LENGTHS, values, **STYLES[name] | {"ls": line, "label": way})
        axes.set(title=title, xscale="log", yscale="log", xlabel="tokens of a picture")
        axes.set_xticks(LENGTHS, map(str, LENGTHS))
        axes.minorticks_off()
    _legend_below(figure, panels[0])
    _save(figure, file)


def draw_errors(report: Report, file: Path) -> None:
    """What wrong tokens do: to captions, to other tokens; and how many are mended."""
    figure, panels = plt.subplots(1, 3, figsize=(12, 4.4), layout="constrained")
    keys = (ONE, *map(str, SHARES))
    ticks = ["none", "one", *(f"{100 * share:g} %" for share in SHARES)]
    for name in measured(report, "errors"):
        sentences = [over_seeds(report, "errors", name, key, "share") for key in ("none", *keys)]
        _bars(
            panels[0], range(len(ticks)), [share.percent() for share in sentences], **STYLES[name]
        )
        for axes, path in ((panels[1], "lost changed"), (panels[2], "mended")):
            shares = [over_seeds(report, "errors", name, key, path).percent() for key in keys]
            _bars(axes, range(1, len(ticks)), shares, **STYLES[name])
    titles = ("sentences that come out right, %", "lost tokens that come out otherwise, %")
    titles += ("wrong tokens that get the true code, %",)
    for axes, title in zip(panels, titles, strict=True):
        axes.set(title=title, xlabel="wrong among the tokens that are left")
        axes.set_xticks(range(len(ticks)), ticks)
    _legend_below(figure, panels[0])
    _save(figure, file)


def draw_downstream(report: Report, file: Path) -> None:
    """Tokens that come out otherwise in each row of the grid, if the upper half has errors."""
    figure, panels = plt.subplots(1, len(ABOVE), figsize=(10, 4.4), layout="constrained")
    for axes, share in zip(panels, ABOVE, strict=True):
        for (name, way), line in zip(FROM_ABOVE, ("-", "--", "-"), strict=True):
            by_row = parts(report, "downstream", name, way, share, "changed by row").values()
            rows = [100 * value for value in _mean_rows(by_row)]
            label = f"{LABELS[name]}, {downstream.WAYS[way]}"
            style = STYLES[name] | {"ls": line, "label": label}
            axes.plot(range(1, len(rows) + 1), rows, **style)
        axes.axvline(len(rows) / 2 + 0.5, color="grey", lw=1)
        what = "one wrong token" if share == ONE else f"{100 * float(share):g} % wrong"
        axes.set(title=f"{what} in the upper half", xlabel="row of the grid, from the top")
    panels[0].set(ylabel="tokens that come out otherwise, %")
    _legend_below(figure, panels[0])
    _save(figure, file)


def draw_directions(report: Report, file: Path) -> None:
    """Sentences that come out right when one half is given."""
    figure, panels = plt.subplots(1, 2, figsize=(10, 4.5), layout="constrained", sharey=True)
    for axes, (composition, title) in zip(panels, COMPOSITION_TITLES.items(), strict=True):
        for name in measured(report, "directions"):
            shares = [
                over_seeds(report, "directions", name, composition, side, "share").percent()
                for side in SIDES
            ]
            _bars(axes, range(len(SIDES)), shares, **STYLES[name])
        axes.set(title=title, xlabel="the half that is given")
        axes.set_xticks(range(len(SIDES)), SIDES)
    panels[0].set(ylabel="sentences that come out right, %", ylim=(0, 100))
    _legend_below(figure, panels[0])
    _save(figure, file)


def draw_forcing(report: Report, file: Path) -> None:
    """Bits that a second raster model needs for true and for drawn rows, row by row."""
    names = measured(report, "forcing")
    figure, axes = plt.subplots(figsize=(8, 4.6), layout="constrained")
    true = _mean_rows(parts(report, "forcing", names[0], "raster", "data by row").values())
    rows = range(1, len(true) + 1)
    axes.plot(rows, true, color="black", linewidth=3, label="true rows")
    for name in names:
        own = parts(report, "forcing", name, "raster", "own by row").values()
        axes.plot(rows, _mean_rows(own), **STYLES[name])
    axes.set(xlabel="row of the grid, from the top", ylabel="bits of a token to a second model")
    _legend_below(figure, axes)
    _save(figure, file)


def _bars(axes: Axes, positions: Sequence[float], points: Sequence[Seeds], **style: Any) -> None:
    below = [max(0.0, point.mean - point.low) for point in points]  # equal seeds: a mean is rounded
    above = [max(0.0, point.high - point.mean) for point in points]
    means = [point.mean for point in points]
    axes.errorbar(positions, means, yerr=(below, above), capsize=3, markersize=5, **style)


def _line_and_points(
    axes: Axes, positions: Sequence[float], points: Sequence[Seeds], **style: Any
) -> None:
    axes.plot(positions, [point.by_seed[FIRST] for point in points], markersize=5, **style)
    for position, point in zip(positions, points, strict=True):
        others = [value for seed, value in point.by_seed.items() if seed != FIRST]
        pale = {"marker": style["marker"], "color": style["color"], "alpha": 0.4}
        axes.plot([position] * len(others), others, ls="", markersize=5, **pale)


def _level(axes: Axes, share: Seeds, name: str) -> None:
    colour = STYLES[name]["color"]
    axes.axhspan(share.low, share.high, color=colour, alpha=0.2, lw=0)
    axes.axhline(share.mean, ls="--", lw=1.5, color=colour, label=LABELS[name])


def _legend_below(figure: plt.Figure, axes: Axes) -> None:
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4, fontsize=8)


def _mean_rows(rows: Iterable[Sequence[float]]) -> list[float]:
    return [sum(values) / len(values) for values in zip(*rows, strict=True)]


def _save(figure: plt.Figure, file: Path) -> None:
    figure.savefig(file, dpi=110)
    plt.close(figure)

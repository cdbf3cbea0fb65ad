"""How all plots of the studies look: one palette, one way to save, one legend, rows of images."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch
from einops import rearrange, repeat
from jaxtyping import Float
from matplotlib.axes import Axes
from torch import Tensor

from vqlearn.data.digit_images import SIDE
from vqlearn.experiments.data import LEVELS
from vqlearn.experiments.report import Report, Run
from vqlearn.experiments.systems import LABELS

DPI = 110
BASELINE, MODEL, FLOOR = "dimgrey", "tab:blue", "darkred"
RIGHT, WRONG = "darkgreen", "darkred"
TINY = 0.2  # bits
MARKERS = "osD^vP*X<>"
SYSTEMS = {
    name: {"marker": marker, "color": colour, "label": LABELS[name]}
    for name, marker, colour in zip(LABELS, MARKERS, plt.colormaps["tab10"].colors, strict=True)
}
"""A system looks the same in every plot."""

Row = tuple[float, float, str]
"""Mean, standard error, colour."""


def save(figure: plt.Figure, file: Path) -> None:
    """Write the figure and forget it."""
    figure.savefig(file, dpi=DPI)
    plt.close(figure)


def bits_rows(report: Report, runs: Sequence[Run], data: str) -> dict[str, Row]:
    """Bits on one data set: what counting needs, every run that is there, the floor if known."""
    facts = report.data[data]
    rows = {name: (bits, 0.0, BASELINE) for name, bits in facts.baselines.items()}
    for run in runs:
        if run.data == data and run.id in report.runs:
            rows[run.name] = (*report.runs[run.id].result.bits, MODEL)
    if facts.floor is not None:
        rows["floor: the entropy"] = (facts.floor, 0.0, FLOOR)
    return rows


def plot_bits(report: Report, runs: Sequence[Run], titles: Mapping[str, str], file: Path) -> None:
    """One panel for each data set (those of `titles`), a row for each way to guess.

    Runs have bars of two standard errors. The axis is logarithmic where some bits are tiny.
    """
    rows = {data: bits_rows(report, runs, data) for data in titles}
    heights = [len(part) + 1 for part in rows.values()]
    size = (7.2, 0.32 * sum(heights))
    figure, panels = plt.subplots(
        len(rows), 1, figsize=size, layout="constrained", height_ratios=heights
    )
    for axes, (data, part) in zip(panels, rows.items(), strict=True):
        plot_rows(axes, part)
        axes.set_title(titles[data], fontsize=10, loc="left")
        axes.set_xlabel(report.data[data].unit)
        if min(mean for mean, *_ in part.values()) < TINY:
            axes.set_xscale("log")
            axes.xaxis.set_major_formatter("{x:g}")
    save(figure, file)


def plot_rows(axes: Axes, rows: Mapping[str, Row]) -> None:
    """One row for each name: a point with its number and a bar of two standard errors each way."""
    for position, (mean, error, colour) in enumerate(rows.values()):
        axes.errorbar(mean, position, xerr=2 * error, fmt="o", capsize=3, color=colour)
        axes.annotate(f"{mean:.2f}", (mean, position), (6, 4), textcoords="offset points", size=7)
    axes.set_yticks(range(len(rows)), list(rows))
    axes.set_ylim(len(rows) - 0.3, -0.7)
    axes.margins(x=0.08)
    axes.grid(axis="x", alpha=0.3)


def shown_of(report: Report, runs: Sequence[Run], data: str) -> dict[str, tuple[str, ...]]:
    """What can be shown as text: test sequences of the data, then samples of every run."""
    samples = {
        run.name: report.runs[run.id].result.samples.shown for run in runs if run.data == data
    }
    return {"the data": report.data[data].samples.shown, **samples}


def to_grey(strings: Sequence[str], num_codes: int) -> Float[Tensor, "b 1 8 8"]:
    """Black strokes on white, in 0 to 1, from strings with one letter for each pixel."""
    levels = torch.tensor([[LEVELS.index(letter) for letter in string] for string in strings])
    return 1 - rearrange(levels / (num_codes - 1), "b (h w) -> b 1 h w", h=SIDE)


def plot_images(
    rows: Mapping[str, Float[Tensor, "b c h w"]], file: Path, *, height: float = 0.8
) -> None:
    """A row of images under each title, each of this height in inches."""
    size = (6, height * len(rows))
    figure, panels = plt.subplots(len(rows), 1, figsize=size, layout="constrained")
    for axes, (title, images) in zip(panels, rows.items(), strict=True):
        show_images(axes, images, title, size=8)
    save(figure, file)


def show_images(axes: Axes, images: Float[Tensor, "b c h w"], title: str = "", size=9) -> None:
    """Images in 0 to 1 side by side, a white column after each; one channel is grey."""
    images = images if images.shape[1] == 3 else repeat(images, "b 1 h w -> b c h w", c=3)
    framed = np.pad(images.numpy(), ((0, 0), (0, 0), (0, 0), (0, 1)), constant_values=1)
    axes.imshow(rearrange(framed, "b c h w -> h (b w) c"))
    axes.set_title(title, fontsize=size, loc="left")
    axes.axis("off")

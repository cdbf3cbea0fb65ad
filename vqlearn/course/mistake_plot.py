"""A plot for the class: which known mistake how many submissions show."""

from collections.abc import Mapping
from pathlib import Path

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from vqlearn.storage import atomic_write

MOST_BARS = 25
DPI = 110


def plot_mistakes(counts: Mapping[str, int], file: Path) -> None:
    """A bar for each mistake, in the order that is given; of a long list the first ones."""
    labels = list(counts)[:MOST_BARS]
    figure = Figure(figsize=(7.2, 1 + 0.32 * len(labels)), layout="constrained")
    axes = figure.subplots()
    bars = axes.barh(labels, [counts[label] for label in labels], color="tab:blue")
    axes.bar_label(bars, padding=3)
    axes.invert_yaxis()
    axes.margins(x=0.1, y=0.02)
    axes.set_xlabel("submissions")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    with atomic_write(file) as part:
        figure.savefig(part, dpi=DPI)

"""Two plots of the kernels: bits beside the floor and the baselines, and what was sampled."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib.pyplot as plt
from matplotlib.axes import Axes

from vqlearn.experiments import style
from vqlearn.experiments.data import is_parsed
from vqlearn.experiments.report import Report
from vqlearn.experiments.sequences import DiffusionRun

TITLES = {
    "captions": "captions, letter by letter",
    "digits": "digits, 17 grey levels",
    "binary": "digits, black and white",
}
CAPTIONS_SHOWN = 3


def plot_all(report: Report, folder: Path, runs: Sequence[DiffusionRun]) -> None:
    """Both files."""
    style.plot_bits(report, runs, TITLES, folder / "kernels_bits.png")
    plot_samples(report, folder / "kernels_samples.png", runs)


def plot_samples(report: Report, file: Path, runs: Sequence[DiffusionRun]) -> None:
    """Captions as they were sampled, green where the grammar accepts them; then the digits."""
    captions = style.shown_of(report, runs, "captions")
    images = {
        f"{TITLES[data]}: {name}": style.to_grey(shown, report.data[data].num_codes)
        for data in ("digits", "binary")
        for name, shown in style.shown_of(report, runs, data).items()
    }
    heights = [len(captions) * CAPTIONS_SHOWN / 3, *[1] * len(images)]
    figure, (text, *rows) = plt.subplots(
        1 + len(images), 1, figsize=(8.2, 10.5), layout="constrained", height_ratios=heights
    )
    _write_captions(text, captions)
    for axes, (title, greys) in zip(rows, images.items(), strict=True):
        style.show_images(axes, greys, title, size=8)
    style.save(figure, file)


def _write_captions(axes: Axes, captions: dict[str, tuple[str, ...]]) -> None:
    lines = [(name, text) for name, texts in captions.items() for text in texts[:CAPTIONS_SHOWN]]
    for position, (name, text) in enumerate(lines):
        y = 1 - (position + 0.5) / len(lines)
        if position % CAPTIONS_SHOWN == 0:
            axes.text(0, y, name, fontsize=8, va="center")
        colour = style.RIGHT if is_parsed(text) else style.WRONG
        axes.text(0.17, y, text, fontsize=6.5, family="monospace", va="center", color=colour)
    axes.set_title(TITLES["captions"], fontsize=8, loc="left")
    axes.axis("off")

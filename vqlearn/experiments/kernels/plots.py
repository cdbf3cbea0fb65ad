"""Two images of `family.json`: bits beside the floor and the baselines, and what was drawn."""

from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from einops import rearrange
from jaxtyping import Float

from vqlearn.data.digits import SIDE
from vqlearn.experiments.kernels.data import LEVELS, WORLDS, is_parsed

TITLES = {
    "captions": "captions, letter by letter",
    "digits": "digits, 17 grey levels",
    "binary": "digits, black and white",
}
CAPTIONS_SHOWN = 3
GREY, BLUE, RED = "dimgrey", "tab:blue", "darkred"
RIGHT, WRONG = "darkgreen", "darkred"


def runs_of(world: str, report: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The runs of one world, by the name of their kernel."""
    parts = {tuple(name.split("/")): run for name, run in report["runs"].items()}
    return {kernel: run for (kind, kernel), run in parts.items() if kind == world}


def draw_bits(report: dict[str, Any], file: Path) -> None:
    """One row for each way to guess; the runs have bars of two standard errors."""
    rows = {world: bits_of(world, report) for world in WORLDS}
    heights = [len(part) + 1 for part in rows.values()]
    figure, panels = plt.subplots(
        len(rows), 1, figsize=(7.2, 7.2), layout="constrained", height_ratios=heights
    )
    for axes, (world, part) in zip(panels, rows.items(), strict=True):
        draw_rows(axes, part)
        axes.set_xlim(left=0)
        axes.set_title(TITLES[world], fontsize=10, loc="left")
        axes.set_xlabel(report["worlds"][world]["unit"])
    figure.savefig(file, dpi=110)
    plt.close(figure)


def draw_rows(axes: plt.Axes, rows: dict[str, tuple[float, float, str]]) -> None:
    """A point and its number for each row of `bits_of`."""
    for position, (mean, error, colour) in enumerate(rows.values()):
        axes.errorbar(mean, position, xerr=2 * error, fmt="o", capsize=3, color=colour)
        axes.annotate(f"{mean:.2f}", (mean, position), (6, 4), textcoords="offset points", size=7)
    axes.set_yticks(range(len(rows)), list(rows))
    axes.set_ylim(len(rows) - 0.3, -0.7)
    axes.margins(x=0.08)
    axes.grid(axis="x", alpha=0.3)


def bits_of(world: str, report: dict[str, Any]) -> dict[str, tuple[float, float, str]]:
    """Mean, standard error and colour of every row: baselines, runs, and the floor if known."""
    known = report["worlds"][world]
    rows = {name: (bits, 0.0, GREY) for name, bits in known["yardsticks"].items()}
    for kernel, run in runs_of(world, report).items():
        rows[kernel] = (run["bits"]["mean"], run["bits"]["standard_error"], BLUE)
    if "floor" in known:
        rows["floor: the entropy"] = (known["floor"], 0.0, RED)
    return rows


def draw_samples(report: dict[str, Any], file: Path) -> None:
    """Captions as they were drawn, green where the grammar accepts them; then the digits."""
    captions = shown_of("captions", report)
    pictures = [(world, *row) for world in ("digits", "binary") for row in shown_of(world, report)]
    heights = [len(captions) * CAPTIONS_SHOWN / 3, *[1] * len(pictures)]
    figure, (text, *rows) = plt.subplots(
        1 + len(pictures), 1, figsize=(8.2, 10.5), layout="constrained", height_ratios=heights
    )
    _write_captions(text, captions)
    for axes, (world, kernel, strings) in zip(rows, pictures, strict=True):
        levels = to_grey(strings, report["worlds"][world]["num_codes"])
        axes.imshow(side_by_side(levels), cmap="gray_r", vmin=0, vmax=1)
        axes.set_title(f"{TITLES[world]}: {kernel}", fontsize=8, loc="left")
        axes.axis("off")
    figure.savefig(file, dpi=110)
    plt.close(figure)


def shown_of(world: str, report: dict[str, Any]) -> list[tuple[str, list[str]]]:
    """The rows that can be shown: of the data, then of every run."""
    data = [("the data", report["worlds"][world]["samples"]["shown"])]
    runs = runs_of(world, report).items()
    return data + [(kernel, run["samples"]["shown"]) for kernel, run in runs]


def _write_captions(axes: plt.Axes, captions: list[tuple[str, list[str]]]) -> None:
    lines = [(kernel, text) for kernel, texts in captions for text in texts[:CAPTIONS_SHOWN]]
    for position, (kernel, text) in enumerate(lines):
        y = 1 - (position + 0.5) / len(lines)
        if position % CAPTIONS_SHOWN == 0:
            axes.text(0, y, kernel, fontsize=8, va="center")
        colour = RIGHT if is_parsed(text) else WRONG
        axes.text(0.17, y, text, fontsize=6.5, family="monospace", va="center", color=colour)
    axes.set_title(TITLES["captions"], fontsize=8, loc="left")
    axes.axis("off")


def to_grey(strings: list[str], num_codes: int) -> Float[np.ndarray, "b 8 8"]:
    """Images in 0 to 1 from strings with one letter for each pixel."""
    levels = np.array([[LEVELS.index(letter) for letter in string] for string in strings])
    return rearrange(levels / (num_codes - 1), "b (h w) -> b h w", h=SIDE)


def side_by_side(images: Float[np.ndarray, "b h w"]) -> Float[np.ndarray, "h wide"]:
    """One wide image with a white column after each."""
    return rearrange(np.pad(images, ((0, 0), (0, 0), (0, 1))), "b h w -> h (b w)")

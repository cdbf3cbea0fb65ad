"""Plots of the results. Bars are 95 % intervals over test items.

Those of characters are two standard errors of the distance to the entropy: all systems have the
same test captions, and how hard these are is no error of a distance.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from textwrap import fill
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes

from vqlearn.experiments import style
from vqlearn.experiments.face_off import inpainting, letters
from vqlearn.experiments.face_off.costs import LENGTHS
from vqlearn.experiments.face_off.exposure_bias import ExposureBiasRun
from vqlearn.experiments.face_off.quality import SHOWN, QualityRun
from vqlearn.experiments.face_off.results import claims, effects, equal_cost, numbers
from vqlearn.experiments.face_off.results.effects import Measured, effect
from vqlearn.experiments.face_off.results.tables import FIRST, shown_scenes
from vqlearn.experiments.face_off.training import RASTER, SEEDS, run_id
from vqlearn.experiments.pages import COMPOSITIONS
from vqlearn.experiments.report import Report
from vqlearn.experiments.style import LABELS
from vqlearn.experiments.tokens import ShippedTokens, tokens_from_text
from vqlearn.probability import Estimate

LINES = {  # ways to sample: the system whose colour each has, its line, and its name
    "raster without cache": ("raster", "--", "AR without a KV cache"),
    "raster": ("raster", "-", "AR with a KV cache"),
    "imagebart": ("imagebart", "-", "ImageBART, 2 scales"),
    "diffusion 100": ("vq-diffusion", "-", "diffusion, 100 steps"),
    "diffusion 25": ("vq-diffusion", "--", "diffusion, 25 steps"),
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


def plot_equal_cost(report: Report, panels: Sequence[Axes]) -> None:
    """Accuracy on pairs seen and never seen, each against operations and against seconds.

    Diffusion is guided, with 5 to 100 steps; AR and ImageBART are single points.
    """
    pairs = [(composition, at_once) for composition in COMPOSITIONS for at_once in (None, 1)]
    for axes, (composition, at_once) in zip(panels, pairs, strict=True):
        lines = {name: [] for name in LABELS}
        for way in equal_cost.SETTINGS:
            if way.guided or way.steps is None:
                low_high = way.accuracy(report, composition).estimate
                lines[way.system].append((way.cost(report, at_once), low_high))
        for name, found in lines.items():
            if found:
                x, estimates = zip(*found, strict=True)
                points = name in equal_cost.KERNELS
                look = style.SYSTEMS[name] | ({} if points else {"ls": "", "ms": 9})
                _with_intervals(axes, x, estimates, look)
        unit = "operations for an image" if at_once is None else "seconds, one image, one thread"
        axes.set(title=COMPOSITIONS[composition], xscale="log", xlabel=unit, ylim=(0, 100))
    panels[0].set(ylabel="images that show their caption, %")


def plot_claims(report: Report, panels: Sequence[Axes]) -> None:
    """Every effect in points and in bits with its interval over test items; a dot for each seed."""
    for axes, unit in zip(panels, (claims.POINTS, claims.BITS), strict=True):
        shown = [each for each in claims.CLAIMS if each.effect and each.unit == unit]
        for position, claim in enumerate(shown):
            found, supported = claim.effect(report), claim.reading(report) == claims.SUPPORTED
            colour = style.RIGHT if supported else style.BASELINE
            value, low, high = found.estimate
            bar = [[value - low], [high - value]]
            axes.errorbar(value, position, xerr=bar, fmt="s", capsize=3, color=colour)
            seeds = found.seeds.values
            axes.plot(seeds, [position + 0.3] * len(seeds), "o", ms=3, color=colour, alpha=0.6)
            axes.plot(
                [claim.above] * 2, [position - 0.4, position + 0.4], color=style.WRONG, lw=1, ls="-"
            )
        axes.set_yticks(range(len(shown)), [fill(each.text, 46) for each in shown], fontsize=7)
        axes.set(ylim=(len(shown) - 0.4, -0.6), xlabel=f"effect, {unit}")
        axes.grid(axis="x", alpha=0.3)
    panels[1].set_xscale("symlog", linthresh=0.1)
    panels[1].set(xticks=(-0.3, -0.1, 0, 0.1, 0.3, 1, 3), xlim=(None, 6))
    panels[1].xaxis.set_major_formatter("{x:g}")


def plot_costs(report: Report, panels: Sequence[Axes]) -> None:
    """Operations and seconds of an image against its number of tokens."""
    for axes, (title, at_once) in zip(panels, COSTS.items(), strict=True):
        for way, (name, line, label) in LINES.items():
            values = [numbers.cost_of(report, way, n, at_once) for n in LENGTHS]
            axes.plot(LENGTHS, values, **style.SYSTEMS[name] | {"ls": line, "label": label})
        axes.set(title=title, xscale="log", yscale="log", xlabel="tokens of an image")
        axes.set_xticks(LENGTHS, map(str, LENGTHS))
        axes.minorticks_off()


def plot_errors(report: Report, panels: Sequence[Axes]) -> None:
    """What corrupted tokens do: to accuracy, to other tokens; and how many are corrected."""
    right, changed, corrected = panels
    ticks = ["none", "one", *(f"{100 * float(amount):g} %" for amount in inpainting.AMOUNTS[1:])]
    right.set_title("images that show their caption, %")
    changed.set_title("masked tokens that change, %")
    corrected.set_title("corrupted tokens that are corrected, %")
    for name in numbers.measured(report, inpainting.ErrorsRun):
        shares = [
            effects.accuracy_with_errors(report, name, None, each)
            for each in (None, *inpainting.AMOUNTS)
        ]
        _bars(right, range(len(ticks)), shares, name)
        for axes, what in ((changed, "changed"), (corrected, "corrected")):
            shares = [
                effects.token_share(what, report, name, amount) for amount in inpainting.AMOUNTS
            ]
            _bars(axes, range(1, len(ticks)), shares, name)
    for axes in panels:
        axes.set_xlabel("corrupted among the tokens that are left")
        axes.set_xticks(range(len(ticks)), ticks)


def plot_directions(report: Report, panels: Sequence[Axes]) -> None:
    """Accuracy when one half is given."""
    for axes, (composition, title) in zip(panels, COMPOSITIONS.items(), strict=True):
        names = numbers.measured(report, inpainting.DirectionsRun)
        for i, name in enumerate(names):
            shares = [
                effects.accuracy_given(report, name, side, composition) for side in inpainting.SIDES
            ]
            shift = (i - (len(names) - 1) / 2) / (len(names) + 2)
            positions = [side + shift for side in range(len(inpainting.SIDES))]
            _bars(axes, positions, shares, name, joined=False)
        axes.set(title=title, xlabel="the half that is given")
        axes.set_xticks(range(len(inpainting.SIDES)), inpainting.SIDES)
    panels[0].set(ylabel="images that show their caption, %", ylim=(0, 100))


def plot_exposure_bias(report: Report, panels: Sequence[Axes]) -> None:
    """Bits that a raster reference needs for data and for samples, row by row."""
    (axes,) = panels
    names = numbers.measured(report, ExposureBiasRun)
    true = _mean_rows(report, ExposureBiasRun, names[0], RASTER, "data_by_row")
    rows = range(1, len(true) + 1)
    axes.plot(rows, true, color="black", linewidth=3, label="data")
    for name in names:
        sampled = _mean_rows(report, ExposureBiasRun, name, RASTER, "own_by_row")
        axes.plot(rows, sampled, **style.SYSTEMS[name])
    axes.set(xlabel="row of the grid, from the top", ylabel="bits per token, reference model")


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
    "equal_cost": (plot_equal_cost, {"ncols": 4, "figsize": (14, 4.6), "sharey": True}),
    "claims": (plot_claims, {"ncols": 2, "figsize": (13, 6.4)}),
    "costs": (plot_costs, {"ncols": 3, "figsize": (12, 4.4)}),
    "errors": (plot_errors, {"ncols": 3, "figsize": (12, 4.4)}),
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
    handles, labels = panels[0, 0].get_legend_handles_labels()
    if handles and panels[0, 0].get_legend() is None:
        figure.legend(handles, labels, loc="outside lower center", ncols=4, fontsize=8)
    return figure


def plot_gallery(report: Report, file: Path) -> None:
    """True scenes, then a row of images for each system that was sampled guided."""
    tokens = ShippedTokens()
    names = [name for name in numbers.measured(report, QualityRun) if name != "direct"]
    size = (9.3, 0.6 * (len(names) + 1) + 0.4)
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
        style.save(plot(report, name), folder / f"comparison_{name}.png")
    plot_gallery(report, folder / "comparison_gallery.png")


def _bars(
    axes: Axes,
    positions: Sequence[float],
    shares: Sequence[Measured],
    name: str,
    *,
    joined: bool = True,
) -> None:
    estimates = [effect(share).times(100).estimate for share in shares]
    look = style.SYSTEMS[name] | ({} if joined else {"ls": ""})
    _with_intervals(axes, positions, estimates, look)


def _with_intervals(
    axes: Axes, x: Sequence[float], estimates: Sequence[Estimate], look: Mapping[str, Any]
) -> None:
    below = [max(0.0, each.value - each.low) for each in estimates]
    above = [max(0.0, each.high - each.value) for each in estimates]
    values = [each.value for each in estimates]
    axes.errorbar(
        x,
        values,
        yerr=(below, above),
        **{"ls": "-", "capsize": 2, "elinewidth": 0.8, "ms": 5} | look,
    )


def _mean_rows(report: Report, measure: numbers.Measure, name: str, *path: str) -> np.ndarray:
    return np.mean(numbers.over_seeds(report, measure, name, *path).values, axis=0)

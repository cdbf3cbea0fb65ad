"""The frontier as a plot and as tables: one line for each rule, with 95 % intervals."""

from collections.abc import Callable, Iterator
from pathlib import Path

import matplotlib.pyplot as plt
from matplotlib.axes import Axes

from vqlearn.evaluation.diversity import ALL
from vqlearn.evaluation.frontier import Point
from vqlearn.evaluation.frontier_rules import RULES, STEPS
from vqlearn.experiments import style
from vqlearn.experiments.pages import COMPOSITIONS, table
from vqlearn.experiments.report import Report
from vqlearn.experiments.shipped_model.frontier_runs import EVEN, PLAIN
from vqlearn.probability import Estimate

FEW = 10  # steps
REFERENCE = f"{EVEN}/{max(STEPS)}"
KINDS = ("position", "background", "size")
NUDGE = 0.02  # of a factor between the lines, so that their bars can be told apart

Points = dict[str, Point]
"""A rule at one number of steps, by composition."""


def plot_all(report: Report, folder: Path) -> None:
    """The one plot."""
    plot_frontier(report, folder / "frontier.png")


def tables(report: Report) -> dict[str, str]:
    """All points; rules in few steps against the ancestral sampler in all; diversity by kind."""
    return {
        "frontier-points": points_table(report),
        "frontier-differences": differences_table(report),
        "frontier-kinds": kinds_table(report),
    }


def plot_frontier(report: Report, file: Path) -> None:
    """Accuracy above and diversity below, seen prompts left, held-out ones right."""
    figure, grid = plt.subplots(
        2, 2, figsize=(10, 7.4), sharex=True, sharey="row", layout="constrained"
    )
    ceiling = report.runs["true scenes"].result
    for column, (composition, label) in zip(grid.T, COMPOSITIONS.items(), strict=True):
        for i, rule in enumerate(RULES):
            points = [report.runs[f"{rule.name}/{n}"].result[composition] for n in rule.steps]
            look = {"color": plt.colormaps["tab10"](i), "marker": style.MARKERS[i]}
            factor = 1 + NUDGE * (i - len(RULES) / 2)
            _plot_line(column[0], points, accuracy, factor, label=rule.name, **look)
            _plot_line(column[1], points, diversity, factor, **look)
        for axes, value in zip(column, (accuracy, diversity), strict=True):
            axes.axhline(value(ceiling[composition]).value, color="grey", linestyle="--")
            axes.grid(alpha=0.3)
        column[0].set_title(label, fontsize=10)
        column[1].set_xlabel("sampling steps, counted (NFE: two of each with guidance)")
    grid[0, 0].set_ylabel("images that are right, %")
    grid[1, 0].set_ylabel("diversity (1: that of true scenes)")
    grid[0, 0].set(xscale="log")
    grid[0, 0].set_xticks([3, 5, 10, 25, 64, 100], ["3", "5", "10", "25", "64", "100"])
    grid[0, 0].minorticks_off()
    figure.legend(*grid[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=5)
    style.save(figure, file)


def _plot_line(
    axes: Axes,
    points: list[Point],
    value: Callable[[Point], Estimate],
    factor: float,
    **look: object,
) -> None:
    steps, found = [factor * point.steps for point in points], [value(point) for point in points]
    down, up = ([abs(each.value - each[end]) for each in found] for end in (1, 2))
    middle = [each.value for each in found]
    axes.errorbar(steps, middle, yerr=(down, up), capsize=2, linewidth=1, markersize=5, **look)


def accuracy(point: Point) -> Estimate:
    """The share of right images, in per cent."""
    return Estimate(*(100 * value for value in point.accuracy))


def diversity(point: Point, kind: str = ALL) -> Estimate:
    """What two right images of a prompt differ in, over what two true scenes do."""
    found = point.diversity[kind]
    return Estimate(found.value, *found.interval_95)


def points_table(report: Report) -> str:
    """Every run, true scenes first."""
    titles = ["rule", "steps"]
    titles += [f"right in %, {label}" for label in COMPOSITIONS.values()]
    titles += [f"diversity, {label}" for label in COMPOSITIONS.values()]
    rows = []
    for name, points in named_points(report):
        steps = " / ".join(dict.fromkeys(f"{points[part].steps:.3g}" for part in COMPOSITIONS))
        right = [_shown(accuracy(points[part]), 0) for part in COMPOSITIONS]
        different = [_shown(diversity(points[part]), 2) for part in COMPOSITIONS]
        rows.append([name, steps if points["seen"].steps else "", *right, *different])
    return table(titles, rows)


def named_points(report: Report) -> Iterator[tuple[str, Points]]:
    """The name of the line and what was measured, in the order of the file."""
    yield "true scenes through their tokens", report.runs["true scenes"].result
    for rule in RULES:
        for steps in rule.steps:
            yield rule.name, report.runs[f"{rule.name}/{steps}"].result
    for name, steps in PLAIN:
        found = report.runs[f"{name}/{steps}/plain"].result
        yield f"{name}, neither guided nor truncated", found


def differences_table(report: Report) -> str:
    """Percentage points between a rule in 10 steps or fewer and ancestral sampling in all."""
    reference, rows = report.runs[REFERENCE].result, []
    for rule in RULES:
        steps = max(n for n in rule.steps if n <= FEW)
        points = report.runs[f"{rule.name}/{steps}"].result
        gains = [_shown(gain(points[part], reference[part]), 1, sign="+") for part in COMPOSITIONS]
        rows.append([rule.name, f"{points['seen'].steps:.3g}", *gains])
    titles = ("rule", "steps", *(f"points, {label}" for label in COMPOSITIONS.values()))
    return table(titles, rows)


def gain(point: Point, reference: Point) -> Estimate:
    """Percentage points that a rule has more, with the interval of a mean over the same prompts."""
    each = 100 * (point.shares - reference.shares)
    return Estimate.of_mean(float(each.mean()), float(each.std() / len(each) ** 0.5))


def kinds_table(report: Report) -> str:
    """The diversity of every kind of attribute, of prompts with pairs seen in training."""
    rows = []
    for name, points in named_points(report):
        point = points["seen"]
        if point.steps <= FEW:
            found = [_shown(diversity(point, kind), 2) for kind in KINDS]
            rows.append([name, f"{point.steps:.3g}" if point.steps else "", *found])
    return table(("rule", "steps", *KINDS), rows)


def _shown(estimate: Estimate, digits: int, sign: str = "") -> str:
    value, low, high = (f"{each:{sign}.{digits}f}" for each in estimate)
    return f"{value} ({low} to {high})"

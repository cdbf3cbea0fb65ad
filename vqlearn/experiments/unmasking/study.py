"""The command: all rules in all small worlds, floors, a long chain, and the tables of the page."""

from collections.abc import Mapping
from itertools import product

import torch

from vqlearn.diffusion.exact import long_chain
from vqlearn.experiments.pages import table
from vqlearn.experiments.report import Report
from vqlearn.experiments.runner import Study
from vqlearn.experiments.unmasking.rules import CORRECTORS, FLOOR_RULES, RULES
from vqlearn.experiments.unmasking.runs import (
    FLOOR_LEVELS,
    GRIDS,
    LONG,
    LONG_RULES,
    LONG_TOKENS,
    RUNS,
    SCHEDULES_SHOWN,
    Mean,
    TableRun,
)

WORLD_TITLES = {"twins": "twins", "parity": "parity", "chain": "chain", "square": "2 × 2"}
RULE_TITLES = {
    "ancestral": "ancestral, n / k steps",
    "random": "random positions",
    "random, released": "random positions, released",
    "entropy bound": "entropy bound, .7 (k − 1) nats",
    "MaskGIT 0": "MaskGIT, temperature 0",
    "MaskGIT 4.5": "MaskGIT, temperature 4.5",
}
OTHER_CODE = {
    "random": (0, 0.270, 0.616),
    "purity r=0": (0, 0.267, 0.616),
    "purity r=1, released": (0.284, 0.216, 0.597),
    "purity r=1": None,
    "top purity": (0, 0.477, 0.616),
    "MaskGIT 0": (0.536, 0.392, 0.616),
}
"""The chain with masks only, enumerated by a program that shares nothing with this package."""


def tables(report: Report) -> dict[str, str]:
    """All rules, alone and corrected; those of another program; floors; the long chain."""
    return {
        "unmasking-distances": distances_table(report, (None,)),
        "unmasking-corrected": distances_table(report, tuple(CORRECTORS)),
        "unmasking-other-code": other_code_table(report),
        "unmasking-floors": floors_table(report),
        "unmasking-long": long_table(report),
    }


def distances_table(report: Report, correctors: tuple[str | None, ...]) -> str:
    """Total variation to the data at 1, 2 and 4 tokens a step, where there are so many."""
    rows = []
    for (schedule, title), rule in product(SCHEDULES_SHOWN.items(), RULES):
        for corrector in correctors:
            runs = [TableRun(world, schedule, rule, corrector) for world in GRIDS]
            cells = [together(report.runs[run.id].result) for run in runs]
            around = () if corrector is None else (corrector,)
            rows.append([title, RULE_TITLES.get(rule, rule), *around, *cells])
    around = () if correctors == (None,) else ("corrector",)
    return table(("corruption", "rule", *around, *map(WORLD_TITLES.get, GRIDS)), rows)


def other_code_table(report: Report) -> str:
    """The same numbers twice, where there are two."""
    rows = []
    for rule, other in OTHER_CODE.items():
        found = "" if other is None else " / ".join(map(shown, other))
        here = together(report.runs[f"table/chain/absorbing/{rule}"].result)
        rows.append([RULE_TITLES.get(rule, rule), found, here])
    return table(("rule", "other code", "here"), rows)


def floors_table(report: Report) -> str:
    """Total variation against the number of levels, with the paper's schedule."""
    levels = sorted({str(each) for found in FLOOR_LEVELS.values() for each in found}, key=int)
    rows = []
    for world in FLOOR_LEVELS:
        for rule in FLOOR_RULES:
            found = report.runs[f"floor/{world}/{rule}"].result
            cells = [shown(found[each], 5) if each in found else "" for each in levels]
            rows.append([WORLD_TITLES[world], rule, *cells])
    return table(("world", "rule", *(f"T = {each}" for each in levels)), rows)


def long_table(report: Report) -> str:
    """What samples of a long chain are like, beside what the chain itself says."""
    keys = [str(k) for k in LONG_TOKENS]
    rows = [["the chain itself", "", *["0"] * len(keys), *[f"{mean_changes():.2f}"] * len(keys)]]
    for rule in LONG_RULES:
        found = report.runs[f"long/{rule}"].result
        calls = " / ".join(f"{found[k].calls:.0f}" for k in keys)
        numbers = [with_error(found[k].excess) for k in keys]
        numbers += [with_error(found[k].changes) for k in keys]
        rows.append([RULE_TITLES.get(rule, rule), calls, *numbers])
    what = [f"{name}, k = {k}" for name in ("excess", "changes") for k in keys]
    return table(("rule", "calls", *what), rows)


def mean_changes() -> float:
    """How many steps of the long chain lead to another code, on average."""
    p = long_chain(LONG).changes_distribution()
    return float(p @ torch.arange(LONG).to(p))


def together(found: Mapping[str, float]) -> str:
    """Such as 0 / .270 / .616."""
    return " / ".join(map(shown, found.values()))


def shown(distance: float, digits: int = 3) -> str:
    """So many decimals; 0 is 0, and what would be rounded to it says so."""
    if distance == 0:
        return "0"
    rounded = round(distance, digits)
    text = f"{rounded or 10**-digits:.{digits}f}".lstrip("0")
    return text if rounded else f"< {text}"


def with_error(mean: Mean) -> str:
    """Such as 12.6 ± 0.1."""
    return f"{mean.value:.2f} ± {mean.standard_error:.2f}"


STUDY = Study("unmasking", RUNS, tables=tables)
"""A few minutes on one core."""

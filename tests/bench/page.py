"""The page figures/bench.md: one line for each case, and how seconds grow."""

from pathlib import Path

from bench.case import Case, Result
from bench.cases import CASES
from bench.growth import exponent, measured, name_of
from bench.growth_plot import PLOT, plot
from bench.machine import Machine
from bench.pairs import Alone, spread
from bench.store import ROOT, Results

from vqlearn.experiments.pages import table
from vqlearn.lessons.marks import write_between

PAGE = ROOT / "figures" / "bench.md"
TITLES = ("what", "beside", "theirs", "ours", "theirs / ours (quartiles)", "on")
GROWTH_TITLES = ("growth with", "theirs", "ours", "on")
NOTHING = "Nothing is measured yet."
NOISY = "too noisy to tell"


def write(results: Results, page: Path) -> None:
    """Write the tables between their marks, and plot what there is beside the page."""
    plot(results, page.parent / PLOT)
    for mark, text in tables(results).items():
        write_between(page, mark, text)


def tables(results: Results) -> dict[str, str]:
    """The texts by their marks."""
    return {
        "bench": main_table(results) or NOTHING,
        "bench-machines": machine_list(results) or NOTHING,
        "bench-growth": growth_table(results) or NOTHING,
    }


def main_table(results: Results) -> str:
    """A line for each result whose case there is; nothing without results."""
    letters = _letters(results)
    rows = [line(CASES[name], result, letters) for name, result in _known(results)]
    return table(TITLES, rows) if rows else ""


def line(case: Case, result: Result, letters: dict[str, str]) -> tuple[str, ...]:
    """What, beside what, medians, the ratio with quartiles, and the letter of the machine."""
    on = letters[described(result.machine)]
    if result.alone is not None:
        return (case.what, case.beside, "", _with_quartiles(result.alone), "", on)
    found = result.comparison
    low, median, high = found.ratio
    ratio = NOISY if found.is_noisy else f"{median:.3g} ({low:.3g} to {high:.3g})"
    sides = (amount(spread(side).median, found.unit) for side in (found.theirs, found.ours))
    return (case.what, case.beside, *sides, ratio, on)


def _with_quartiles(found: Alone) -> str:
    quartiles = spread(found.ours)
    unit = "ms" if found.unit == "s" and quartiles.median < 1 else found.unit
    low, median, high = (digits(1000 * each if unit == "ms" else each) for each in quartiles)
    return f"{median} {unit} ({low} to {high})"


def amount(number: float, unit: str) -> str:
    """Three digits with a unit; seconds below 1 become milliseconds."""
    is_short = unit == "s" and number < 1
    return f"{digits(1000 * number)} ms" if is_short else f"{digits(number)} {unit}"


def digits(number: float) -> str:
    """Three digits, or all before the point."""
    return f"{number:,.0f}" if number >= 100 else f"{number:.3g}"


def machine_list(results: Results) -> str:
    """A line for each letter."""
    return "\n".join(f"- {letter}: {what}" for what, letter in _letters(results).items())


def described(machine: Machine) -> str:
    """A machine in words."""
    flags = f" with {', '.join(machine.flags)}" if machine.flags else ""
    versions = ", ".join(f"{name} {version}" for name, version in sorted(machine.versions.items()))
    cores = f"{machine.cores} cores{flags}; threads of torch: {machine.threads}"
    return f"{machine.device}; {cores}; {versions}"


def growth_table(results: Results) -> str:
    """The exponents with their intervals, and the plot; nothing where too few sizes are there."""
    rows, letters = [], _letters(results)
    for device, axis, sides in measured(results):
        found = [exponent(sides[side]) for side in ("theirs", "ours")]
        shown = [f"{each.value:.2f} ({each.low:.2f} to {each.high:.2f})" for each in found]
        stored = results.devices[device]
        names = [name_of(axis, size) for size in sides["ours"]]
        on = {letters[described(stored[name].machine)] for name in names}
        rows.append((axis, *shown, ", ".join(sorted(on))))
    if not rows:
        return ""
    picture = f"![Seconds of both against tokens and against steps]({PLOT})"
    return f"{table(GROWTH_TITLES, rows)}\n\n{picture}"


def _known(results: Results) -> list[tuple[str, Result]]:
    """The results in the order of the cases; those of a case that is gone stay in the file."""
    found = [(name, of.get(name)) for name in CASES for of in results.devices.values()]
    return [(name, result) for name, result in found if result is not None]


def _letters(results: Results) -> dict[str, str]:
    """A, B, … for each machine of the table."""
    machines = dict.fromkeys(described(result.machine) for _, result in _known(results))
    return {machine: chr(ord("A") + number) for number, machine in enumerate(machines)}

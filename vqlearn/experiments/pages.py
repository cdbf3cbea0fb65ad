"""Tables in Markdown, and the pages of the repository that show them: no number is typed by hand.

A page says where: `<!-- comparison-claims -->`, then the table, then `<!-- /comparison-claims -->`.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from vqlearn.experiments.report import Report, Run
from vqlearn.lessons.marks import write_between

PAGES = ("README.md", "vqlearn/weights/README.md", "figures/*.md")
COMPOSITIONS = {"seen": "pairs seen in training", "held_out": "with a pair never seen"}
COUNTING, FLOOR = "counting alone", "no model can need less"


def pages_with(root: Path, mark: str) -> list[Path]:
    """The pages of this repository that hold the mark."""
    pages = [page for pattern in PAGES for page in sorted(root.glob(pattern))]
    return [page for page in pages if f"<!-- {mark} -->" in page.read_text(encoding="utf-8")]


def write_tables(root: Path, tables: Mapping[str, str]) -> None:
    """Write each table between its marks, on every page that has them."""
    for mark, text in tables.items():
        for page in pages_with(root, mark):
            write_between(page, mark, text)


def table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown."""
    lines = [titles, ["---"] * len(titles), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def bits_table(
    report: Report, runs: Sequence[Run], titles: Mapping[str, str], *, what: str, digits: int
) -> str:
    """Bits of each network on each data set (those of `titles`), beside counting and the floor.

    With one standard error. Raises `KeyError` if a run is missing.
    """
    columns = []
    for data in titles:
        facts, column = report.data[data], {}
        for run in (run for run in runs if run.data == data):
            bits = report.runs[run.id].result.bits
            column[run.name] = " ± ".join(f"{value:.{digits}f}" for value in bits)
        how, counted = list(facts.baselines.items())[-1]
        column[COUNTING] = f"{counted:.{digits}f} ({how})"
        column[FLOOR] = "unknown" if facts.floor is None else f"{facts.floor:.{digits}f}"
        columns.append(column)
    names = (*dict.fromkeys(run.name for run in runs), COUNTING, FLOOR)
    rows = [[name, *(column.get(name, "") for column in columns)] for name in names]
    return table((what, *titles.values()), rows)

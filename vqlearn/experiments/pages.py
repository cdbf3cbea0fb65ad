"""Tables in Markdown, and the pages of the repository that show them: no number is typed by hand.

A page says where: `<!-- comparison-claims -->`, then the table, then `<!-- /comparison-claims -->`.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from vqlearn.experiments.report import Report, Run
from vqlearn.lessons.marks import write_between

PAGES = ("README.md", "vqlearn/weights/README.md", "figures/*.md", "notebooks/OWN_IMAGES.md")
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

    With one standard error; with early stopping the step that was kept stands in a column beside
    them. Raises `KeyError` if a run is missing.
    """
    columns = {}
    for data, title in titles.items():
        facts, bits, kept = report.data[data], {}, {}
        for run in (run for run in runs if run.data == data):
            result = report.runs[run.id].result
            bits[run.name] = " ± ".join(f"{value:.{digits}f}" for value in result.bits)
            if run.budget.early_stopping:
                kept[run.name] = str(result.steps_kept)
        how, counted = list(facts.baselines.items())[-1]
        bits[COUNTING] = f"{counted:.{digits}f} ({how})"
        bits[FLOOR] = "unknown" if facts.floor is None else f"{facts.floor:.{digits}f}"
        columns |= {title: bits, f"{title}: step kept": kept} if kept else {title: bits}
    names = (*dict.fromkeys(run.name for run in runs), COUNTING, FLOOR)
    rows = [[name, *(column.get(name, "") for column in columns.values())] for name in names]
    return table((what, *columns), rows)

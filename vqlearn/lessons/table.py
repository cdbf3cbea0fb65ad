"""The table of lessons in notebooks/README.md: `python -m vqlearn.lessons.table NOTEBOOK ...`."""

import argparse
import re
from pathlib import Path

from nbformat import NotebookNode

from vqlearn.lessons.marks import write_between
from vqlearn.lessons.notebook import RECORD, read

HEADER = "| lesson | goal | time | memory | code it opens |\n|---|---|---|---|---|\n"


def table(files: list[Path]) -> str:
    """One row a lesson, with what was measured when it was last run.

    Raises `ValueError` for a lesson without a title, a question or a line that says what it opens.
    """
    return HEADER + "".join(_row(file, read(file)) for file in sorted(files))


def _row(file: Path, notebook: NotebookNode) -> str:
    first = next(cell.source for cell in notebook.cells if cell.source.startswith("# "))
    title = _find(r"^# (.+)$", first, file)
    question = _find(r"^## Goal\n\n((?s:.+?))\n\n", first, file)
    opens = _find(r"Opens ((?s:.+?))\.\*", first, file)
    record = notebook.metadata.get(RECORD, {})
    cells = (
        f"[{title}]({file.name})",
        " ".join(question.split()),
        f"{record.get('seconds', '?')} s",
        f"{record.get('megabytes', '?')} MB",
        " ".join(opens.split()),
    )
    return f"| {' | '.join(cells)} |\n"


def _find(pattern: str, text: str, file: Path) -> str:
    found = re.search(pattern, text, re.MULTILINE)
    if found is None:
        raise ValueError(f"{file.name} has nothing like {pattern!r} in its first cell")
    return found[1]


def main() -> None:
    """Write the table into README.md beside the first notebook, between its two marks."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("notebooks", type=Path, nargs="+")
    files = parser.parse_args().notebooks
    page = files[0].parent / "README.md"
    write_between(page, "lessons", table(files))


if __name__ == "__main__":
    main()

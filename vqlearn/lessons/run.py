"""Run lessons and store what they print: `python -m vqlearn.lessons.run NOTEBOOK ...`.

Only those whose code, or whose shown source, has changed since; `--all` runs every one.
"""

import argparse
import tempfile
import time
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbformat import NotebookNode

from vqlearn.lessons.notebook import (
    RECORD,
    code_cells,
    digest,
    is_stale,
    number_cells,
    printed,
    read,
)

CELL_SECONDS = 300
PEAK_MEMORY = "import resource\nprint(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)"


def run(file: Path) -> None:
    """Execute every cell, from a folder that is not the notebook's own, and store the outputs.

    Code digest, seconds and peak memory (MB) go into the metadata. Raises nbclient's
    `CellExecutionError` if a cell fails; the file is then left as it was.
    """
    notebook = read(file)
    notebook.cells.append(nbformat.v4.new_code_cell(PEAK_MEMORY))
    begin = time.perf_counter()
    options = {"timeout": CELL_SECONDS, "record_timing": False, "coalesce_streams": True}
    with tempfile.TemporaryDirectory() as elsewhere:
        resources = {"metadata": {"path": elsewhere}}
        NotebookClient(notebook, resources=resources, **options).execute()
    seconds = time.perf_counter() - begin
    megabytes = int(printed(notebook.cells.pop()))
    _tidy(notebook)
    notebook.metadata[RECORD] = {
        "code": digest(notebook),
        "seconds": round(seconds),
        "megabytes": round(megabytes, -2),
    }
    nbformat.write(notebook, file)


def _tidy(notebook: NotebookNode) -> None:
    """Nothing that changes from run to run; no trace of the machine."""
    number_cells(notebook.cells)
    for number, cell in enumerate(code_cells(notebook), start=1):
        cell.execution_count = number
    notebook.metadata = NotebookNode(
        kernelspec={"display_name": "Python 3", "language": "python", "name": "python3"},
        language_info={"name": "python"},
    )


def main() -> None:
    """Run the stale notebooks among those that are named."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("notebooks", type=Path, nargs="+")
    parser.add_argument("--all", action="store_true", help="also those that are not stale")
    wanted = parser.parse_args()
    for file in wanted.notebooks:
        if wanted.all or is_stale(read(file)):
            run(file)
            print(f"{file}: run")
        else:
            print(f"{file}: fresh")


if __name__ == "__main__":
    main()

"""Colab badges and install cells: `python -m vqlearn.lessons.badges OWNER/NAME NOTEBOOK ...`.

Every lesson gets two cells at its top, or loses them if OWNER/NAME is empty. The install cell does
nothing where vqlearn is installed already. Elsewhere it clones the whole repository, because some
lessons read what `figures/` stores.
"""

import argparse
import re
from pathlib import Path

import nbformat
from nbformat import NotebookNode

from vqlearn.lessons.notebook import number_cells, read

TAG = "colab"
BADGE = (
    "[![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)]"
    "(https://colab.research.google.com/github/{repository}/blob/main/notebooks/{name})"
)
INSTALL = """import importlib.util
import os
import sys

if importlib.util.find_spec("vqlearn") is None:
    !git clone --quiet --depth 1 https://github.com/{repository} vqlearn-repository
    %pip install --quiet "./vqlearn-repository[notebooks]"
    sys.path.insert(0, os.path.abspath("vqlearn-repository"))"""


def with_badge(notebook: NotebookNode, name: str, repository: str) -> NotebookNode:
    """The notebook with a badge for this repository, or without one if it is empty.

    Raises `ValueError` unless the repository is empty or of the form owner/name.
    """
    if not re.fullmatch(r"([\w.-]+/[\w.-]+)?", repository):
        raise ValueError(f"REPO is {repository!r}; allowed: owner/name, or nothing")
    cells = [cell for cell in notebook.cells if TAG not in cell.metadata.get("tags", [])]
    if repository:
        tags = {"tags": [TAG]}
        texts = [text.format(repository=repository, name=name) for text in (BADGE, INSTALL)]
        badge = nbformat.v4.new_markdown_cell(texts[0], metadata=tags)
        install = nbformat.v4.new_code_cell(texts[1], metadata=tags)
        cells = [badge, install, *cells]
    notebook.cells = number_cells(cells)
    return notebook


def main() -> None:
    """Write the badges of these notebooks. Run the lessons afterwards."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("repository")
    parser.add_argument("notebooks", type=Path, nargs="+")
    wanted = parser.parse_args()
    for file in wanted.notebooks:
        nbformat.write(with_badge(read(file), file.name, wanted.repository), file)


if __name__ == "__main__":
    main()

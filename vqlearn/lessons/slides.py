"""Lessons as slides: `python -m vqlearn.lessons.slides NOTEBOOK ...` marks every cell.

`make slides` exports them. A heading begins a slide; the texts that follow it lie below it, each
with the code after it. What answers a prediction appears when it is asked for. Imports, and code
that is folded and shows nothing, are left out.
"""

import argparse
import ast
from pathlib import Path

import nbformat
from nbformat import NotebookNode

from vqlearn.lessons.notebook import read


def slide_type(cell: NotebookNode, predicting: bool) -> str:
    """Where a cell begins: a slide, one below it, a part that appears, nothing new, or not at all.

    `predicting`: the text before it asks for a prediction, which this cell may answer.
    """
    if cell.cell_type == "markdown":
        if cell.source.startswith("#"):
            return "slide"
        return "fragment" if cell.source.startswith("<details>") else "subslide"
    folded = cell.metadata.get("jupyter", {}).get("source_hidden", False)
    if _only_imports(cell.source) or (folded and not cell.outputs):
        return "skip"
    return "fragment" if predicting else "-"


def marked(notebook: NotebookNode) -> NotebookNode:
    """The notebook with a type for every cell."""
    predicting = False
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            predicting = "**Predict" in cell.source
        cell.metadata["slideshow"] = {"slide_type": slide_type(cell, predicting)}
    return notebook


def _only_imports(source: str) -> bool:
    try:
        body = ast.parse(source).body
    except SyntaxError:  # a line for IPython alone: the installation in Colab
        return True
    return all(isinstance(node, ast.Import | ast.ImportFrom) for node in body)


def main() -> None:
    """Mark these notebooks."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("notebooks", type=Path, nargs="+")
    for file in parser.parse_args().notebooks:
        nbformat.write(marked(read(file)), file)


if __name__ == "__main__":
    main()

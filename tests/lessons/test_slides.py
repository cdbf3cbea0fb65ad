"""Lessons as slides: every cell has its mark, and an answer waits until it is asked for."""

from pathlib import Path

import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from vqlearn.lessons.notebook import read
from vqlearn.lessons.slides import marked

LESSONS = sorted((Path(__file__).parents[2] / "notebooks").glob("*.ipynb"))


def types(notebook):
    return [cell.metadata.get("slideshow", {}).get("slide_type") for cell in notebook.cells]


@pytest.mark.parametrize("file", LESSONS, ids=lambda file: file.stem)
def test_every_cell_of_a_lesson_is_marked(file):
    notebook = read(file)
    before = types(notebook)
    assert types(marked(notebook)) == before, "run `python -m vqlearn.lessons.slides`"
    assert before[0] == "slide"
    assert before.count("slide") >= 6
    assert before.count("fragment") >= 10


def test_where_cells_begin():
    folded = {"jupyter": {"source_hidden": True}}
    plot = new_code_cell("plot()", metadata=folded, outputs=[new_output("display_data")])
    cells = [
        (new_markdown_cell("## Maths\n\nText."), "slide"),
        (new_code_cell("import torch\nfrom math import log"), "skip"),
        (new_code_cell("%pip install x"), "skip"),
        (new_code_cell("def plot(): ...", metadata=folded), "skip"),
        (plot, "-"),
        (new_markdown_cell("Text.\n\n**Predict:** what comes?"), "subslide"),
        (new_code_cell("x = 1"), "fragment"),
        (new_markdown_cell("<details><summary>Answer</summary>\n1\n</details>"), "fragment"),
        (new_code_cell("assert x == 1"), "-"),
    ]
    notebook = marked(new_notebook(cells=[cell for cell, _ in cells]))
    assert types(notebook) == [wanted for _, wanted in cells]

"""A stored notebook: its code cells, what it shows, and whether it is stale."""

import ast
import hashlib
from pathlib import Path
from typing import Any

import nbformat
from nbformat import NotebookNode

from vqlearn.lessons.source import source_of

RECORD = "vqlearn"  # the part of a notebook's metadata that `run` writes


def read(file: Path) -> NotebookNode:
    """The notebook, in format 4."""
    return nbformat.read(file, as_version=4)


def code_cells(notebook: NotebookNode) -> list[NotebookNode]:
    """The cells that hold code, in order."""
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def number_cells(cells: list[NotebookNode]) -> list[NotebookNode]:
    """The cells, with names that do not change from run to run."""
    for number, cell in enumerate(cells):
        cell["id"] = f"cell-{number:02d}"
    return cells


def printed(cell: NotebookNode) -> str:
    """What the cell printed when it was last run."""
    return "".join(output.get("text", "") for output in cell.outputs)


def digest(notebook: NotebookNode) -> str:
    """A SHA-256 of all code of the notebook."""
    code = "\0".join(cell.source for cell in code_cells(notebook))
    return hashlib.sha256(code.encode()).hexdigest()


def shown(notebook: NotebookNode) -> list[tuple[str, str]]:
    """For every `show(...)`: what it printed when it was last run, and what it would print now."""
    names: dict[str, Any] = {}
    pairs = []
    for cell in code_cells(notebook):
        tree = ast.parse(_plain_python(cell.source))
        imports = [node for node in tree.body if _imports_vqlearn(node)]
        exec(compile(ast.Module(imports, []), "<imports>", "exec"), names)
        for argument in _arguments_of_show(tree):
            piece = eval(compile(ast.Expression(argument), "<show>", "eval"), names)
            pairs.append((printed(cell), source_of(piece)))
    return pairs


def is_stale(notebook: NotebookNode) -> bool:
    """Was the code, or the source that the notebook shows, changed since it was last run?"""
    return notebook.metadata.get(RECORD, {}).get("code") != digest(notebook) or any(
        before != now for before, now in shown(notebook)
    )


def _plain_python(source: str) -> str:
    """The source without the lines that only IPython understands."""
    return "\n".join(line for line in source.splitlines() if not line.startswith(("%", "!")))


def _imports_vqlearn(node: ast.stmt) -> bool:
    return isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "vqlearn"


def _arguments_of_show(tree: ast.Module) -> list[ast.expr]:
    return [
        node.args[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "show"
    ]

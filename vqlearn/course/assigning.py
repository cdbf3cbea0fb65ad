"""The students' version of exercise notebooks, and an assignment of chosen exercises.

Solutions become a stub, hidden tests go, outputs are cleared; what a cell then says is what
`nbgrader generate_assignment` (0.9) makes of it.
"""

import ast
import copy
import re
from collections.abc import Callable, Sequence
from pathlib import Path

import nbformat
from nbformat import NotebookNode

from vqlearn.course.merging import merged
from vqlearn.course.notebook_format import Assignment, Role, load, statement
from vqlearn.storage import write_text

SOURCES = Path("notebooks", "exercises", "source")
SOLUTION, HIDDEN = "SOLUTION", "HIDDEN TESTS"
STUBS = {
    "code": ("# YOUR CODE HERE", "raise NotImplementedError()"),
    "markdown": ("YOUR ANSWER HERE",),
}
POINTS_IN_ALL = re.compile(r"([\d.]*\d) points?\b")
OF_A_RUN = ("collapsed", "scrolled", "execution")  # metadata


def find_sources(given: Sequence[Path]) -> list[Path]:
    """The notebooks that are given, and those in folders that are; without any, the repository's.

    Raises `OSError` or `ValueError` where there is none.
    """
    if not given:
        here = Path.cwd()
        folders = [folder / SOURCES for folder in (here, *here.parents)]
        given = [folder for folder in folders if folder.is_dir()][:1]
        if not given:
            raise ValueError(f"SOURCE is missing, and there is no {SOURCES}; allowed: notebooks")
    files = []
    for path in given:
        if not path.exists():
            raise FileNotFoundError(f"SOURCE is {str(path)!r}; allowed: notebooks that are there")
        inside = sorted(path.glob("*.ipynb")) if path.is_dir() else [path]
        if not inside:
            raise ValueError(f"SOURCE is {str(path)!r}, without a notebook; allowed: with some")
        files += inside
    return files


def assign(sources: Sequence[Path], out: Path) -> list[Path]:
    """Write the students' version of each source, under its name, into a folder; their paths.

    Nothing is written if one source is refused. Raises `OSError`, `TypeError` or `ValueError`.
    """
    texts: dict[Path, str] = {}
    for source in sources:
        file = out / source.name
        if file in texts:
            raise ValueError(f"two sources are named {source.name}; allowed: one of each name")
        if file.resolve() in {each.resolve() for each in sources}:
            raise ValueError(f"--out is {str(out)!r}; allowed: another folder than the sources'")
        texts[file] = as_text(student_version(load(source)))
    for file, text in texts.items():
        write_text(file, text)
    return list(texts)


def write_selection(sources: Sequence[Path], only: Sequence[str], out: Path, name: str) -> Path:
    """Write a source with only these exercises, in this order: OUT/source/NAME/NAME.ipynb.

    So OUT is what nbgrader takes for the folder of a course. Raises `OSError`, `TypeError` or
    `ValueError`.
    """
    notebook = merged([load(source) for source in sources], only, name)
    file, text = out / "source" / name / f"{name}.ipynb", as_text(notebook)
    if file.resolve() in {source.resolve() for source in sources}:
        raise ValueError(f"--name is {name!r}; allowed: another name than that of a source there")
    if file.exists() and file.read_text(encoding="utf-8") != text:
        raise FileExistsError(
            f"{file} is there with other content; allowed: another --name or --out"
        )
    write_text(file, text)
    return file


def as_text(notebook: NotebookNode) -> str:
    """The notebook as it stands in its file."""
    return nbformat.writes(notebook) + "\n"


def student_version(source: Assignment) -> NotebookNode:
    """What students get of a source.

    Raises `ValueError`, naming the cell, for marks that are not balanced or where they do not
    belong, for a solution outside of them, and for points that the text says otherwise.
    """
    check_statements(source)
    notebook = copy.deepcopy(source.notebook)
    notebook.metadata.pop("celltoolbar", None)
    for number, (cell, role) in enumerate(zip(notebook.cells, source.roles, strict=True), 1):
        where = f"cell {number} of {source.name}" + (f" ({role.id})" if role.id else "")
        original = cell.source
        if role.solution:
            cell.source = _stub_in_place(cell, role, where)
        else:
            _check_no_mark(cell.source, SOLUTION, where)
        if role.is_test:
            cell.source = _cut(cell.source, HIDDEN, where)
        else:
            _check_no_mark(cell.source, HIDDEN, where)
        if cell.cell_type == "code":
            _check_every_mark(original, where)
        _clear_run(cell)
        if role.id:
            cell.metadata["deletable"] = False
        if role.locked and not role.solution:
            cell.metadata["editable"] = False
    return notebook


def check_statements(source: Assignment) -> None:
    """Raise `ValueError` where a text says other points than the tests have."""
    for name, cells in source.exercises().items():
        said, points = statement(cells), source.points[name]
        if said is None or said.points != points:
            seen = "no points" if said is None else f"{said.points:g} points"
            raise ValueError(
                f"the text of {name} in {source.name} says {seen}; allowed: a line such as "
                f"*{points:g} points · easy · about 10 minutes*, with the points of its test cell"
            )
    texts = "\n".join(cell.source for cell in source.beginning if cell.cell_type == "markdown")
    stated = [float(one) for one in POINTS_IN_ALL.findall(texts)]
    total = sum(source.points.values())
    if stated and total not in stated:
        raise ValueError(
            f"the introduction of {source.name} says {stated[0]:g} points; "
            f"allowed: {total:g}, the sum"
        )


def _stub_in_place(cell: NotebookNode, role: Role, where: str) -> str:
    """What a solution cell says without its solution. Raises `ValueError`."""
    stub = STUBS[cell.cell_type]
    if cell.cell_type == "markdown" and not any(map(_marks(SOLUTION), cell.source.split("\n"))):
        return "\n".join(stub)
    left = _cut(cell.source, SOLUTION, where, stub)
    if cell.cell_type == "code":
        _check_nothing_left(left, role.id, where)
    return left


def _marks(kind: str) -> Callable[[str], object]:
    """Is a line a mark of this kind? Also a misspelt one: passed over, it would tell a solution."""
    return re.compile(rf"\b(?:BEGIN|END)\s+{kind.rstrip('S')}").search


def _check_every_mark(text: str, where: str) -> None:
    """Raise `ValueError` for a mark of no kind: a misspelt one would show what it should hide."""
    known = {f"### {edge} {kind}" for edge in ("BEGIN", "END") for kind in (SOLUTION, HIDDEN)}
    for line in re.findall(r"^\s*#+\s*(?:BEGIN|END)\b.*$", text, re.MULTILINE):
        if line.strip() not in known:
            allowed = ", ".join(sorted(known))
            raise ValueError(f"{where} has {line.strip()!r}; allowed: {allowed}")


def _check_no_mark(text: str, kind: str, where: str) -> None:
    """Raise `ValueError` for a mark where none belongs."""
    for line in filter(_marks(kind), text.split("\n")):
        raise ValueError(f"{where} has {line.strip()!r}; allowed: no such mark in this cell")


def _cut(text: str, kind: str, where: str, stub: Sequence[str] = ()) -> str:
    """The text without the regions between marks of one kind, a stub in the place of each."""
    begin, end = f"### BEGIN {kind}", f"### END {kind}"
    is_mark = _marks(kind)
    kept: list[str] = []
    inside = False
    for line in text.split("\n"):
        if is_mark(line):
            wanted = end if inside else begin
            if line.strip() != wanted:
                raise ValueError(f"{where} has {line.strip()!r}; allowed: {wanted!r}")
            if not inside:
                kept += [line[: line.index("#")] + each for each in stub]
            inside = not inside
        elif not inside:
            kept.append(line)
    if inside:
        raise ValueError(f"{where} ends after {begin!r}; allowed: {end!r} before its end")
    return "\n".join(kept)


def _check_nothing_left(text: str, exercise: str, where: str) -> None:
    """Raise `ValueError` unless the function is there, with a docstring and the stub alone."""
    try:
        tree = ast.parse(text)
    except SyntaxError as error:
        raise ValueError(f"{where} is no Python: {error}; allowed: Python") from error
    found = [
        node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == exercise
    ]
    if len(found) != 1:
        raise ValueError(f"{where} has {len(found)} functions {exercise!r}; allowed: one")
    body = found[0].body[1:] if ast.get_docstring(found[0]) is not None else found[0].body
    left = [ast.unparse(node) for node in body]
    stub = STUBS["code"][-1]
    if left != [stub]:
        outside = next((line for line in left if line != stub), "no solution in marks")
        raise ValueError(f"{where} has {outside!r}; allowed outside of the marks: a docstring")


def _clear_run(cell: NotebookNode) -> None:
    """Take away what a run of the notebook left."""
    for key in OF_A_RUN:
        cell.metadata.pop(key, None)
    if cell.cell_type == "code":
        cell.outputs, cell.execution_count = [], None

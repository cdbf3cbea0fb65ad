"""nbgrader's format, schema 3: what each cell of an exercise notebook is for, read and checked.

A solution cell has the exercise's name as its id, `grade_id`; the test cell after it is locked, has
the points and the id `test_<exercise>`; the text before it has the id `text_<exercise>`. All cells
from one such text to the next belong to one exercise. What stands before the first one is the
beginning: an introduction and imports.
"""

import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat
from nbformat import NotebookNode

from vqlearn.probability.checks import check_choice, check_kind, check_number, shown

SCHEMA = 3
TEXT, TEST = "text_", "test_"
MOST_POINTS = 1000.0
STATEMENT = re.compile(
    r"^## (?:\d+\. )?(?P<title>.+)\n\s*"
    r"\*(?P<points>[\d.]+) points? · (?P<difficulty>easy|medium|hard) · "
    r"about (?P<minutes>\d+) minutes?\*$",
    re.MULTILINE,
)


@dataclass(frozen=True)
class Role:
    """What one cell is for, as its metadata say; without an id, nbgrader does not know it."""

    id: str = ""
    grade: bool = False
    solution: bool = False
    locked: bool = False
    points: float = 0

    @property
    def is_test(self) -> bool:
        """Are there points for this code? (A text that is graded by hand is a solution too.)"""
        return self.grade and not self.solution


@dataclass(frozen=True)
class Statement:
    """The title of an exercise and the line below it, `*4 points · hard · about 20 minutes*`."""

    title: str
    points: float
    difficulty: str
    minutes: int


@dataclass(frozen=True)
class Assignment:
    """An exercise notebook, as a source or as students have it, and what its cells are for."""

    name: str  # of its file
    notebook: NotebookNode
    roles: tuple[Role, ...]

    @property
    def points(self) -> dict[str, float]:
        """The points of each exercise, in order."""
        return {role.id.removeprefix(TEST): role.points for role in self.roles if role.is_test}

    @property
    def beginning(self) -> list[NotebookNode]:
        """The cells before the first exercise."""
        before = []
        for cell, role in zip(self.notebook.cells, self.roles, strict=True):
            if role.id.startswith(TEXT):
                break
            before.append(cell)
        return before

    def exercises(self) -> dict[str, list[NotebookNode]]:
        """The cells of each exercise, in order.

        Raises `ValueError` unless its text, its solution and its test stand together.
        """
        groups: dict[str, list[NotebookNode]] = {}
        ids: dict[str, list[str]] = {}
        name = ""
        for cell, role in zip(self.notebook.cells, self.roles, strict=True):
            if role.id.startswith(TEXT):
                name = role.id.removeprefix(TEXT)
            if name:
                groups.setdefault(name, []).append(cell)
                ids.setdefault(name, []).append(role.id)
        for exercise in self.points:
            wanted = [f"{TEXT}{exercise}", exercise, f"{TEST}{exercise}"]
            found = ids.get(exercise, [])
            if [one for one in found if one in wanted] != wanted:
                raise ValueError(
                    f"the cells of {exercise} in {self.name} are {', '.join(found) or 'none'}; "
                    f"allowed: {', '.join(wanted)}, in this order"
                )
        return {exercise: groups[exercise] for exercise in self.points}


def read_assignment(file: Path) -> dict[str, float]:
    """The points of each exercise of an assignment. Raises what `load` raises."""
    return load(file).points


def load(file: Path) -> Assignment:
    """Read an exercise notebook.

    Raises `OSError` for a file that cannot be read, and `TypeError` or `ValueError`, naming the
    file and the cell, for what is no exercise notebook.
    """
    try:
        notebook = nbformat.reads(file.read_text(encoding="utf-8"), as_version=4)
        nbformat.validate(notebook)
    except OSError:
        raise
    except Exception as error:  # the library's errors are many, some of them plain AttributeErrors
        reason = f"{type(error).__name__}: {error}"
        raise ValueError(f"{file} is no notebook ({reason}); allowed: one of format 4") from error
    return understood(notebook, file.name)


def understood(notebook: NotebookNode, name: str) -> Assignment:
    """A notebook with the roles of its cells. Raises `TypeError` or `ValueError`, naming a cell."""
    roles = tuple(
        _role(cell, f"cell {number} of {name}") for number, cell in enumerate(notebook.cells, 1)
    )
    ids = [role.id for role in roles if role.id]
    for one in ids:
        if ids.count(one) > 1:
            raise ValueError(
                f"grade_id {one!r} stands in {ids.count(one)} cells of {name}; allowed: one"
            )
    assignment = Assignment(name, notebook, roles)
    if not assignment.points:
        raise ValueError(f"{name} has no test cell; allowed: an exercise notebook, with points")
    for exercise in assignment.points:
        if exercise not in {role.id for role in roles if role.solution}:
            raise ValueError(
                f"{name} has no solution cell {exercise!r}; allowed: one for {TEST}{exercise}"
            )
    return assignment


def statement(cells: list[NotebookNode]) -> Statement | None:
    """What the cells of an exercise say of its points, difficulty and minutes, if they do."""
    for cell in cells:
        found = STATEMENT.search(cell.source) if cell.cell_type == "markdown" else None
        if found:
            points, minutes = float(found["points"]), int(found["minutes"])
            return Statement(found["title"], points, found["difficulty"], minutes)
    return None


def _role(cell: NotebookNode, where: str) -> Role:
    """What one cell is for. Raises `TypeError` or `ValueError` with `where` it is."""
    marks = cell.metadata.get("nbgrader")
    if marks is None:
        return Role()
    check_kind(f"nbgrader in the metadata of {where}", marks, dict)
    check_choice(f"schema_version of {where}", marks.get("schema_version"), (SCHEMA,))
    check_choice(f"task of {where}", marks.get("task", False), (False,))
    for flag in ("grade", "solution", "locked"):
        check_kind(f"{flag} of {where}", marks.get(flag), bool)
    grade, solution, locked = marks["grade"], marks["solution"], marks["locked"]
    if not grade and not solution and not locked:
        return Role()
    name = marks.get("grade_id")
    if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z0-9_-]+", name):
        raise ValueError(f"grade_id of {where} is {shown(name)}; allowed: letters, digits, _ and -")
    role = Role(name, grade, solution, locked, _points(marks, f"{where} ({name})") if grade else 0)
    if role.is_test:
        _check_test(cell, role, where)
    return role


def _points(marks: dict[str, Any], where: str) -> float:
    """A whole number stays one. Raises `TypeError` or `ValueError`."""
    points = marks.get("points")
    check_number(f"points of {where}", points, (0.0, MOST_POINTS))
    return int(points) if math.floor(points) == points else points


def _check_test(cell: NotebookNode, role: Role, where: str) -> None:
    """Raise `ValueError` for a test cell that a student could change, or that has another's id."""
    check_choice(f"cell_type of {where} ({role.id})", cell.cell_type, ("code",))
    check_choice(f"locked of {where} ({role.id})", role.locked, (True,))
    if not role.id.startswith(TEST):
        raise ValueError(f"grade_id of {where} is {role.id!r}; allowed: {TEST}<exercise>")

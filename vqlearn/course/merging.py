"""One source notebook made of chosen exercises: one introduction, one cell of imports."""

import ast
import copy
import re
from collections.abc import Sequence

from nbformat import NotebookNode, v4

from vqlearn.course.notebook_format import SCHEMA, Assignment, statement
from vqlearn.probability.checks import check_choice, shown

TITLE = re.compile(r"^# (\d+ · )?(?:Exercises: )?(.+)$", re.MULTILINE)
NUMBER = re.compile(r"^## \d+\. ", re.MULTILINE)
HOW = """\
Write each function in the cell that is marked for it, in place of `raise NotImplementedError()`.
`check(function)` says at once whether it is right, and what it looks like if it is not;
`check(function, hint=1)` asks you a question, `hint=2` names the concept and its lesson, `hint=3`
describes the line.

The grader takes only what your function uses (imports, functions, classes, assignments), and runs
it where vqlearn cannot be imported."""


def merged(sources: Sequence[Assignment], only: Sequence[str], name: str) -> NotebookNode:
    """A source notebook with these exercises, in this order, from whichever source has them.

    Raises `ValueError` for an exercise that is not there, twice there or twice wanted, and for a
    name that cannot be a file's.
    """
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]{0,40}", name):
        raise ValueError(f"--name is {shown(name)}; allowed: 1 to 41 letters, digits, _ and -")
    homes = _homes(sources)
    for exercise in only:
        check_choice("an exercise of --only", exercise, homes)
        if only.count(exercise) > 1:
            raise ValueError(f"--only has {exercise} {only.count(exercise)} times; allowed: once")
    used = [one for one in sources if any(homes[exercise] is one for exercise in only)]
    cells = []
    for number, exercise in enumerate(only, 1):
        cells += _numbered(homes[exercise].exercises()[exercise], number)
    texts = [_introduction(used, homes, only, name), _imports(used)]
    begin = [
        _locked(v4.new_markdown_cell(texts[0]), f"intro_{name}"),
        _locked(v4.new_code_cell(texts[1]), f"setup_{name}"),
    ]
    metadata = copy.deepcopy(used[0].notebook.metadata)
    return v4.new_notebook(cells=[*begin, *cells], metadata=metadata)


def _homes(sources: Sequence[Assignment]) -> dict[str, Assignment]:
    """The source of each exercise. Raises `ValueError` for one in two of them."""
    homes: dict[str, Assignment] = {}
    for source in sources:
        for exercise in source.points:
            if exercise in homes:
                names = f"{homes[exercise].name} and {source.name}"
                raise ValueError(f"the exercise {exercise} is in {names}; allowed: in one source")
            homes[exercise] = source
    return homes


def _numbered(cells: Sequence[NotebookNode], number: int) -> list[NotebookNode]:
    """Copies of the cells of an exercise; its heading has this number, if it has one."""
    copies = copy.deepcopy(list(cells))
    copies[0].source = NUMBER.sub(f"## {number}. ", copies[0].source, count=1)
    return copies


def _introduction(
    used: Sequence[Assignment], homes: dict[str, Assignment], only: Sequence[str], name: str
) -> str:
    """What is needed, the sums, and how to go on."""
    titles = ", ".join(map(_title, used))
    points = sum(homes[exercise].points[exercise] for exercise in only)
    said = [statement(homes[exercise].exercises()[exercise]) for exercise in only]
    minutes = sum(one.minutes for one in said if one is not None)
    number = "1 exercise" if len(only) == 1 else f"{len(only)} exercises"
    sums = f"You need: {titles}. **{number}, {points:g} points, about {minutes} minutes.**"
    return f"# {name}\n\n{sums}\n\n{HOW}"


def _title(source: Assignment) -> str:
    """What a source says that it is about; without that, its file's name."""
    for cell in source.beginning:
        found = TITLE.search(cell.source) if cell.cell_type == "markdown" else None
        if found:
            return f"{found[1] or ''}{found[2]}"
    return source.name


def _imports(used: Sequence[Assignment]) -> str:
    """All statements of the cells of imports, each once; those of vqlearn last."""
    lines: dict[str, None] = {}
    for source in used:
        for cell in source.beginning:
            if cell.cell_type == "code":
                lines |= dict.fromkeys(map(ast.unparse, ast.parse(cell.source).body))
    ours = [line for line in lines if line.startswith("from vqlearn")]
    others = [line for line in lines if line not in ours]
    return "\n\n".join("\n".join(part) for part in (others, ours) if part)


def _locked(cell: NotebookNode, name: str) -> NotebookNode:
    """A cell that students do not change."""
    flags = {"grade": False, "solution": False, "locked": True, "task": False}
    cell.metadata["nbgrader"] = {"schema_version": SCHEMA, "grade_id": name, **flags}
    cell["id"] = name
    return cell

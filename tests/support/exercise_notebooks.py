"""Exercise notebooks for tests: small ones, and what stands in the cells of the real ones."""

import ast
from pathlib import Path

from nbformat import v4

from vqlearn.course.assigning import student_version
from vqlearn.course.notebook_format import TEST, load

ROOT = Path(__file__).parents[2]
STUDENTS = ROOT / "notebooks" / "exercises"
SOURCES = sorted((STUDENTS / "source").glob("*.ipynb"))
BEGIN, END = "### BEGIN HIDDEN TESTS", "### END HIDDEN TESTS"
SOLUTION = '''\
def {name}(x):
    """Twice x."""
    ### BEGIN SOLUTION
    y = x

    return y + x
    ### END SOLUTION'''
TESTS = """\
assert {name}(1) == 2
### BEGIN HIDDEN TESTS
assert {name}(2) == 4
### END HIDDEN TESTS"""


def marks(name, **changes):
    """The metadata of a cell that is only to be read."""
    flags = {"grade": False, "solution": False, "locked": True, "task": False}
    return {"nbgrader": {"schema_version": 3, "grade_id": name, **flags, **changes}}


def small_exercise(name, points=2):
    """The three cells of one exercise."""
    text = f"## 1. The exercise {name}\n*{points} points · easy · about 5 minutes*\n\nWrite it."
    solution = SOLUTION.format(name=name)
    return [
        v4.new_markdown_cell(text, metadata=marks(f"text_{name}")),
        v4.new_code_cell(solution, metadata=marks(name, solution=True, locked=False)),
        v4.new_code_cell(
            TESTS.format(name=name), metadata=marks(f"test_{name}", grade=True, points=points)
        ),
    ]


def small_source(*names, lesson=1, setup="import torch"):
    """A source notebook with these exercises of 2 points."""
    intro = f"# {lesson:02} · Exercises: Small things\n\n**{2 * len(names)} points.**"
    begin = [
        v4.new_markdown_cell(intro, metadata=marks(f"intro_{lesson:02}")),
        v4.new_code_cell(setup, metadata=marks(f"setup_{lesson:02}")),
    ]
    exercises = [cell for name in names for cell in small_exercise(name)]
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    return v4.new_notebook(cells=[*begin, *exercises], metadata={"kernelspec": kernel})


def source_of_lesson(lesson):
    """The source notebook of the exercises of a lesson."""
    (file,) = [file for file in SOURCES if file.name.startswith(f"{lesson:02}_")]
    return load(file)


def cell_of(source, name):
    """What the cell with this grade_id says."""
    roles = zip(source.notebook.cells, source.roles, strict=True)
    (cell,) = [cell for cell, role in roles if role.id == name]
    return cell.source


def run_cells(source, *, blank=False):
    """The names that are there after all cells but the tests; without solutions if `blank`."""
    notebook = student_version(source) if blank else source.notebook
    names = {}
    for cell, role in zip(notebook.cells, source.roles, strict=True):
        if cell.cell_type == "code" and not role.is_test:
            exec(compile(cell.source, f"<{role.id}>", "exec"), names)
    return names


def solution_lines(source):
    """Every line between marks of a solution that says something."""
    lines, inside = [], False
    for cell in source.notebook.cells:
        for line in cell.source.split("\n"):
            inside = (inside or "BEGIN SOLUTION" in line) and "END SOLUTION" not in line
            if inside and "BEGIN SOLUTION" not in line:
                lines.append(line.strip())
    return lines


def hidden_tests(source, name):
    """The hidden part of the test cell of an exercise."""
    text = cell_of(source, TEST + name)
    return text.partition(BEGIN)[2].partition(END)[0]


def each_test_alone(hidden):
    """Every statement that asserts something, each after those before it that assert nothing."""
    before, alone = [], []
    for node in ast.parse(hidden).body:
        asserts = any(isinstance(part, ast.Assert) for part in ast.walk(node))
        if asserts and not isinstance(node, ast.FunctionDef):
            alone.append(ast.unparse(ast.Module([*before, node], [])))
        else:
            before.append(node)
    return alone

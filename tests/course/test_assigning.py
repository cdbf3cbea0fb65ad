"""The students' notebooks: what is taken out, what is refused, and assignments of one's own."""

import copy
import json

import pytest
from nbformat import v4
from support.exercise_notebooks import (
    SOURCES,
    STUDENTS,
    marks,
    small_source,
    solution_lines,
)

from vqlearn.course import assigning, read_assignment
from vqlearn.course.assigning import as_text, assign, student_version, write_selection
from vqlearn.course.notebook_format import load, understood

TELLING = 12  # characters of a line that says something of its own

each_source = pytest.mark.parametrize("file", SOURCES, ids=lambda file: file.stem)


def write(notebook, file):
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(as_text(notebook), encoding="utf-8")
    return file


def sources_of(notebook):
    return [cell.source for cell in notebook.cells]


def test_the_committed_notebooks_are_those_that_assign_writes(tmp_path):
    written = assign(SOURCES, tmp_path)
    assert {file.name for file in written} == {file.name for file in STUDENTS.glob("*.ipynb")}
    for file in written:
        stored = (STUDENTS / file.name).read_bytes()
        assert stored == file.read_bytes(), f"{file.name} is stale: run `make exercises`"


@each_source
def test_no_line_of_a_solution_or_hidden_test_is_handed_out(file):
    source = load(file)
    student = (STUDENTS / file.name).read_text(encoding="utf-8")
    text = "\n".join(sources_of(load(STUDENTS / file.name).notebook))
    for line in [line for line in solution_lines(source) if len(line) >= TELLING]:
        assert line not in text
    assert "BEGIN" not in student
    assert "HIDDEN" not in student


def test_every_cell_says_what_a_student_shall_read():
    notebook = small_source("double")
    found = student_version(understood(notebook, "small"))
    intro, setup, text, solution, test = sources_of(found)
    assert [intro, setup, text] == sources_of(notebook)[:3]
    assert solution == (
        'def double(x):\n    """Twice x."""\n    # YOUR CODE HERE\n    raise NotImplementedError()'
    )
    assert test == "assert double(1) == 2"


def test_several_regions_and_lines_around_them_stay_as_they_are():
    """Two functions; empty lines and indentation as nbgrader leaves them."""
    notebook = small_source("double")
    notebook.cells[3].source = (
        "def helper(x):\n\t### BEGIN SOLUTION\n\treturn x\n\t### END SOLUTION  \n\n\n"
        "def double(x):\n    ### BEGIN SOLUTION\n    return 2 * x\n    ### END SOLUTION\n"
    )
    assert student_version(understood(notebook, "small")).cells[3].source == (
        "def helper(x):\n\t# YOUR CODE HERE\n\traise NotImplementedError()\n\n\n"
        "def double(x):\n    # YOUR CODE HERE\n    raise NotImplementedError()\n"
    )


def test_outputs_go_and_metadata_stay():
    notebook = small_source("double")
    notebook.metadata["celltoolbar"] = "Create Assignment"
    solution, test = notebook.cells[3:]
    solution.outputs, solution.execution_count = [v4.new_output("stream", text="4")], 7
    solution.metadata |= {"scrolled": True, "execution": {"iopub.execute_input": "now"}}
    before = copy.deepcopy(notebook)
    found = student_version(understood(notebook, "small"))
    assert notebook == before, "the source was changed"
    assert "celltoolbar" not in found.metadata
    assert (found.cells[3].outputs, found.cells[3].execution_count) == ([], None)
    assert [cell.metadata["nbgrader"] for cell in found.cells] == [
        cell.metadata["nbgrader"] for cell in notebook.cells
    ]
    assert found.cells[3].metadata.keys() == {"nbgrader", "deletable"}
    assert found.cells[4].metadata.keys() == {"nbgrader", "deletable", "editable"}
    assert test.metadata.keys() == {"nbgrader"}


def test_an_answer_in_words_is_cleared_and_has_no_points_here():
    """nbgrader has it graded by hand."""
    notebook = small_source("double")
    by_hand = marks("why", grade=True, solution=True, locked=False, points=3)
    notebook.cells.append(v4.new_markdown_cell("Because of this.", metadata=by_hand))
    source = understood(notebook, "small")
    assert student_version(source).cells[-1].source == "YOUR ANSWER HERE"
    assert source.points == {"double": 2}


@pytest.mark.parametrize(
    ("cell", "old", "new", "message"),
    [
        (3, "### END SOLUTION", "pass", "cell 4 of small (double) ends after '### BEGIN SOLUTION'"),
        (3, "### BEGIN SOLUTION", "pass", "has '### END SOLUTION'; allowed: '### BEGIN SOLUTION'"),
        (3, "y = x\n", "### BEGIN SOLUTION\n", "has '### BEGIN SOLUTION'; allowed: '### END"),
        (3, "### BEGIN SOLUTION", "## BEGIN SOLUTION", "has '## BEGIN SOLUTION'; allowed: '###"),
        (3, "### BEGIN SOLUTION", "y = 1\n    ### BEGIN SOLUTION", "has 'y = 1'; allowed outside"),
        (3, "def double", "def other", "has 0 functions 'double'; allowed: one"),
        (3, "def double", "def double(x", "cell 4 of small (double) is no Python"),
        (
            3,
            "def double",
            "### BEGIN HIDDEN TESTS\ndef double",
            "cell 4 of small (double) has '###",
        ),
        (4, "### END HIDDEN TESTS", "", "ends after '### BEGIN HIDDEN TESTS'"),
        (4, "### END HIDDEN", "# END HIDDEN", "has '# END HIDDEN TESTS'; allowed: '### END"),
        (4, "### BEGIN HIDDEN TESTS", "### BEGIN HIDDEN TEST", "has '### BEGIN HIDDEN TEST'"),
        (4, "HIDDEN TESTS", "HIDEN TESTS", "has '### BEGIN HIDEN TESTS'; allowed: ### BEGIN"),
        (1, "import torch", "### BEGIN SOLUTION\n### END SOLUTION", "cell 2 of small (setup_01)"),
        (2, "Write it.", "### BEGIN HIDDEN TESTS", "cell 3 of small (text_double) has"),
    ],
)
def test_marks_that_would_hand_out_a_solution_are_refused(cell, old, new, message, tmp_path):
    notebook = small_source("double")
    assert old in notebook.cells[cell].source
    notebook.cells[cell].source = notebook.cells[cell].source.replace(old, new)
    with pytest.raises(ValueError, match="allowed") as refused:
        student_version(understood(notebook, "small"))
    assert message in str(refused.value)
    file = write(notebook, tmp_path / "source" / "small.ipynb")
    other = write(small_source("other"), tmp_path / "source" / "a.ipynb")
    with pytest.raises(ValueError, match="allowed"):
        assign([other, file], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_solution_cell_without_marks_is_refused():
    notebook = small_source("double")
    notebook.cells[3].source = "def double(x):\n    return 2 * x"
    with pytest.raises(ValueError, match="has 'return 2 \\* x'; allowed outside of the marks"):
        student_version(understood(notebook, "small"))


def test_points_that_the_text_says_otherwise_are_refused():
    notebook = small_source("double")
    notebook.cells[4].metadata["nbgrader"]["points"] = 5
    with pytest.raises(ValueError, match=r"says 2 points; allowed: .*\*5 points"):
        student_version(understood(notebook, "small"))
    notebook.cells[2].source = notebook.cells[2].source.replace("*2 points", "*5 points")
    with pytest.raises(ValueError, match="introduction of small says 2 points; allowed: 5"):
        student_version(understood(notebook, "small"))
    notebook.cells[0].source = "# Small things"
    student_version(understood(notebook, "small"))
    notebook.cells[2].source = notebook.cells[2].source.replace("*5 points", "*five points")
    with pytest.raises(ValueError, match="the text of double in small says no points; allowed"):
        student_version(understood(notebook, "small"))


@pytest.mark.parametrize(
    ("cell", "changes", "message"),
    [
        (4, {"schema_version": 2}, "schema_version of cell 5 of a.ipynb is 2; allowed: 3"),
        (4, {"points": "many"}, "points of cell 5 of a.ipynb (test_double) is 'many'; allowed"),
        (4, {"points": -1}, "is -1; allowed: 0.0 to 1000.0"),
        (4, {"points": float("nan")}, "is nan; allowed"),
        (4, {"points": True}, "is True; allowed: a number"),
        (4, {"locked": False}, "locked of cell 5 of a.ipynb (test_double) is False; allowed: True"),
        (4, {"grade_id": "double"}, "grade_id of cell 5 of a.ipynb is 'double'; allowed: test_"),
        (4, {"grade_id": "test_other"}, "a.ipynb has no solution cell 'other'"),
        (4, {"grade_id": "test double"}, "is 'test double'; allowed: letters, digits"),
        (4, {"grade_id": None}, "grade_id of cell 5 of a.ipynb is None"),
        (4, {"grade": "yes"}, "grade of cell 5 of a.ipynb is 'yes'; allowed: bool"),
        (4, {"grade": False}, "a.ipynb has no test cell"),
        (4, {"task": True}, "task of cell 5 of a.ipynb is True; allowed: False"),
        (1, {"grade_id": "intro_01"}, "grade_id 'intro_01' stands in 2 cells of a.ipynb"),
        (2, {"grade": True, "points": 1}, "cell_type of cell 3 of a.ipynb (text_double) is 'mark"),
    ],
)
def test_what_is_no_assignment_is_refused_with_its_cell(cell, changes, message, tmp_path):
    notebook = small_source("double")
    notebook.cells[cell].metadata["nbgrader"] |= changes
    with pytest.raises((TypeError, ValueError), match="allowed") as refused:
        read_assignment(write(notebook, tmp_path / "a.ipynb"))
    assert message in str(refused.value)


@pytest.mark.parametrize("text", ["", "no JSON", "[]", '{"nbformat": 4}', "\x00"])
def test_what_is_no_notebook_is_refused_with_its_file(text, tmp_path):
    file = tmp_path / "a.ipynb"
    file.write_text(text)
    with pytest.raises(ValueError, match=r"a\.ipynb is no notebook .*; allowed: one of format 4"):
        read_assignment(file)
    with pytest.raises(FileNotFoundError):
        read_assignment(tmp_path / "b.ipynb")


def test_an_assignment_is_read_from_the_source_and_from_the_students_version(tmp_path):
    file = write(small_source("double", "third"), tmp_path / "source" / "small.ipynb")
    (student,) = assign([file], tmp_path)
    assert read_assignment(file) == read_assignment(student) == {"double": 2, "third": 2}


def test_sources_are_never_overwritten(tmp_path):
    file = write(small_source("double"), tmp_path / "small.ipynb")
    before = file.read_bytes()
    with pytest.raises(ValueError, match="allowed: another folder"):
        assign([file], tmp_path)
    with pytest.raises(ValueError, match=r"two sources are named small\.ipynb"):
        assign([file, write(small_source("x"), tmp_path / "b" / "small.ipynb")], tmp_path / "out")
    assert file.read_bytes() == before


def test_sources_are_found_from_anywhere_in_the_repository(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match="SOURCE is missing, and there is no notebooks/exercises"):
        assigning.find_sources([])
    file = write(small_source("double"), tmp_path / assigning.SOURCES / "a.ipynb")
    inside = tmp_path / "some" / "folder"
    inside.mkdir(parents=True)
    monkeypatch.chdir(inside)
    assert assigning.find_sources([]) == [file]
    assert assigning.find_sources([file.parent, file]) == [file, file]
    with pytest.raises(ValueError, match="without a notebook"):
        assigning.find_sources([inside])
    with pytest.raises(FileNotFoundError, match=r"SOURCE is .*; allowed"):
        assigning.find_sources([inside / "a.ipynb"])


@pytest.fixture
def two(tmp_path):
    """Two sources, of two exercises each."""
    other = "from fractions import Fraction\n\nimport torch\n\nfrom vqlearn.course import check"
    first = small_source("one", "two", setup="import torch\n\nfrom vqlearn.course import check")
    return [
        write(first, tmp_path / "01.ipynb"),
        write(small_source("three", "four", lesson=2, setup=other), tmp_path / "02.ipynb"),
    ]


def test_a_selection_has_one_beginning_and_the_wanted_order(two, tmp_path):
    file = write_selection(two, ["four", "one"], tmp_path / "out", "homework1")
    assert file == tmp_path / "out" / "source" / "homework1" / "homework1.ipynb"
    assert read_assignment(file) == {"four": 2, "one": 2}
    source = load(file)
    assert [role.id for role in source.roles] == [
        *("intro_homework1", "setup_homework1"),
        *("text_four", "four", "test_four", "text_one", "one", "test_one"),
    ]
    intro, setup, text, *_ = sources_of(source.notebook)
    assert intro.startswith("# homework1\n\nYou need: 01 · Small things, 02 · Small things.")
    assert "2 exercises, 4 points, about 10 minutes" in intro
    assert setup.split("\n") == [
        *("import torch", "from fractions import Fraction", "", "from vqlearn.course import check")
    ]
    assert text.startswith("## 1. The exercise four\n")
    assert source.notebook.cells[5].source.startswith("## 2. The exercise one\n")
    (student,) = assign([file], tmp_path / "out")
    assert "return y + x" not in student.read_text()
    assert read_assignment(student) == read_assignment(file)


def test_a_selection_of_a_selection_is_possible(two, tmp_path):
    file = write_selection(two, ["four", "one"], tmp_path, "homework1")
    again = write_selection([file], ["one"], tmp_path, "homework2")
    assert read_assignment(again) == {"one": 2}
    before = file.read_bytes()
    with pytest.raises(ValueError, match="--name is 'homework1'; allowed: another name"):
        write_selection([file], ["one"], tmp_path, "homework1")
    assert file.read_bytes() == before


def test_a_selection_that_was_changed_is_not_overwritten(two, tmp_path):
    file = write_selection(two, ["four", "one"], tmp_path, "homework1")
    assert write_selection(two, ["four", "one"], tmp_path, "homework1") == file
    changed = file.read_text().replace("homework1", "our homework")
    file.write_text(changed)
    with pytest.raises(FileExistsError, match="is there with other content; allowed: another"):
        write_selection(two, ["four", "one"], tmp_path, "homework1")
    assert file.read_text() == changed


@pytest.mark.parametrize(
    ("only", "name", "message"),
    [
        (["one", "five"], "a", "an exercise of --only is 'five'; allowed: 'one', 'two', 'three'"),
        (["one", "one"], "a", "--only has one 2 times; allowed: once"),
        (["one"], "a b", "--name is 'a b'; allowed"),
        (["one"], "../a", "--name is '../a'; allowed"),
        (["one"], "", "--name is ''; allowed"),
    ],
)
def test_a_selection_that_cannot_be_is_refused(two, tmp_path, only, name, message):
    with pytest.raises(ValueError, match="allowed") as refused:
        write_selection(two, only, tmp_path / "out", name)
    assert message in str(refused.value)
    assert not (tmp_path / "out").exists()


def test_one_exercise_in_two_sources_is_refused(two, tmp_path):
    again = write(small_source("one"), tmp_path / "03.ipynb")
    with pytest.raises(ValueError, match=r"one is in 01\.ipynb and 03\.ipynb; allowed"):
        write_selection([*two, again], ["two"], tmp_path, "a")


def test_cells_out_of_order_are_refused(two, tmp_path):
    """Otherwise a solution would go into the part of another exercise."""
    notebook = json.loads(two[0].read_text())
    cells = notebook["cells"]
    cells[3], cells[6] = cells[6], cells[3]
    two[0].write_text(json.dumps(notebook))
    with pytest.raises(ValueError, match=r"cells of one in 01\.ipynb are .*; allowed: text_one"):
        write_selection(two, ["one"], tmp_path, "a")

"""`vqlearn assign` and `vqlearn grade`: what they print and refuse, and the guide as it stands."""

import csv
import json
import re
import shlex

import nbformat
import pytest
from support.command import run_command
from support.exercise_notebooks import ROOT, STUDENTS, small_source
from typer.main import get_command

from vqlearn.cli.commands import app
from vqlearn.course import assigning, grading
from vqlearn.course.notebook_format import TEST, load
from vqlearn.lessons.exercise_table import MARK, exercise_table
from vqlearn.lessons.marks import between

GUIDE = ROOT / "notebooks" / "INSTRUCTORS.md"
PAGES = [GUIDE, STUDENTS / "README.md", ROOT / "notebooks" / "challenge" / "README.md"]
LONGEST_PAGE = 40  # lines, for students

each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.parent.name)


def commands_of(text):
    """Every `vqlearn …` of the blocks of commands, as words."""
    blocks = re.findall(r"```bash\n(.*?)```", text, re.DOTALL)
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    return [shlex.split(line, comments=True) for line in lines if line.startswith("vqlearn ")]


def section(title):
    return GUIDE.read_text("utf-8").partition(f"\n## {title}\n")[2].partition("\n## ")[0]


@pytest.fixture
def repository(tmp_path, monkeypatch):
    """A working folder with the notebooks of this repository."""
    (tmp_path / "notebooks").symlink_to(ROOT / "notebooks")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_assign_writes_all_notebooks_and_prints_their_paths(repository, monkeypatch, capsys):
    code, stdout, _ = run_command(monkeypatch, capsys, "assign", "--out", "students")
    assert code == 0
    names = sorted(file.name for file in STUDENTS.glob("*.ipynb"))
    assert stdout.splitlines() == [f"students/{name}" for name in names]


def test_assign_only_says_which_notebook_is_for_whom(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "a.ipynb").write_text(assigning.as_text(small_source("one", "two")))
    arguments = ["assign", "a.ipynb", "--only", "two, one", "--name", "mine", "--out", "out"]
    code, stdout, _ = run_command(monkeypatch, capsys, *arguments)
    assert code == 0
    assert stdout.splitlines() == [
        "with solutions, for you alone: out/source/mine/mine.ipynb",
        "out/mine.ipynb",
    ]


def test_grade_hands_on_what_was_asked_for(tmp_path, monkeypatch, capsys):
    asked = []
    monkeypatch.setattr(grading, "grade", lambda *given, **more: asked.append((given, more)))
    (tmp_path / "in").mkdir()
    assignment = next(iter(sorted(STUDENTS.glob("*.ipynb"))))
    arguments = ["grade", tmp_path / "in", "--out", tmp_path / "out", "--seed", 3]
    more = ["--assignment", assignment, "--processes", 5]
    code, stdout, _ = run_command(monkeypatch, capsys, *arguments, *more)
    assert (code, stdout.splitlines()[-1]) == (0, str(tmp_path / "out"))
    options = {"assignment": load(assignment).points, "seed": 3, "processes": 5}
    assert asked == [((tmp_path / "in", tmp_path / "out"), options)]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["assign"], "Missing option '--out'"),
        (["assign", "--out", "out"], "SOURCE is missing, and there is no notebooks/exercises"),
        (["assign", "b.ipynb", "--out", "out"], "SOURCE is 'b.ipynb'; allowed"),
        (["assign", "a.ipynb", "--out", "."], "--out is '.'; allowed: another folder"),
        (["assign", "a.ipynb", "--out", "a.ipynb"], "--out: 'a.ipynb' cannot be written to"),
        (
            ["assign", "a.ipynb", "--out", "out", "--name", "x"],
            "--name is 'x'; allowed with --only",
        ),
        (["assign", "a.ipynb", "--out", "out", "--only", ","], "--only is ','; allowed: names"),
        (["assign", "a.ipynb", "--out", "out", "--only", "x"], "is 'x'; allowed: 'one', 'two'"),
        (["grade", "nowhere"], "SUBMISSIONS is 'nowhere'; allowed: a folder"),
        (["grade", "a.ipynb"], "SUBMISSIONS is 'a.ipynb'; allowed: a folder"),
        (["grade", "in", "--processes", "0"], "--processes is 0; allowed: 1 to"),
        (["grade", "in", "--assignment", "b.ipynb"], "b.ipynb"),
        (["grade", "in", "--assignment", "a.ipynb"], "an exercise of --assignment is 'one'"),
        (["grade", "in", "--assignment", "~/a.ipynb"], "an exercise of --assignment is 'one'"),
        (["grade", "in", "--out", "a.ipynb"], "--out: 'a.ipynb' cannot be written to"),
    ],
)
def test_mistakes_end_with_one_line(arguments, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "a.ipynb").write_text(assigning.as_text(small_source("one", "two")))
    (tmp_path / "in").mkdir()
    code, stdout, stderr = run_command(monkeypatch, capsys, *arguments)
    assert code != 0
    (line,) = [line for line in stderr.splitlines() if line.startswith("vqlearn: ")]
    assert message in line
    assert "Traceback" not in stdout + stderr
    left = {path.name for path in tmp_path.iterdir()} - {"out"}
    assert left == {"a.ipynb", "in"}


def test_what_is_not_installed_is_said_before_the_work(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("vqlearn.cli.course.find_spec", lambda name: None)
    code, _, stderr = run_command(monkeypatch, capsys, "grade", tmp_path)
    assert code == 1
    assert "nbformat, matplotlib is missing; allowed: after pip install 'vqlearn[course]'" in stderr


@each_page
def test_commands_and_options_of_the_pages_are_known(page):
    known = get_command(app).commands
    for words in commands_of(page.read_text("utf-8")):
        options = {option for each in known[words[1]].params for option in each.opts}
        assert {word for word in words if word.startswith("--")} <= options, words


@each_page
def test_links_of_the_pages_lead_somewhere(page):
    for link in re.findall(r"\]\(([^)#:]+)\)", page.read_text("utf-8")):
        assert (page.parent / link).exists(), link


def test_the_page_for_students_is_short():
    assert len((STUDENTS / "README.md").read_text("utf-8").splitlines()) <= LONGEST_PAGE


def test_the_table_of_exercises_is_that_of_the_sources():
    sources = assigning.find_sources([STUDENTS / "source"])
    assert between(GUIDE, MARK) == exercise_table(sources), "run `make exercises`"


def change_points(file, exercise, points):
    """As the guide says: in the metadata, below the title, in the introduction."""
    notebook = nbformat.read(file, as_version=4)
    (test,) = [
        cell for cell in notebook.cells if cell.metadata["nbgrader"]["grade_id"] == TEST + exercise
    ]
    before, total = test.metadata["nbgrader"]["points"], sum(load(file).points.values())
    test.metadata["nbgrader"]["points"] = points
    for cell in notebook.cells:
        if cell.metadata["nbgrader"]["grade_id"] == f"text_{exercise}":
            cell.source = cell.source.replace(f"*{before} points", f"*{points} points")
    intro = notebook.cells[0]
    intro.source = intro.source.replace(f"{total} points", f"{total - before + points} points")
    nbformat.write(notebook, file)


def hand_in(folder, source, student):
    """Five submissions of an assignment: solved, solved as a file, blank, broken, one exercise."""
    folder.mkdir()
    solved = load(source)
    code = [
        cell.source
        for cell, role in zip(solved.notebook.cells, solved.roles, strict=True)
        if role.solution or role.id.startswith("setup_")
    ]
    first = next(iter(solved.points))
    alone = [text for text in code if "def " not in text or f"def {first}(" in text]
    (folder / "anna").mkdir()
    (folder / "anna" / "homework.ipynb").write_bytes(source.read_bytes())
    (folder / "ben.py").write_text("\n\n\n".join(code))
    (folder / "chris.ipynb").write_bytes(student.read_bytes())
    (folder / "dana.ipynb").write_text("not a notebook")
    (folder / "eli.py").write_text("\n\n\n".join(alone))
    return first


def test_the_guide_leads_from_three_exercises_to_the_grades(repository, monkeypatch, capsys):
    """Its commands as they stand there, with the points changed between the first and second."""
    assign, again, grade = commands_of(section("Your own assignment"))
    code, stdout, stderr = run_command(monkeypatch, capsys, *assign[1:])
    assert code == 0, stderr
    source, student = repository / again[2], repository / stdout.splitlines()[-1]
    exercises = list(load(source).points)
    assert len(exercises) == 3
    change_points(source, exercises[0], 10)
    code, stdout, stderr = run_command(monkeypatch, capsys, *again[1:])
    assert code == 0, stderr
    assert repository / stdout.splitlines()[-1] == student
    points = load(student).points
    assert points[exercises[0]] == 10
    first = hand_in(repository / grade[2], source, student)
    code, stdout, stderr = run_command(monkeypatch, capsys, *grade[1:])
    assert code == 0, stderr
    assert stdout.startswith("Submissions ")
    out = repository / grade[grade.index("--out") + 1]
    assert stdout.splitlines()[-1] == str(out.relative_to(repository))
    with (out / "grades.csv").open(newline="") as stream:
        found = {row["id"]: float(row["points"]) for row in csv.DictReader(stream)}
    total = sum(points.values())
    assert found == {"anna": total, "ben": total, "chris": 0, "dana": 0, "eli": points[first]}
    summary = json.loads((out / "summary.json").read_text())
    assert [each["max_points"] for each in summary["exercises"]] == list(points.values())
    assert {path.name for path in (out / "students").iterdir()} == {f"{one}.md" for one in found}

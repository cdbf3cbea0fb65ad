"""nbgrader itself on the source notebooks: the same student cells, full marks, and none.

It has its own environment, which this makes (some minutes, and the network); so it runs only with
VQLEARN_NBGRADER=1, as `make soak` does.
"""

import os
import shutil
import site
import sqlite3
import subprocess
import sys
import venv

import nbformat
import pytest
from support.exercise_notebooks import ROOT, SOURCES

from vqlearn.course.assigning import student_version
from vqlearn.course.notebook_format import load

NBGRADER = "nbgrader==0.9.6"

pytestmark = pytest.mark.skipif(
    os.environ.get("VQLEARN_NBGRADER") != "1", reason="VQLEARN_NBGRADER is not 1"
)


@pytest.fixture(scope="module")
def nbgrader(tmp_path_factory):
    """Run nbgrader in the folder of a course; its kernels see what is installed here, too."""
    home = tmp_path_factory.mktemp("nbgrader")
    venv.create(home / "venv", with_pip=True)
    python = home / "venv" / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", "--quiet", NBGRADER], check=True)
    command = [python, "-c", "import site; print(site.getsitepackages()[0])"]
    packages = subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
    paths = "\n".join((str(ROOT), *site.getsitepackages()))
    (home / "venv" / packages / "vqlearn.pth").write_text(paths)
    course = home / "course"
    course.mkdir()
    hidden = {"JUPYTER_PATH", "PYTHONPATH", "JUPYTER_CONFIG_DIR"}
    environment = {key: value for key, value in os.environ.items() if key not in hidden}
    environment |= {"HOME": str(home), "OMP_NUM_THREADS": "1"}
    environment["PATH"] = os.pathsep.join((str(python.parent), os.environ["PATH"]))

    def run(*arguments):
        done = subprocess.run(
            [python, "-m", "nbgrader", *arguments],
            cwd=course,
            env=environment,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stdout + done.stderr

    run.course = course
    return run


def scores(course):
    """The sum of the points of each student for each notebook, from nbgrader's database."""
    query = """
        select submitted_assignment.student_id, notebook.name, sum(grade.auto_score)
        from grade
        join submitted_notebook on grade.notebook_id = submitted_notebook.id
        join submitted_assignment on submitted_notebook.assignment_id = submitted_assignment.id
        join notebook on submitted_notebook.notebook_id = notebook.id
        group by 1, 2
    """
    with sqlite3.connect(course / "gradebook.db") as database:
        return {(student, name): points for student, name, points in database.execute(query)}


def test_nbgrader_agrees(nbgrader):
    course = nbgrader.course
    source, release = course / "source" / "all", course / "release" / "all"
    source.mkdir(parents=True)
    for file in SOURCES:
        shutil.copy(file, source)
    nbgrader("generate_assignment", "all")
    for file in SOURCES:
        theirs = nbformat.read(release / file.name, as_version=4)
        ours = student_version(load(file))
        assert [cell.source for cell in theirs.cells] == [cell.source for cell in ours.cells]
        kept = [cell.metadata for cell in theirs.cells]
        for mine, other in zip([cell.metadata for cell in ours.cells], kept, strict=True):
            assert mine.get("editable") == other.get("editable")
            assert mine.get("deletable") == other.get("deletable")
            assert mine["nbgrader"].items() <= other["nbgrader"].items()
    for student in ("solved", "blank"):
        handed_in = course / "submitted" / student / "all"
        handed_in.mkdir(parents=True)
        for file in SOURCES:
            if student == "solved":
                shutil.copy(file, handed_in)
            else:
                nbformat.write(student_version(load(file)), handed_in / file.name)
    nbgrader("autograde", "all")
    wanted = {}
    for file in SOURCES:
        wanted["solved", file.stem] = sum(load(file).points.values())
        wanted["blank", file.stem] = 0
    assert scores(course) == wanted, sys.version

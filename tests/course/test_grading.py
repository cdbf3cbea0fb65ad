"""Grading: each submission gets what it is worth, whatever the others are; a stop is no loss."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from support import submissions as made
from support.submissions import exercise_notebook, notebook, written

from vqlearn.course import grading, workers
from vqlearn.course.grading import grade
from vqlearn.course.recognition import expected
from vqlearn.course.worker.calling import Outcome

FLOAT32 = made.MEAN.replace("x *", "x.float() *")
STATUSES = {
    "correct": exercise_notebook(),
    "mistake": exercise_notebook(mean=made.UNNORMALISED),
    "wrong": exercise_notebook(mean="def weighted_mean(x, weights): return x[:, 0] * 3"),
    "error": exercise_notebook(mean="def weighted_mean(x, weights): return x.nothing"),
    "blank": exercise_notebook(mean="def weighted_mean(x, weights): raise NotImplementedError()"),
    "missing": exercise_notebook(mean="def weigted_mean(x, weights): return x"),
    "timeout": exercise_notebook(mean="def weighted_mean(x, weights):\n  while True: pass"),
    "stopped": exercise_notebook(mean="import os\ndef weighted_mean(x, weights): os._exit(0)"),
}


def graded(folder, out, **options):
    return grade(folder, out, **{"exercises": made.EXERCISES, "processes": 1, **options})


def by_id(summary):
    """Of each submission, its exercises by their ids."""
    return {
        one["id"]: {each["id"]: each for each in one["exercises"]} for one in summary["submissions"]
    }


@pytest.fixture
def no_server(monkeypatch):
    """Nothing may be run: everything is known."""

    def ask(*arguments):
        raise AssertionError("it was asked again")

    def closed(self):
        return workers.Closed(True, True, True, True)

    monkeypatch.setattr(workers.Server, "ask", ask)
    monkeypatch.setattr(workers.Server, "closed", closed)
    monkeypatch.setattr(workers.Server, "__enter__", lambda self: self)


@pytest.fixture(scope="module")
def classroom(tmp_path_factory):
    """A class with a submission of every status, graded by two processes."""
    root = tmp_path_factory.mktemp("class")
    written(root / "in", **{f"{status}__ipynb": text for status, text in STATUSES.items()})
    written(root / "in", plain__py=made.SOLUTION, float32__py="import torch\n" + FLOAT32)
    written(root / "in", unreadable__ipynb="{", empty__ipynb=notebook())
    written(root / "in", unparsed__ipynb=exercise_notebook(mean="def weighted_mean(:"))
    patch = pytest.MonkeyPatch()
    patch.setattr(workers, "SECONDS", 2.0)
    summary = graded(root / "in", root / "out", processes=2)
    patch.undo()
    return root, summary


@pytest.mark.parametrize("status", STATUSES)
def test_every_status(status, classroom):
    found = by_id(classroom[1])[status]
    assert found["weighted_mean"]["status"] == status
    assert found["weighted_mean"]["points"] == (4 if status == "correct" else 0)
    assert found["half_life"]["points"] == 2


def test_what_is_said(classroom):
    said = {status: by_id(classroom[1])[status]["weighted_mean"] for status in STATUSES}
    assert said["mistake"] == {
        "id": "weighted_mean",
        "points": 0,
        "max_points": 4,
        "status": "mistake",
        "mistake": "sum",
        "mistake_name": "the weights were not normalised",
        "message": "It looks as if the weights were not normalised.",
    }
    assert said["error"]["message"].startswith("call 1 raised AttributeError")
    assert said["missing"]["message"] == "no function weighted_mean was found"
    assert said["timeout"]["message"] == "it takes longer than 8 s"
    assert said["wrong"]["mistake"] is said["wrong"]["mistake_name"] is None


def test_a_file_without_ids_is_known_by_its_functions(classroom):
    found = by_id(classroom[1])
    assert set(found["plain"]) == {"weighted_mean", "half_life", "count_masks"}
    assert all(one["status"] == "correct" for one in found["plain"].values())
    assert found["float32"]["weighted_mean"]["status"] == "correct"
    assert found["float32"]["half_life"]["status"] == "missing"


def test_submissions_of_nothing_have_a_note(classroom):
    found = {one["id"]: one for one in classroom[1]["submissions"]}
    assert found["empty"]["note"] == grading.NOTHING
    assert "no notebook" in found["unreadable"]["note"]
    assert found["empty"]["exercises"] == found["unreadable"]["exercises"] == []


def test_the_summary(classroom):
    root, summary = classroom
    assert json.loads((root / "out" / "summary.json").read_text()) == summary
    assert summary["exercises"] == [
        {"id": one.id, "lesson": one.lesson, "max_points": one.points}
        for one in made.EXERCISES.values()
    ]
    assert [one["id"] for one in summary["submissions"]] == sorted(
        [*STATUSES, "plain", "float32", "unreadable", "empty", "unparsed"]
    )
    assert summary["submissions"][0]["files"] == ["blank.ipynb"]
    assert set(summary["closed"]) == {"files", "network", "memory", "processes"}
    assert (root / "out" / "class.md").exists()


def test_nothing_is_graded_twice(classroom, no_server):
    root, summary = classroom
    assert graded(root / "in", root / "out") == {**summary, "closed": dict.fromkeys(
        summary["closed"], True
    )}  # fmt: skip


@pytest.mark.parametrize("change", ["seed", "points", "content", "code", "file"])
def test_what_a_result_depends_on(change, classroom, no_server, monkeypatch):
    root, _ = classroom
    options = {}
    if change == "seed":
        options["seed"] = 5
    if change == "points":
        options["assignment"] = {"weighted_mean": 1}
    if change == "code":
        monkeypatch.setattr(grading, "_code_digest", lambda exercises: "other")
    content = (root / "in" / "plain.py").read_bytes()
    results = {file: file.read_bytes() for file in (root / "out" / "results").iterdir()}
    if change == "content":
        (root / "in" / "plain.py").write_bytes(content + b"# more\n")
    if change == "file":
        for file in results:
            file.write_text("{")
    try:
        with pytest.raises(AssertionError, match="it was asked again"):
            graded(root / "in", root / "out", **options)
    finally:
        (root / "in" / "plain.py").write_bytes(content)
        for file, data in results.items():
            file.write_bytes(data)


def test_a_run_that_was_stopped_goes_on_with_its_seed(tmp_path, monkeypatch):
    written(tmp_path / "in", a__py=made.SOLUTION, b__py=made.SOLUTION, c__py=made.SOLUTION)
    result, asked = grading._result, []

    def stopping(task, *arguments):
        asked.append(task.submission.id)
        if len(asked) == 2:
            raise KeyboardInterrupt
        return result(task, *arguments)

    monkeypatch.setattr(grading, "_result", stopping)
    with pytest.raises(KeyboardInterrupt):
        graded(tmp_path / "in", tmp_path / "out")
    assert not (tmp_path / "out" / "summary.json").exists()
    seed = json.loads((tmp_path / "out" / "results" / "seed.json").read_text())["seed"]
    first = list(asked)
    summary = graded(tmp_path / "in", tmp_path / "out")
    assert summary["seed"] == seed
    assert asked == [*first, *(one for one in "abc" if one != first[0])]
    assert [one["points"] for one in summary["submissions"]] == [9, 9, 9]


def test_a_run_that_is_killed_leaves_nothing_behind(tmp_path):
    """The worker notices, ends the job and removes its folder."""
    written(tmp_path / "in", a__py="import time\ndef half_life(rate): time.sleep(1000)")
    (tmp_path / "temporary").mkdir()
    program = (
        "from support import submissions; from vqlearn.course.grading import grade;"
        "grade('in', 'out', exercises=submissions.EXERCISES, processes=1)"
    )
    tests = Path(made.__file__).parents[1]
    paths = {"TMPDIR": str(tmp_path / "temporary"), "PYTHONPATH": str(tests)}
    run = subprocess.Popen(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env={**os.environ, **paths},
        stdout=subprocess.PIPE,
        text=True,
    )
    with run.stdout:
        assert run.stdout.readline().startswith("Submissions can")
        wait_until(lambda: list((tmp_path / "temporary").glob("vqlearn-*/job")))
        run.kill()
        run.wait()
    wait_until(lambda: not any((tmp_path / "temporary").iterdir()))


def wait_until(done):
    for _ in range(600):
        if done():
            return
        time.sleep(0.1)
    raise AssertionError("it did not happen")


def test_an_assignment_says_what_counts(tmp_path, no_server, monkeypatch):
    right = expected(made.EXERCISES["half_life"], 3).reference
    monkeypatch.setattr(workers.Server, "ask", lambda *arguments: right)
    written(tmp_path / "in", a__ipynb=exercise_notebook(), b__ipynb="?", c__py="")
    summary = graded(
        tmp_path / "in", tmp_path / "out", assignment={"count_masks": 5, "half_life": 0.5}, seed=3
    )
    found = by_id(summary)
    assert summary["seed"] == 3
    assert [one["max_points"] for one in summary["submissions"]] == [5.5] * 3
    assert [one["points"] for one in summary["submissions"]] == [0.5, 0, 0]
    assert {one["status"] for one in found["b"].values()} == {"error"}
    assert {one["status"] for one in found["c"].values()} == {"missing"}
    assert [one["max_points"] for one in summary["exercises"]] == [5, 0.5]


def test_a_cell_that_cannot_be_parsed_is_named(classroom):
    one = by_id(classroom[1])["unparsed"]
    assert one["weighted_mean"]["message"] == (
        "no function weighted_mean was found; cell 3 cannot be parsed (invalid syntax, line 1)"
    )
    assert one["half_life"]["status"] == "correct"


def test_a_property_that_fails_on_strange_results_stops_nothing(tmp_path, no_server, monkeypatch):
    def judge(exercise, answer, seed):
        raise IndexError

    monkeypatch.setattr(grading, "judge", judge)
    monkeypatch.setattr(workers.Server, "ask", lambda *arguments: Outcome([]))
    written(tmp_path / "in", a__py=made.SOLUTION)
    found = by_id(graded(tmp_path / "in", tmp_path / "out"))["a"]
    assert {one["status"] for one in found.values()} == {"wrong"}


def test_a_long_message_is_shortened(tmp_path, no_server, monkeypatch):
    shapes = Outcome([[np.zeros(1)] * 5000] * 2)
    monkeypatch.setattr(workers.Server, "ask", lambda *arguments: shapes)
    written(tmp_path / "in", a__py=made.SOLUTION)
    found = by_id(graded(tmp_path / "in", tmp_path / "out"))["a"]["weighted_mean"]
    assert found["message"].startswith("In call 1 the shapes of the result are (1,), (1,)")
    assert len(found["message"]) == workers.LONGEST_MESSAGE


def test_the_lines_that_are_printed(tmp_path, capsys, no_server, monkeypatch):
    monkeypatch.setattr(workers.Server, "ask", lambda *arguments: workers.STOPPED)
    written(tmp_path / "in", a__py=made.SOLUTION)
    graded(tmp_path / "in", tmp_path / "out")
    assert capsys.readouterr().out == (
        "Submissions cannot reach files of this machine or the network.\na: 0 of 9 points\n"
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"processes": 0}, "processes is 0; allowed: 1 to 256"),
        ({"seed": -1}, "seed is -1; allowed"),
        ({"assignment": {"other": 3}}, "an exercise of the assignment is 'other'; allowed"),
    ],
)
def test_bad_input_is_refused(options, message, tmp_path):
    written(tmp_path / "in", a__py="")
    with pytest.raises(ValueError, match=message):
        graded(tmp_path / "in", tmp_path / "out", **options)


@pytest.mark.parametrize("inside", [".", "grades"])
def test_grades_do_not_go_into_the_folder_of_submissions(inside, tmp_path):
    written(tmp_path / "in", a__py="")
    with pytest.raises(ValueError, match=r"out is .*; allowed: a place outside of"):
        graded(tmp_path / "in", tmp_path / "in" / inside)
    assert not (tmp_path / "in" / "grades").exists()


def test_a_submission_that_imports_vqlearn_is_told_what_to_do(tmp_path):
    code = "import vqlearn\n" + made.MEAN.replace("return", "vqlearn\n    return")
    written(tmp_path / "in", a__py=made.IMPORT + code)
    found = by_id(graded(tmp_path / "in", tmp_path / "out"))["a"]["weighted_mean"]
    assert "vqlearn cannot be imported here; write it with torch" in found["message"]


def test_folders_without_submissions_are_refused(tmp_path):
    with pytest.raises(NotADirectoryError, match=r"folder is .*; allowed: a folder"):
        graded(tmp_path / "in", tmp_path / "out")
    (tmp_path / "in").mkdir()
    with pytest.raises(ValueError, match=r"folder is .*; allowed: one with \.ipynb or \.py files"):
        graded(tmp_path / "in", tmp_path / "out")

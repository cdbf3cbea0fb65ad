"""The reports of a class: what they hold, and that nothing of a student comes alive in them."""

import csv
import io
import json

import matplotlib.image
import mistune
import pytest

from vqlearn.course import EXERCISES, reports
from vqlearn.course.hints import hints_of
from vqlearn.course.plain_text import FORMULA

EXERCISE = next(iter(EXERCISES.values()))
MISTAKE = EXERCISE.mistakes[0]
NASTY = (
    "<script>alert(1)</script> <img src=x onerror=alert(1)> ![i](http://evil.example/i.png) "
    "[l](http://evil.example) http://evil.example www.evil.example a@evil.example `` ` | \n# T\n\n"
    "- [x] \x1b[31m \u202e $x$"
)


def result(name, status, points=0, **more):
    found = {"mistake": None, "mistake_name": None, "message": status, **more}
    return {"id": name, "points": points, "max_points": 4, "status": status, **found}


def submission(name, *results, note=""):
    points = sum(each["points"] for each in results)
    sums = {"points": points, "max_points": 4 * len(results)}
    return {"id": name, "files": [f"{name}.py"], "note": note, **sums, "exercises": list(results)}


def known():
    name = MISTAKE.name
    said = {"mistake": MISTAKE.id, "mistake_name": name, "message": f"It looks as if {name}."}
    return result(EXERCISE.id, "mistake", **said)


def summary(*submissions):
    exercises = [
        {"id": EXERCISE.id, "lesson": EXERCISE.lesson, "max_points": 4},
        {"id": "other", "lesson": 3, "max_points": 4},
    ]
    return {"seed": 5, "closed": {}, "exercises": exercises, "submissions": list(submissions)}


@pytest.fixture
def of_class():
    return summary(
        submission("anna", result(EXERCISE.id, "correct", 4), result("other", "correct", 4)),
        submission("=HYPERLINK(1)", known(), result("other", "wrong", message="A shape.")),
        submission("ben", known(), note=NASTY),
        submission(NASTY, result(EXERCISE.id, "error", message=NASTY)),
    )


def rendered(file):
    """As the most liberal reader would show it."""
    plugins = ["table", "url", "strikethrough", "task_lists", "math"]
    return mistune.create_markdown(escape=False, plugins=plugins)(file.read_text("utf-8"))


def test_the_table_has_a_row_each_and_no_formula(of_class, tmp_path):
    reports.write_reports(tmp_path, of_class)
    with (tmp_path / "grades.csv").open(newline="", encoding="utf-8") as stream:
        header, *rows = csv.reader(stream)
    assert header == ["id", "points", "max_points", EXERCISE.id, "other"]
    assert rows[0] == ["anna", "8", "8", "4", "4"]
    assert rows[1] == ["'=HYPERLINK(1)", "0", "8", "0", "0"]
    assert rows[2] == ["ben", "0", "4", "0", ""]
    assert rows[3][0].startswith("<script>alert(1)</script> <img")
    assert len(rows) == 4
    assert not [cell for row in rows for cell in row if cell.startswith(FORMULA)]


@pytest.mark.parametrize("begin", ["=", "+", "-", "@", "\t=", "\r=", " =", "\n\x00="])
def test_whatever_begins_a_formula_is_a_text(begin):
    table = reports.grades_table(summary(submission(f"{begin}1", known())))
    _, row = csv.reader(io.StringIO(table, newline=""))
    assert row[0] == f"'{begin[-1]}1"


def test_gradescope_gets_what_it_documents(of_class, tmp_path):
    reports.write_reports(tmp_path, of_class)
    found = json.loads((tmp_path / "gradescope" / "ben" / "results.json").read_text())
    assert found.keys() == {"score", "output", "output_format", "visibility", "tests"}
    assert (found["score"], found["output_format"], found["visibility"]) == (0, "text", "visible")
    (test,) = found["tests"]
    hint = hints_of(EXERCISE, MISTAKE.id)[0]
    assert test == {
        "name": EXERCISE.id,
        "score": 0,
        "max_score": 4,
        "status": "failed",
        "output": f"It looks as if {MISTAKE.name}.\n\n{hint}",
        "output_format": "text",
        "visibility": "visible",
    }
    full = json.loads((tmp_path / "gradescope" / "anna" / "results.json").read_text())
    assert full["score"] == 8
    assert [test["status"] for test in full["tests"]] == ["passed", "passed"]


def test_a_student_reads_the_mistake_its_first_hint_and_the_lesson(of_class, tmp_path):
    reports.write_reports(tmp_path, of_class)
    text = (tmp_path / "students" / "ben.md").read_text()
    hints = hints_of(EXERCISE, MISTAKE.id)
    assert "**0 of 4 points.**" in text
    assert " ".join(hints[0].split()) in text
    assert not [hint for hint in hints[1:] if " ".join(hint.split()) in text]
    assert f"Read on in lesson {EXERCISE.lesson:02}." in text
    right = (tmp_path / "students" / "anna.md").read_text()
    assert right.count("Right.") == 2
    assert "Read on" not in right


def test_nothing_of_a_student_comes_alive(of_class, tmp_path):
    reports.write_reports(tmp_path, of_class)
    pages = [*(tmp_path / "students").iterdir(), tmp_path / "class.md"]
    assert len(pages) == 5
    for page in pages:
        html = rendered(page)
        html = html.replace('<img src="mistakes.png"', "")  # ours
        for alive in ("<script", "<img", "<a ", "<input", 'class="math', "<h1>T", "\x1b", "\u202e"):
            assert alive not in html, page.name
        assert html.count("<h1>") == 1


def test_the_class_sees_which_mistake_how_often(of_class, tmp_path):
    reports.write_reports(tmp_path, of_class)
    text = (tmp_path / "class.md").read_text()
    assert "4 submissions: mean 2.0, median 0 of 8 points." in text
    (line,) = [line for line in text.splitlines() if line.endswith("| 2 |")]
    assert line.startswith(f"| {EXERCISE.id} |")
    assert "| `=HYPERLINK(1)` | other | wrong | `A shape.` |" in text
    assert "![How often](mistakes.png)" in text
    assert matplotlib.image.imread(tmp_path / "mistakes.png").shape[2] == 4
    assert not list(tmp_path.rglob(".part-*"))


def test_the_most_frequent_mistake_comes_first():
    other = {**known(), "mistake": "rare", "mistake_name": "it is rare"}
    found = reports.frequent_mistakes(
        summary(submission("a", other), submission("b", known()), submission("c", known()))
    )
    assert [(each.mistake, each.count) for each in found] == [(MISTAKE.id, 2), ("rare", 1)]


def test_a_class_without_mistakes_has_no_plot_of_an_older_run(of_class, tmp_path):
    reports.write_reports(tmp_path, of_class)
    reports.write_reports(tmp_path, summary(submission("anna", result(EXERCISE.id, "blank"))))
    assert not (tmp_path / "mistakes.png").exists()
    assert "mistakes.png" not in (tmp_path / "class.md").read_text()


def test_a_class_of_nobody_is_reported_too(tmp_path):
    reports.write_reports(tmp_path, summary())
    assert (tmp_path / "grades.csv").read_text().count("\n") == 1
    assert "No submissions." in (tmp_path / "class.md").read_text()


@pytest.mark.parametrize(
    ("ids", "names"),
    [
        (["anna", "ben"], ["anna", "ben"]),
        (["a/b", "a_b", "A_B"], ["a_b", "a_b_", "A_B__"]),
        (["../../etc/passwd", ".hidden", ""], ["_.._.._etc_passwd", "_.hidden", "_"]),
        (["..", "\x00", "Ünal"], ["_..", "_", "Ünal"]),
    ],
)
def test_names_of_files_hold_nothing_of_a_path(ids, names):
    assert list(reports.file_names(ids).values()) == names


def test_long_names_are_files_too(tmp_path):
    names = reports.file_names(["\U0001d49c" * 300, "\U0001d49c" * 301])
    for name in names.values():
        (tmp_path / f"{name}.md").touch()
    assert len(list(tmp_path.iterdir())) == 2

"""What `vqlearn grade` writes of its results: a table, a file for Gradescope and for each student.

Names of files and messages of errors come from students: in Markdown they stand as code, in the
table no cell is a formula.
"""

import csv
import io
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import mean, median
from typing import Any, NamedTuple

from vqlearn.course.catalogue import EXERCISES
from vqlearn.course.hints import hints_of
from vqlearn.course.mistake_plot import plot_mistakes
from vqlearn.course.plain_text import as_code, no_formula, plain, table_cell
from vqlearn.storage import write_json, write_text

STATUSES = ("correct", "mistake", "wrong", "error", "blank", "missing", "timeout", "stopped")
OURS = ("correct", "mistake", "wrong", "blank")  # statuses whose messages hold nothing of a student
LONGEST_NAME = 60  # characters of a file
TABLE, PLOT, CLASS = "grades.csv", "mistakes.png", "class.md"

Found = Mapping[str, Any]
"""A part of what `vqlearn.course.grading.grade` returns."""


class Frequent(NamedTuple):
    """A known mistake, and how many submissions show it."""

    exercise: str
    mistake: str
    name: str
    count: int


def write_reports(out: Path, summary: Found) -> None:
    """Write all reports of a class into a folder; each is whole or not there."""
    names = file_names(one["id"] for one in summary["submissions"])
    write_text(out / TABLE, grades_table(summary))
    for one in summary["submissions"]:
        name = names[one["id"]]
        write_json(out / "gradescope" / name / "results.json", gradescope(one))
        write_text(out / "students" / f"{name}.md", student_report(one, summary))
    frequent = frequent_mistakes(summary)
    (out / PLOT).unlink(missing_ok=True)
    if frequent:
        counts = {f"{each.exercise}: {each.mistake}": each.count for each in frequent}
        plot_mistakes(counts, out / PLOT)
    write_text(out / CLASS, class_report(summary))


def file_names(ids: Iterable[str]) -> dict[str, str]:
    """A file name for each submission: nothing of a path in it, no two alike in small letters."""
    names: dict[str, str] = {}
    taken: set[str] = set()
    for one in ids:
        name = re.sub(r"[^\w.-]", "_", one)[:LONGEST_NAME]
        name = f"_{name}" if name.startswith(".") or not name else name
        while name.casefold() in taken:
            name += "_"
        taken.add(name.casefold())
        names[one] = name
    return names


def grades_table(summary: Found) -> str:
    """One row for each submission, one column for each exercise, as CSV."""
    exercises = [each["id"] for each in summary["exercises"]]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["id", "points", "max_points", *exercises])
    for one in summary["submissions"]:
        points = {each["id"]: each["points"] for each in one["exercises"]}
        row = [one["id"], one["points"], one["max_points"], *map(points.get, exercises)]
        writer.writerow(map(no_formula, row))
    return text.getvalue()


def gradescope(one: Found) -> dict[str, Any]:
    """A submission as Gradescope's results.json; every text is plain text there."""
    tests = [
        {
            "name": each["id"],
            "score": each["points"],
            "max_score": each["max_points"],
            "status": "passed" if each["status"] == "correct" else "failed",
            "output": "\n\n".join([each["message"], *_hints(each)[:1]]),
            "output_format": "text",
            "visibility": "visible",
        }
        for each in one["exercises"]
    ]
    output = f"{one['points']:g} of {one['max_points']:g} points"
    return {
        "score": one["points"],
        "output": f"{output}\n{one['note']}".strip(),
        "output_format": "text",
        "visibility": "visible",
        "tests": tests,
    }


def student_report(one: Found, summary: Found) -> str:
    """What one student reads, in Markdown."""
    lessons = {each["id"]: each["lesson"] for each in summary["exercises"]}
    parts = [
        f"# {as_code(one['id'])}",
        f"**{one['points']:g} of {one['max_points']:g} points.**",
    ]
    if one["note"]:
        parts.append(as_code(one["note"]))
    for each in one["exercises"]:
        parts.append(f"## {each['id']}: {each['points']:g} of {each['max_points']:g} points")
        parts.append(_said(each))
        parts += [f"> {' '.join(hint.split())}" for hint in _hints(each)[:1]]
        if each["status"] != "correct":
            parts.append(_read_on(each, lessons[each["id"]]))
    return "\n\n".join(parts) + "\n"


def class_report(summary: Found) -> str:
    """What the instructor reads, in Markdown."""
    submissions = summary["submissions"]
    parts = ["# Class", _overview(submissions), f"Seed of the probes: {summary['seed']}."]
    parts += ["## Exercises", _exercise_table(summary)]
    frequent = frequent_mistakes(summary)
    parts.append("## Known mistakes")
    if frequent:
        rows = [[each.exercise, plain(each.name), str(each.count)] for each in frequent]
        parts += [f"![How often]({PLOT})", _table(["exercise", "mistake", "submissions"], rows)]
    else:
        parts.append("None.")
    rows = [
        [table_cell(one["id"]), each["id"], each["status"], table_cell(each["message"])]
        for one in submissions
        for each in one["exercises"]
        if each["status"] not in ("correct", "mistake", "blank")
    ]
    if rows:
        titles = ["submission", "exercise", "status", "message"]
        parts += ["## To look at by hand", _table(titles, rows)]
    rows = [
        [table_cell(one["id"]), f"{one['points']:g}", table_cell(one["note"])]
        for one in submissions
    ]
    parts += ["## Submissions", _table(["submission", "points", "note"], rows)]
    return "\n\n".join(parts) + "\n"


def frequent_mistakes(summary: Found) -> list[Frequent]:
    """All mistakes that were found, the most frequent first."""
    found = Counter(
        (each["id"], each["mistake"], each["mistake_name"])
        for one in summary["submissions"]
        for each in one["exercises"]
        if each["mistake"] is not None
    )
    return sorted((Frequent(*key, count) for key, count in found.items()), key=lambda m: -m.count)


def _hints(each: Found) -> list[str]:
    """The hints to a known mistake; none for an exercise of somebody else."""
    exercise = EXERCISES.get(each["id"])
    if exercise is None or each["mistake"] not in {one.id for one in exercise.mistakes}:
        return []
    return hints_of(exercise, each["mistake"])


def _said(each: Found) -> str:
    """What was found, as one paragraph."""
    if each["status"] == "correct":
        return "Right."
    return plain(each["message"]) if each["status"] in OURS else as_code(each["message"])


def _read_on(each: Found, lesson: int) -> str:
    """Where to go from here."""
    more = f" For more hints, write `check({each['id']}, hint=2)`." if len(_hints(each)) > 1 else ""
    return f"Read on in lesson {lesson:02}.{more}"


def _overview(submissions: Sequence[Found]) -> str:
    """How many submissions there are, and how well they did."""
    if not submissions:
        return "No submissions."
    points = [one["points"] for one in submissions]
    most = max(one["max_points"] for one in submissions)
    numbers = f"mean {mean(points):.1f}, median {median(points):g} of {most:g} points"
    return f"{len(submissions)} submissions: {numbers}."


def _exercise_table(summary: Found) -> str:
    """How many submissions have which status, for each exercise."""
    rows = []
    for exercise in summary["exercises"]:
        found = Counter(
            each["status"]
            for one in summary["submissions"]
            for each in one["exercises"]
            if each["id"] == exercise["id"]
        )
        numbers = [str(found[status] or "") for status in STATUSES]
        rows.append([exercise["id"], f"{exercise['lesson']:02}", *numbers])
    return _table(["exercise", "lesson", *STATUSES], rows)


def _table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown."""
    lines = [titles, ["---"] * len(titles), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)

"""The syllabus and the questions for quizzes: their sums, names, sections and answers."""

import re

import nbformat
import pytest
from support.exercise_notebooks import ROOT, SOURCES

from vqlearn.course import EXERCISES
from vqlearn.course.notebook_format import load, statement

NOTEBOOKS = ROOT / "notebooks"
GUIDE = (NOTEBOOKS / "INSTRUCTORS.md").read_text("utf-8")
SYLLABUS = GUIDE.partition("\n## Syllabus\n")[2].partition("\n## ")[0]
COURSES = re.split(r"^### ", SYLLABUS, flags=re.MULTILINE)[1:]
LESSONS = {file.name[:2]: file for file in sorted(NOTEBOOKS.glob("[0-9]*.ipynb"))}
QUIZZES = "\n".join(
    file.read_text("utf-8") for file in sorted((NOTEBOOKS / "quizzes").glob("*.md"))
)
MINUTES = {
    name: statement(cells).minutes
    for source in map(load, SOURCES)
    for name, cells in source.exercises().items()
}


def rows(course):
    """The cells of each line of a table that gives exercises."""
    lines = [line for line in course.splitlines() if re.match(r"\| \d", line)]
    return [[cell.strip() for cell in line.strip("| ").split(" | ")] for line in lines]


@pytest.mark.parametrize("course", COURSES, ids=["two weeks", "six weeks"])
def test_the_sums_of_the_syllabus_are_those_of_the_exercises(course):
    points = minutes = number = 0
    for row in rows(course):
        names = re.findall(r"`(\w+)`", row[-3])
        assert int(row[-2]) == sum(EXERCISES[name].points for name in names), row[0]
        assert int(row[-1]) == sum(MINUTES[name] for name in names), row[0]
        lessons = {int(lesson) for lesson in re.findall(r"(\d\d) \(", row[1])}
        assert {EXERCISES[name].lesson for name in names} <= lessons
        points, minutes, number = points + int(row[-2]), minutes + int(row[-1]), number + len(names)
    assert f"| {number} exercises | {points} | {minutes} |" in course
    assert number > 10


@pytest.mark.parametrize("course", COURSES, ids=["two weeks", "six weeks"])
def test_the_commands_of_the_syllabus_write_its_rows(course):
    commands = re.findall(r"^vqlearn assign --only (\S+) --name (\S+) --out \2$", course, re.M)
    wanted = [re.findall(r"`(\w+)`", row[-3]) for row in rows(course)]
    assert [names.split(",") for names, _ in commands] == wanted


def test_every_name_in_the_syllabus_is_an_exercise():
    names = set(re.findall(r"`([a-z]+(?:_[a-z0-9]+)+)`", SYLLABUS))
    assert names
    assert names <= set(EXERCISES)


def text_of(lesson):
    cells = nbformat.read(LESSONS[lesson], as_version=4).cells
    return "\n".join(cell.source for cell in cells if cell.cell_type == "markdown")


@pytest.mark.parametrize("lesson", LESSONS)
def test_every_lesson_has_questions_with_one_answer_each(lesson):
    title = re.search(rf"^## {lesson} · (.+)$", QUIZZES, re.MULTILINE)
    assert title
    assert f"# {lesson} · {title[1]}" in text_of(lesson)
    part = QUIZZES[title.end() :].partition("\n## ")[0]
    questions = re.findall(rf"^\*\*{lesson}\.(\d+) \(([^)]+)\)\*\* \S", part, re.MULTILINE)
    assert [int(number) for number, _ in questions] == list(range(1, len(questions) + 1))
    assert 5 <= len(questions) <= 12
    answers = re.findall(r"<details><summary>Answer</summary>\s+\S.*?</details>", part, re.DOTALL)
    assert len(answers) == len(questions)
    assert part.count("<details>") == len(answers)

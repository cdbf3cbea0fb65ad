"""The hints to known mistakes: Markdown files beside this one, one for each lesson."""

from functools import cache
from pathlib import Path

from vqlearn.course.exercise import Exercise

LEVELS = 3  # a question; the concept and its lesson; the shape of the line
FOLDER = Path(__file__).with_name("hint_texts")


def hints_of(exercise: Exercise, mistake: str) -> list[str]:
    """The hints to a mistake, the gentlest first: three, or one."""
    return _all_of_lesson(exercise.lesson)[f"{exercise.id}: {mistake}"]


@cache
def _all_of_lesson(lesson: int) -> dict[str, list[str]]:
    """By "exercise: mistake", as the headings say; each paragraph is one hint."""
    text = (FOLDER / f"{lesson:02}.md").read_text(encoding="utf-8")
    sections = [section.split("\n", 1) for section in text.split("\n## ")[1:]]
    return {heading.strip(): body.strip().split("\n\n") for heading, body in sections}

"""The table of exercises in notebooks/INSTRUCTORS.md: `python -m vqlearn.lessons.exercise_table`.

Points, difficulty and minutes are those of the source notebooks, mistakes those of the grader.
"""

import argparse
from pathlib import Path

from vqlearn.course.assigning import find_sources
from vqlearn.course.catalogue import EXERCISES
from vqlearn.course.notebook_format import load, statement
from vqlearn.lessons.marks import write_between

MARK = "exercises"
TITLES = ("lesson", "exercise", "title", "points", "difficulty", "minutes", "known mistakes")


def exercise_table(sources: list[Path]) -> str:
    """One row for each exercise, then the sums.

    Raises `ValueError` for an exercise without a statement, `KeyError` for one that has no grader.
    """
    rows = []
    for source in map(load, sources):
        for name, cells in source.exercises().items():
            said = statement(cells)
            if said is None:
                raise ValueError(f"{name} in {source.name} says no points; allowed: *4 points · …*")
            exercise, points = EXERCISES[name], source.points[name]
            first = (f"{exercise.lesson:02}", f"`{name}`", said.title, points, said.difficulty)
            rows.append((*first, said.minutes, len(exercise.mistakes)))
    points, minutes, mistakes = (sum(row[column] for row in rows) for column in (3, 5, 6))
    sums = ("", f"{len(rows)} exercises", "", points, "", minutes, mistakes)
    lines = [TITLES, ["---"] * len(TITLES), *rows, sums]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)


def main() -> None:
    """Write the table into INSTRUCTORS.md, between its two marks."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("page", type=Path, nargs="?", default=Path("notebooks", "INSTRUCTORS.md"))
    write_between(parser.parse_args().page, MARK, exercise_table(find_sources([])))


if __name__ == "__main__":
    main()

"""The commands `vqlearn assign` and `vqlearn grade`: their options."""

from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

NEEDED = ("nbformat", "matplotlib")
MOST_PROCESSES = 256


def assign(
    out: Annotated[Path, typer.Option(help="Folder for the notebooks of the students.")],
    source: Annotated[
        list[Path] | None,
        typer.Argument(help="Source notebooks or folders of them; default: this repository's."),
    ] = None,
    only: Annotated[
        str | None, typer.Option(help="Exercises of one notebook: NAME,NAME,… in its order.")
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="Of the notebook with --only; default: assignment.")
    ] = None,
) -> None:
    """Write exercise notebooks for students: without solutions, hidden tests and outputs.

    With --only one notebook of chosen exercises, and in OUT/source its source, with solutions, for
    you alone. Prints the paths; the last ones are for students.
    """
    _check_installed()
    from vqlearn.course import assigning
    from vqlearn.storage import as_path, check_output_folder

    if name is not None and only is None:
        raise ValueError(f"--name is {name!r}; allowed with --only alone")
    out = as_path("--out", out)
    files = assigning.find_sources([as_path("SOURCE", path) for path in source or ()])
    check_output_folder("--out", out)
    if only is not None:
        exercises = [part.strip() for part in only.split(",") if part.strip()]
        if not exercises:
            raise ValueError(f"--only is {only!r}; allowed: names of exercises, with commas")
        own = assigning.write_selection(files, exercises, out, name or "assignment")
        typer.echo(f"with solutions, for you alone: {own}")
        files = [own]
    for file in assigning.assign(files, out):
        typer.echo(file)


def grade(
    submissions: Annotated[
        Path, typer.Argument(help="A folder: a file or a folder for each student.")
    ],
    out: Annotated[Path, typer.Option(help="Folder for grades and reports.")] = Path("grades"),
    assignment: Annotated[
        Path | None, typer.Option(help="Its notebook: which exercises count, and their points.")
    ] = None,
    seed: Annotated[
        int | None, typer.Option(help="Of the inputs of the functions; default: a random one.")
    ] = None,
    processes: Annotated[int, typer.Option(help="Submissions graded at the same time.")] = 2,
) -> None:
    """Grade a folder of submissions, .ipynb or .py; the last line printed is the folder of grades.

    The first line says what submissions cannot reach while they run. Of a function that is wrong
    the mistake is named, if it is a known one. Without --assignment, all exercises of a lesson
    count of which a submission has one. Run it again after it was stopped, and it goes on.
    """
    _check_installed()
    from vqlearn.course import grading, notebook_format
    from vqlearn.course.catalogue import EXERCISES
    from vqlearn.probability.checks import check_choice, check_integer
    from vqlearn.storage import as_path, check_output_folder

    check_integer("--processes", processes, 1, MOST_PROCESSES)
    folder, out = as_path("SUBMISSIONS", submissions), as_path("--out", out)
    if not folder.is_dir():
        raise NotADirectoryError(f"SUBMISSIONS is {str(folder)!r}; allowed: a folder")
    points = None
    if assignment is not None:
        notebook = as_path("--assignment", assignment)
        if not notebook.is_file():
            raise FileNotFoundError(f"--assignment is {str(notebook)!r}; allowed: a notebook")
        points = notebook_format.read_assignment(notebook)
        for exercise in points:
            check_choice("an exercise of --assignment", exercise, EXERCISES)
    check_output_folder("--out", out)
    grading.grade(folder, out, assignment=points, seed=seed, processes=processes)
    typer.echo(out)


def _check_installed() -> None:
    """Raise `ValueError` where a library of the extra `course` is missing, before the work."""
    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing:
        install = "pip install 'vqlearn[course]'"
        raise ValueError(f"{', '.join(missing)} is missing; allowed: after {install}")

"""The command `vqlearn challenge`: its options."""

from pathlib import Path
from typing import Annotated

import typer

SHORTEST = 12  # characters of a secret


def challenge(
    submissions: Annotated[
        Path, typer.Argument(help="A .py or .ipynb file, or a folder as for `vqlearn grade`.")
    ],
    leaderboard: Annotated[
        Path, typer.Option(help="A CSV file; rows of other submissions stay.")
    ] = Path("leaderboard.csv"),
    held_back: Annotated[
        str | None,
        typer.Option(help="Secret words: other prompts and seeds, which follow from them."),
    ] = None,
) -> None:
    """Score samplers: the most right images of scenes in 10 network evaluations, no training.

    A submission defines `unmask(network, num_images)`; notebooks/challenge has an example. The
    first line says what submissions cannot reach while they run, the last one is the leaderboard.
    """
    from vqlearn.challenge import PUBLIC, Leaderboard, ScenesTask, run_submission
    from vqlearn.course.submissions import find_submissions, read_submission
    from vqlearn.course.worker.sandbox import first_line, untraceable
    from vqlearn.course.workers import Server
    from vqlearn.storage import as_input, as_path, check_output_file

    path, file = as_input("SUBMISSIONS", submissions), as_path("--leaderboard", leaderboard)
    if held_back is not None and len(held_back) < SHORTEST:
        raise ValueError(
            f"--held-back has {len(held_back)} characters; allowed: {SHORTEST} or more, such as "
            "words that nobody guesses"
        )
    found = find_submissions(path) if path.is_dir() else [read_submission(path)]
    if not found:
        raise ValueError(f"SUBMISSIONS is {str(path)!r}; allowed: one with .py or .ipynb files")
    check_output_file("--leaderboard", file)
    word = held_back or PUBLIC
    board, task = Leaderboard(file, word), ScenesTask(word)
    with untraceable(), Server() as server:
        typer.echo(first_line(server.closed()))
        for submission in found:
            try:
                result = run_submission(task, submission, server)
                said = str(result)
            except ValueError as error:
                result = str(error)
                said = f"no score: {result}"
            board.add(submission.id, result)
            typer.echo(f"{submission.id}: {said}")
    typer.echo(file)

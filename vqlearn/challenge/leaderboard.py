"""The leaderboard: a CSV file with a row for each submission, the most accurate first."""

import csv
import hashlib
import io
from pathlib import Path
from typing import Any

from jaxtyping import Float
from torch import Tensor

from vqlearn.challenge.task import PUBLIC, TaskScore
from vqlearn.course.plain_text import no_formula
from vqlearn.evaluation.frontier import Point
from vqlearn.probability import Estimate
from vqlearn.probability.checks import shown
from vqlearn.storage import write_text

COLUMNS = (
    *("rank", "name", "accuracy", "low", "high", "seen", "never_seen", "diversity"),
    *("evaluations", "behind_first", "note", "prompts", "right_images"),
)
LAST = -1.0  # in the place of an accuracy that there is not
NO_NUMBER = "#"  # before digits that a spreadsheet must not read as a number
HASHES = 200_000  # so that nobody finds a word by trying a dictionary

Row = dict[str, str]


class Leaderboard:
    """The rows of a file, which may be new; every change is written at once.

    All rows were scored on the same prompts, those of `word`; a held-back word is told by a digest.
    Raises `ValueError` for a file that is no leaderboard, or one of other prompts.
    """

    def __init__(self, file: Path, word: str = PUBLIC) -> None:
        self.file, self.prompts = file, prompts_of(word)
        self.rows = _read(file) if file.exists() else []
        for row in self.rows:
            if row["prompts"] != self.prompts:
                raise ValueError(
                    f"{file} has scores on {shown(row['prompts'])} prompts; allowed: those on "
                    f"{self.prompts!r} prompts, or another file"
                )

    def add(self, name: str, found: TaskScore | str) -> Row:
        """Put a submission in the place of an earlier one of its name: its score, or why not."""
        row = dict.fromkeys(COLUMNS, "") | {"name": str(no_formula(name)), "prompts": self.prompts}
        row |= {"note": str(no_formula(found))} if isinstance(found, str) else _cells(found)
        others = [other for other in self.rows if other["name"] != row["name"]]
        self.rows = sorted([*others, row], key=lambda each: (-_accuracy(each), each["name"]))
        accuracies = [_accuracy(each) for each in self.rows]
        for each, accuracy in zip(self.rows, accuracies, strict=True):
            # Equal accuracies share a rank.
            each["rank"] = "" if accuracy == LAST else str(accuracies.index(accuracy) + 1)
            each["behind_first"] = "" if accuracy == LAST else _behind(each, self.rows[0])
        self._write()
        return row

    def _write(self) -> None:
        text = io.StringIO()
        writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.rows)
        write_text(self.file, text.getvalue())


def prompts_of(word: str) -> str:
    """What is said of the prompts of a word, which is kept secret."""
    if word == PUBLIC:
        return PUBLIC
    digest = hashlib.pbkdf2_hmac("sha256", word.encode(), b"challenge", HASHES)
    return f"held back {digest.hex()[:8]}"


def _read(file: Path) -> list[Row]:
    """Raises `ValueError` for a file that is no leaderboard."""
    try:
        with file.open(encoding="utf-8", newline="") as stream:
            reader = csv.DictReader(stream, strict=True)
            rows = list(reader)
        whole = all(None not in row and None not in row.values() for row in rows)
        if tuple(reader.fieldnames or ()) == COLUMNS and whole:
            for row in rows:
                _accuracy(row), _shares(row)
            return rows
    except (csv.Error, ValueError):
        pass
    raise ValueError(f"{file} is no leaderboard; allowed: a CSV file with {', '.join(COLUMNS)}")


def _accuracy(row: Row) -> float:
    return float(row["accuracy"] or LAST)


def _shares(row: Row) -> Float[Tensor, " prompts"]:
    """The share of right images of every prompt."""
    return Point(row["right_images"].removeprefix(NO_NUMBER), {}).shares


def _behind(row: Row, first: Row) -> str:
    """How much less accurate it is than the first, on the same prompts, with its 95 % interval."""
    if row is first:
        return ""
    differences = _shares(first) - _shares(row)
    error = float(differences.std() / len(differences) ** 0.5)
    value, low, high = Estimate.of_mean(float(differences.mean()), error)
    return f"{value:.4f} ({low:.4f} to {high:.4f})"


def _cells(found: TaskScore) -> dict[str, Any]:
    accuracy = found.both.accuracy
    numbers = {"accuracy": accuracy.value, "low": accuracy.low, "high": accuracy.high}
    numbers |= {
        "seen": found.by_composition["seen"].accuracy.value,
        "never_seen": found.by_composition["held_out"].accuracy.value,
    }
    rounded = {name: f"{value:.4f}" for name, value in numbers.items()}
    diversity = "" if found.diversity is None else f"{found.diversity.value:.2f}"
    told = {"diversity": diversity, "evaluations": str(found.evaluations)}
    return {**rounded, **told, "right_images": NO_NUMBER + found.both.right_images}

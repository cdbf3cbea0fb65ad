"""The leaderboard: a CSV file with a row for each submission, the most accurate first."""

import csv
import hashlib
import io
from pathlib import Path
from typing import Any

from vqlearn.challenge.task import PUBLIC, TaskScore
from vqlearn.course.plain_text import no_formula
from vqlearn.probability.checks import shown
from vqlearn.storage import write_text

COLUMNS = (
    *("rank", "name", "accuracy", "low", "high", "seen", "never_seen", "diversity"),
    *("evaluations", "note", "prompts"),
)
LAST = -1.0  # in the place of an accuracy that there is not

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
        self._write()
        return row

    def _write(self) -> None:
        text = io.StringIO()
        writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.rows)
        write_text(self.file, text.getvalue())


def prompts_of(word: str) -> str:
    """What is said of the prompts of a word: it is kept secret."""
    if word == PUBLIC:
        return PUBLIC
    return f"held back {hashlib.sha256(word.encode()).hexdigest()[:8]}"


def _read(file: Path) -> list[Row]:
    """Raises `ValueError` for a file that is no leaderboard."""
    try:
        with file.open(encoding="utf-8", newline="") as stream:
            reader = csv.DictReader(stream, strict=True)
            rows = list(reader)
        whole = all(None not in row and None not in row.values() for row in rows)
        if tuple(reader.fieldnames or ()) == COLUMNS and whole:
            for row in rows:
                _accuracy(row)
            return rows
    except (csv.Error, ValueError):
        pass
    raise ValueError(f"{file} is no leaderboard; allowed: a CSV file with {', '.join(COLUMNS)}")


def _accuracy(row: Row) -> float:
    return float(row["accuracy"] or LAST)


def _cells(found: TaskScore) -> dict[str, Any]:
    accuracy = found.both.accuracy
    numbers = {"accuracy": accuracy.value, "low": accuracy.low, "high": accuracy.high}
    numbers |= {
        "seen": found.by_composition["seen"].accuracy.value,
        "never_seen": found.by_composition["held_out"].accuracy.value,
    }
    rounded = {name: f"{value:.4f}" for name, value in numbers.items()}
    diversity = "" if found.diversity is None else f"{found.diversity.value:.2f}"
    return rounded | {"diversity": diversity, "evaluations": str(found.evaluations)}

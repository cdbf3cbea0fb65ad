"""Reading small files: texts and JSON of which nothing is known yet.

Whatever a file holds, the only error is a `CheckpointError` that names it.
"""

import json
import math
from pathlib import Path
from typing import Any

from vqlearn.checkpoints.layout import CheckpointError
from vqlearn.probability.checks import shown

LARGEST_TEXT = 64 * 2**20  # bytes; the vocabulary of the released models has 4 MB
POINTER = b"version https://git-lfs.github.com/spec/"


def check_file(file: Path) -> None:
    """Raise `CheckpointError` unless there is a file, and it is not what git-lfs left in its place.

    A folder and a link to nothing are no files.
    """
    if not file.is_file():
        raise CheckpointError(f"there is no file {str(file)!r}")
    if _head(file, len(POINTER)) == POINTER:
        raise CheckpointError(f"{file} is a git-lfs pointer, not the file itself: run git lfs pull")


def read_text(file: Path) -> str:
    """The text of a file of at most 64 MB in UTF-8."""
    check_file(file)
    content = _head(file, LARGEST_TEXT + 1)
    if len(content) > LARGEST_TEXT:
        raise CheckpointError(f"{file} has {file.stat().st_size} bytes; allowed: {LARGEST_TEXT}")
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise CheckpointError(f"{file} is damaged, it is not UTF-8: {error}") from error


def read_json(file: Path) -> dict[str, Any]:
    """The object in a JSON file. NaN and infinity, which JSON does not know, are refused."""
    text = read_text(file)
    try:
        values = json.loads(text, parse_constant=_refuse, parse_float=_finite)
    except RecursionError as error:
        raise CheckpointError(f"{file} is nested too deep; allowed: a few levels") from error
    except ValueError as error:  # JSONDecodeError, and integers of thousands of digits
        raise CheckpointError(f"{file} is damaged, it is not JSON: {error}") from error
    if not isinstance(values, dict):
        raise CheckpointError(f"{file} holds a {type(values).__name__}; allowed: an object")
    return values


def _head(file: Path, count: int) -> bytes:
    try:
        with file.open("rb") as stream:
            return stream.read(count)
    except OSError as error:
        raise CheckpointError(f"{file} cannot be read: {error.strerror}") from error


def _refuse(constant: str) -> float:
    raise ValueError(f"it holds {constant}")


def _finite(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise ValueError(f"it holds the number {shown(digits)}")
    return number

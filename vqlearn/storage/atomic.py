"""Write a file so that it is whole or not there: beside its place first, then in it.

A kill, a full disk or an error in the middle leaves what was there before. So a file that marks a
result as finished cannot be there half.
"""

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

UNFINISHED = ".part-"


@contextmanager
def atomic_write(file: Path) -> Iterator[Path]:
    """The path to write to, beside `file`; at the end of the block it takes the place of `file`.

    Its suffix is that of `file`; the folder is made. If the block raises, `file` stays as it was
    and what was begun is deleted. Raises `OSError` as writing does.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_name(f"{UNFINISHED}{file.name}")
    try:
        yield part
        with part.open("rb+") as stream:
            os.fsync(stream.fileno())  # on the disk before it has its name
        part.replace(file)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def write_text(file: Path, text: str) -> None:
    """Write a text in UTF-8, atomically."""
    with atomic_write(file) as part:
        part.write_text(text, encoding="utf-8")


def write_json(file: Path, values: Mapping[str, Any]) -> None:
    """Write an object as JSON with sorted keys, atomically."""
    write_text(file, json.dumps(values, indent=2, sort_keys=True) + "\n")

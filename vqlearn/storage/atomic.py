"""Write a file or a folder so that it is whole or not there: beside its place first, then in it.

A kill, a full disk or an error in the middle leaves what was there before. So a file that marks a
result as finished cannot be there half.
"""

import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

UNFINISHED = ".part-"


@contextmanager
def atomic_write(file: Path) -> Iterator[Path]:
    """The path to write to, beside `file`; at the end of the block it takes the place of `file`.

    Its suffix is that of `file`; the folder is made. If the block raises, `file` stays as it was
    and what was begun is deleted. Raises `OSError` that names the file.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_name(f"{UNFINISHED}{file.name}")
    try:
        with disk_errors(file):
            yield part
            _to_disk(part)  # before it has its name
            part.replace(file)
            _names_to_disk(file.parent)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


@contextmanager
def atomic_folder(folder: Path) -> Iterator[Path]:
    """An empty folder to fill, beside `folder`; at the end of the block it takes its place.

    What stood there goes just before. If the block raises, it stays, and what was begun is deleted.
    """
    part = folder.with_name(f"{UNFINISHED}{folder.name}")
    shutil.rmtree(part, ignore_errors=True)
    try:
        part.mkdir(parents=True)
        yield part
        for path in part.rglob("*"):
            if path.is_file():
                _to_disk(path)
        shutil.rmtree(folder, ignore_errors=True)
        part.rename(folder)
        _names_to_disk(folder.parent)
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise


def write_text(file: Path, text: str) -> None:
    """Write a text in UTF-8, atomically."""
    with atomic_write(file) as part:
        part.write_text(text, encoding="utf-8")


def write_json(file: Path, values: Mapping[str, Any]) -> None:
    """Write an object as JSON with sorted keys, atomically."""
    write_text(file, json.dumps(values, indent=2, sort_keys=True) + "\n")


@contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Raise `OSError` that names `path` for an error of the disk that names no file.

    A library in Rust has its own error for the disk; writing to an open file names none.
    """
    try:
        yield
    except Exception as error:
        if isinstance(error, OSError):
            number = error.errno if error.filename is None else None
        else:
            code = re.search(r"\(os error (\d+)\)", str(error))
            number = code and int(code[1])
        if number is None:
            raise
        raise OSError(number, os.strerror(number), str(path)) from error


def _to_disk(file: Path) -> None:
    """Wait until what was written to a file is on the disk."""
    with file.open("rb+") as stream:
        os.fsync(stream.fileno())


def _names_to_disk(folder: Path) -> None:
    """Wait until the names in a folder are on the disk, where a system can be asked to."""
    if hasattr(os, "O_DIRECTORY"):
        number = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(number)
        finally:
            os.close(number)

"""Where paths come in: `~` is the home folder, and outputs are tried before the work begins."""

import errno
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryFile

Pathlike = str | os.PathLike[str]


def as_path(name: str, value: Pathlike) -> Path:
    """A path that a user gave, with `~` expanded.

    Raises `TypeError` or `ValueError`, naming the argument, for what is no path.
    """
    if not isinstance(value, str | os.PathLike):
        raise TypeError(f"{name} is {value!r}; allowed: a path")
    if not os.fspath(value) or "\0" in os.fspath(value):
        raise ValueError(f"{name} is {os.fspath(value)!r}; allowed: the path of a file or folder")
    try:
        return Path(value).expanduser()
    except RuntimeError as error:
        raise ValueError(f"{name} is {str(value)!r}; allowed: the home of a known user") from error


def as_paths(name: str, value: Pathlike | Sequence[Pathlike]) -> list[Path]:
    """One path that a user gave, or several in a list, as `as_path` reads them."""
    several = value if isinstance(value, list | tuple) else [value]
    return [as_path(name, path) for path in several]


def as_input(name: str, value: Pathlike) -> Path:
    """The same of a file or folder to read; `FileNotFoundError`, naming the argument, if none."""
    path = as_path(name, value)
    if not path.exists():
        raise FileNotFoundError(
            f"{name} is {str(path)!r}; allowed: a file or a folder that is there"
        )
    return path


def check_output_file(name: str, file: Path) -> None:
    """Raise `OSError`, naming the argument, unless a file can be written there; make its folder."""
    if file.is_dir():
        raise IsADirectoryError(f"{name} is {str(file)!r}, a folder; allowed: a file")
    check_output_folder(name, file.parent)
    if file.exists() and not os.access(file, os.W_OK):
        raise PermissionError(f"{name} is {str(file)!r}, write-protected; allowed: a writable file")


def check_output_folder(name: str, folder: Path) -> None:
    """Raise `OSError`, naming the argument, unless files can be made in this folder; make it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=folder):
            pass
    except OSError as error:
        reason = error.strerror or error
        raise type(error)(
            f"{name}: {str(folder)!r} cannot be written to ({reason}); allowed: a writable folder"
        ) from error


def check_room(folder: Path, needed: int, what: str) -> None:
    """Raise `OSError` if fewer bytes are free where this folder lies; `what` is done with them."""
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise OSError(
            errno.ENOSPC, f"{needed:,} bytes are to be {what}, and {free:,} are free", str(folder)
        )

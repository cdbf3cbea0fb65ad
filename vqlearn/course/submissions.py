"""What students handed in: files in a folder, read without trusting anything in them."""

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

KINDS = (".ipynb", ".py")
NOT_SUBMITTED = "source"  # the folder with solutions, beside the notebooks of the students
LARGEST_FILE = 20 << 20  # bytes
LONGEST_CODE = 100_000  # characters
NO_FILE = "no .ipynb or .py file is in its folder"
NOT_A_NOTEBOOK = "it is no notebook (not JSON with a list of cells)"


@dataclass(frozen=True)
class Cell:
    """The code of one cell, or of a whole file; a locked cell is not the student's."""

    name: str
    text: str
    locked: bool = False
    grade_id: str = ""


@dataclass(frozen=True)
class Submission:
    """One file of a student; `note` says why nothing of it could be read."""

    id: str
    file: str  # its path in the folder of submissions
    digest: str  # of its content
    cells: tuple[Cell, ...] = ()
    note: str = ""


def find_submissions(folder: Path) -> list[Submission]:
    """All submissions: each .ipynb and .py file in a folder, or in a student's folder below it.

    A student's folder without such files may have them one folder further down, as nbgrader lays
    them out; one without any is a submission with a note, as is what cannot be read. A submission
    has the name of the student's folder, or of its file where there is none, or both where a
    student has several; and its whole path where two would have the same. Hidden files and folders,
    `__pycache__`, and folders `source`, are left out.
    """
    files = _files(folder)
    for student in _folders(folder):
        files += _files(student) or [file for below in _folders(student) for file in _files(below)]
    paths = [path.relative_to(folder).as_posix() for path in files]
    found = zip(files, paths, _names([path.relative_to(folder) for path in files]), strict=True)
    read = [_read(file, _shown(path), _shown(name)) for file, path, name in found]
    there = {path.split("/")[0] for path in paths}
    missing = [_shown(student.name) for student in _folders(folder) if student.name not in there]
    taken = {one.id for one in read}
    names = [f"{name}/" if name in taken else name for name in missing]
    return read + [Submission(name, name, _digest(b"", NO_FILE), note=NO_FILE) for name in names]


def read_submission(file: Path) -> Submission:
    """One file, whatever its name ends in; one that cannot be read is a submission with a note."""
    name = _shown(file.stem)
    return _read(file, _shown(file.name), name)


def _visible(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if not path.name.startswith((".", "__")))


def _folders(folder: Path) -> list[Path]:
    return [
        path
        for path in _visible(folder)
        if path.is_dir() and not path.is_symlink() and path.name != NOT_SUBMITTED
    ]


def _files(folder: Path) -> list[Path]:
    return [path for path in _visible(folder) if _is_submission(path)]


def _is_submission(path: Path) -> bool:
    """A link counts, and is refused later: the student should be told."""
    return path.suffix.lower() in KINDS and (path.is_file() or path.is_symlink())


def _names(files: Sequence[Path]) -> list[str]:
    """A name for each file, no two alike."""
    of_student = Counter(file.parts[0] for file in files if len(file.parts) > 1)
    names = [
        file.stem
        if len(file.parts) == 1
        else file.parts[0]
        if of_student[file.parts[0]] == 1
        else f"{file.parts[0]}/{file.stem}"
        for file in files
    ]
    for _ in range(2):  # a whole path may be the name of another one
        count = Counter(names)
        names = [
            name if count[name] == 1 else file.as_posix()
            for name, file in zip(names, files, strict=True)
        ]
    return names


def _shown(name: str) -> str:
    """A name that can be printed and written, whatever the file is called."""
    return "".join(one if one.isprintable() else f"\\x{ord(one):02x}" for one in name)


def _read(file: Path, path: str, name: str) -> Submission:
    data = b""
    try:
        data = _content(file)
        cells = tuple(_cells(file, data))
        length = sum(len(cell.text) for cell in cells)
        if length > LONGEST_CODE:
            raise ValueError(f"it has {length} characters of code; allowed: {LONGEST_CODE}")
    except ValueError as error:
        return Submission(name, path, _digest(data, str(error)), note=str(error))
    return Submission(name, path, _digest(data), cells)


def _content(file: Path) -> bytes:
    """The bytes of a file. Raises `ValueError` for what should not be read."""
    if file.is_symlink():
        raise ValueError("it is a link to another file")
    try:
        if file.stat().st_size > LARGEST_FILE:
            size = LARGEST_FILE >> 20
            raise ValueError(
                f"it is larger than {size} MiB (a notebook without its outputs is not)"
            )
        return file.read_bytes()
    except OSError as error:
        raise ValueError(f"it cannot be read: {error.strerror}") from error


def _digest(data: bytes, note: str = "") -> str:
    return hashlib.sha256(data + note.encode()).hexdigest()


def _cells(file: Path, data: bytes) -> Iterator[Cell]:
    """The code in a file. Raises `ValueError` for what is neither a notebook nor text."""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError("it is not text in UTF-8") from error
    if file.suffix.lower() == ".py":
        yield Cell("the file", text)
        return
    try:
        cells = json.loads(text)["cells"]
    except (ValueError, LookupError, TypeError, RecursionError) as error:
        raise ValueError(NOT_A_NOTEBOOK) from error
    if not isinstance(cells, list):
        raise ValueError(NOT_A_NOTEBOOK)
    for number, cell in enumerate(cells, start=1):
        if isinstance(cell, dict) and cell.get("cell_type") == "code":
            yield _code_cell(number, cell)


def _code_cell(number: int, cell: dict[str, Any]) -> Cell:
    """What a cell says of itself, as far as it has the form that nbgrader gave it."""
    source = cell.get("source")
    lines = source if isinstance(source, list) else [source]
    text = "".join(line for line in lines if isinstance(line, str))
    metadata = cell.get("metadata")
    nbgrader = metadata.get("nbgrader") if isinstance(metadata, dict) else None
    if not isinstance(nbgrader, dict):
        nbgrader = {}
    grade_id = nbgrader.get("grade_id")
    locked = nbgrader.get("locked") is True and nbgrader.get("solution") is not True
    return Cell(f"cell {number}", text, locked, grade_id if isinstance(grade_id, str) else "")

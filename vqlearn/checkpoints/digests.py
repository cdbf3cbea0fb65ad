"""The SHA-256 of every file of a checkpoint, in the format of `sha256sum`: written and compared.

cd runs/mine && sha256sum --check SHA256SUMS
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path

from vqlearn.checkpoints.layout import CheckpointError

SUMS_FILE = "SHA256SUMS"


def write_digests(folder: Path, parts: Sequence[str]) -> None:
    """Write the digests of all files in these parts (files and folders) of a checkpoint."""
    lines = [f"{digest}  {name}\n" for name, digest in file_digests(folder, parts).items()]
    (folder / SUMS_FILE).write_text("".join(lines), encoding="utf-8")


def file_digests(folder: Path, parts: Sequence[str]) -> dict[str, str]:
    """The SHA-256 of every file in these parts, by its name relative to the folder."""
    return {name: _digest(folder / name) for name in _files(folder, parts)}


def check_digests(folder: Path, parts: Sequence[str]) -> None:
    """Compare every file with its digest. A folder without `SHA256SUMS` passes.

    Raises `CheckpointError` that names the file: it is missing, is not listed, lies outside the
    folder, or its bytes differ. Cost: about 1 s a GB.
    """
    sums = folder / SUMS_FILE
    if not sums.is_file():
        return
    listed = {}
    for line in sums.read_text(encoding="utf-8").splitlines():
        digest, separator, name = line.partition("  ")
        outside = Path(name).is_absolute() or ".." in Path(name).parts
        if len(digest) != 64 or not separator or outside:
            raise CheckpointError(
                f"{sums} holds the line {line!r}; "
                "allowed: a SHA-256, two spaces, the name of a file in the folder"
            )
        listed[name] = digest
    for name in _files(folder, parts):
        if name not in listed:
            raise CheckpointError(f"{folder / name} is not listed in {sums}; allowed: listed files")
    for name, expected in listed.items():
        if not (folder / name).is_file():
            raise CheckpointError(f"there is no file {str(folder / name)!r}, but {sums} lists it")
        seen = _digest(folder / name)
        if seen != expected:
            raise CheckpointError(
                f"{folder / name} was changed: its SHA-256 is {seen}; allowed: {expected}"
            )


def _files(folder: Path, parts: Sequence[str]) -> list[str]:
    """The names of all files in these parts, relative to the folder, sorted."""
    paths = [path for part in parts for path in (folder / part, *(folder / part).rglob("*"))]
    return sorted(path.relative_to(folder).as_posix() for path in paths if path.is_file())


def _digest(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()

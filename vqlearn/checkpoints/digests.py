"""The SHA-256 of every file of a checkpoint, in the format of `sha256sum`: written and compared.

    cd runs/mine && sha256sum --check SHA256SUMS

Only files that a loader may read have one: what a file browser or an editor leaves there does not
matter.
"""

import os
from collections.abc import Sequence
from pathlib import Path

from vqlearn.checkpoints.layout import CheckpointError, is_read
from vqlearn.checkpoints.reading import check_file, read_text
from vqlearn.probability.checks import shown
from vqlearn.storage import sha256, write_text

SUMS_FILE = "SHA256SUMS"


def files_read(folder: Path, parts: Sequence[str]) -> list[str]:
    """The names of the files in these parts (files and folders) that a loader may read, sorted."""
    paths = [path for part in parts for path in (folder / part, *(folder / part).glob("*"))]
    found = [path for path in paths if path.is_file() and is_read(path.name)]
    return sorted(path.relative_to(folder).as_posix() for path in found)


def write_digests(folder: Path, parts: Sequence[str]) -> None:
    """Write the digests of the files in these parts of a checkpoint.

    Raises `CheckpointError` for a link that leads outside the folder.
    """
    for name in files_read(folder, parts):
        _check_inside(folder, name)
    lines = [f"{digest}  {name}\n" for name, digest in file_digests(folder, parts).items()]
    write_text(folder / SUMS_FILE, "".join(lines))


def forget_digests(folder: Path) -> None:
    """Take the list away before a file changes: without it a checkpoint counts as unfinished."""
    (folder / SUMS_FILE).unlink(missing_ok=True)


def file_digests(folder: Path, parts: Sequence[str]) -> dict[str, str]:
    """The SHA-256 of the files in these parts, by name; of links that lead outside there is none.

    The files of the hub's cache are such links, but to a folder of its own: they count as inside.
    """
    names = [name for name in files_read(folder, parts) if _is_inside(folder, name)]
    return {name: sha256(folder / name) for name in names}


def check_digests(folder: Path, parts: Sequence[str]) -> None:
    """Compare every file with its digest. A folder without `SHA256SUMS` passes.

    Raises `CheckpointError` that names the file: it is missing, is not listed, lies outside the
    folder, or its bytes differ. Cost: about 1 s a GB.
    """
    sums = folder / SUMS_FILE
    if not os.path.lexists(sums):
        return
    listed = _listed(sums)
    for name in files_read(folder, parts):
        if name not in listed:
            raise CheckpointError(f"{folder / name} is not listed in {sums}; allowed: listed files")
    for name, expected in listed.items():
        if not (folder / name).is_file():
            raise CheckpointError(f"there is no file {str(folder / name)!r}, but {sums} lists it")
        _check_inside(folder, name)
        seen = sha256(folder / name)
        if seen != expected:
            check_file(folder / name)
            raise CheckpointError(
                f"{folder / name} was changed: its SHA-256 is {seen}; allowed: {expected}"
            )


def _listed(sums: Path) -> dict[str, str]:
    """The digests in a list, by name."""
    listed = {}
    for line in read_text(sums).splitlines():
        digest, separator, name = line.partition("  ")
        outside = Path(name).is_absolute() or ".." in Path(name).parts
        if len(digest) != 64 or not separator or not name or outside or "\0" in name:
            raise CheckpointError(
                f"{sums} holds the line {shown(line)}; "
                "allowed: a SHA-256, two spaces, the name of a file in the folder"
            )
        listed[name] = digest
    return listed


def _is_inside(folder: Path, name: str) -> bool:
    """Does this file lie in the folder once links are followed, or in the hub's cache beside it?"""
    homes = [folder.resolve()]
    if folder.parent.name == "snapshots":
        homes.append(folder.resolve().parent.parent / "blobs")
    return any((folder / name).resolve().is_relative_to(home) for home in homes)


def _check_inside(folder: Path, name: str) -> None:
    if not _is_inside(folder, name):
        raise CheckpointError(
            f"{folder / name} is a link that leads outside {folder}; "
            "allowed: the name of a file in the folder"
        )

"""Writing several files as one: all are written beside their places before the first is moved."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from vqlearn.storage import atomic_write, disk_errors

BEGUN = ".part-new"


@contextmanager
def replaced(
    folder: Path, forget: Callable[[Path], object], markers: tuple[str, ...]
) -> Iterator[Path]:
    """A new folder to write to; at the end its files take the place of those in `folder`.

    `forget` deletes the old files. `markers` are the names of files that say that a folder is
    whole: the old ones go first, the new ones come last. A kill or an error leaves the old files,
    or a folder without markers, or the new files; after an error, no folder that was not there
    before, unless it holds anything. Raises `OSError` as writing does.
    """
    is_new, begun = not folder.exists(), folder / BEGUN
    shutil.rmtree(begun, ignore_errors=True)  # of a save that was killed
    begun.mkdir(parents=True)
    try:
        with disk_errors(folder):
            yield begun
        for name in reversed(markers):
            (folder / name).unlink(missing_ok=True)
        forget(folder)
        new = [path.relative_to(begun).as_posix() for path in begun.rglob("*") if path.is_file()]
        for name in [*sorted(set(new) - set(markers)), *(m for m in markers if m in new)]:
            with atomic_write(folder / name) as part:
                (begun / name).replace(part)
    finally:
        shutil.rmtree(begun, ignore_errors=True)
        if is_new:
            with suppress(OSError):  # what is not empty stays
                folder.rmdir()

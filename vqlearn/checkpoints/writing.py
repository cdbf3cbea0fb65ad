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
    or `BEGUN` and no markers, or the new files; an error in the `with` block leaves the old files,
    and no folder that was not there before. Raises `OSError` as writing does.
    """
    begun, missing = folder / BEGUN, [p for p in (folder, *folder.parents) if not p.exists()]
    shutil.rmtree(begun, ignore_errors=True)  # of a save that was killed
    begun.mkdir(parents=True)
    try:
        with disk_errors(folder):
            yield begun
    except BaseException:
        shutil.rmtree(begun, ignore_errors=True)
        with suppress(OSError):  # what is not empty stays
            for path in missing:
                path.rmdir()
        raise
    with disk_errors(folder):
        for name in reversed(markers):
            (folder / name).unlink(missing_ok=True)
        forget(folder)
        new = [path.relative_to(begun).as_posix() for path in begun.rglob("*") if path.is_file()]
        for name in [*sorted(set(new) - set(markers)), *(m for m in markers if m in new)]:
            with atomic_write(folder / name) as part:
                (begun / name).replace(part)
    shutil.rmtree(begun, ignore_errors=True)

"""All files of a released model in one folder, each whole, and what is known of each.

No list of their digests was published. So the first download writes down what it got, and every
later one must get the same: `download.json` beside the files, which stays when they are deleted.
"""

import logging
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Protocol

from filelock import FileLock, Timeout
from tqdm.auto import tqdm

from vqlearn.checkpoints import writing
from vqlearn.checkpoints.layout import CheckpointError, naming
from vqlearn.checkpoints.reading import read_json
from vqlearn.released.catalogue import Released, RemoteFile
from vqlearn.released.fetching import Remote, ask, fetch_rest, open_client, size_of
from vqlearn.storage import atomic_folder, check_room, sha256, write_json

logger = logging.getLogger("vqlearn")

RECORD = "download.json"
LOCK = ".lock"
BEGUN = ".part"
"""The ending of a file that is not whole."""


class Convert(Protocol):
    """How `released.convert` is called."""

    def __call__(
        self, files: Sequence[Path], out: Path, *, used_codes: Path | None, tokenizer: Path | None
    ) -> None: ...


@dataclass(frozen=True)
class Known:
    """What is known of a file: what its server said when it was begun, and what was downloaded.

    `sha256` is that of the first download; "": there has been none.
    """

    size: int
    version: str
    sha256: str = ""


class Files:
    """The files of a model in one folder: each has its own name once it is whole."""

    def __init__(self, folder: Path) -> None:
        """Raises `CheckpointError` if the record in the folder is damaged."""
        self.folder, self.record = folder, folder / RECORD
        self.known: dict[str, Known] = {}
        if self.record.exists():
            entries = read_json(self.record)
            with naming(self.record, TypeError):
                self.known = {name: Known(**entry) for name, entry in entries.items()}

    def whole(self, file: RemoteFile) -> Path:
        """Where it lies when it is whole."""
        return self.folder / file.name

    def begun(self, file: RemoteFile) -> Path:
        """Where it lies until then."""
        return self.folder / (file.name + BEGUN)

    def is_whole(self, file: RemoteFile) -> bool:
        """Is it there as it was downloaded first? A warning tells of one that is not."""
        path, known = self.whole(file), self.known.get(file.name)
        if known is None or not known.sha256 or not path.exists():
            return False
        is_same = path.stat().st_size == known.size and sha256(path) == known.sha256
        if not is_same:
            logger.warning("%s is damaged: it is fetched anew", path)
        return is_same

    def begin(self, file: RemoteFile, remote: Remote) -> None:
        """Write down what a server says of a file that is to be fetched.

        The beginning of another state of it goes. A whole file that nothing is known of is taken as
        fetched, if it has the right size. Raises `ValueError` if the first download had another
        size.
        """
        known, begun = self.known.get(file.name, Known(-1, "")), size_of(self.begun(file))
        if known.sha256 and known.size != remote.size:
            raise ValueError(
                f"{file.address} has {remote.size} bytes now, and the first download got "
                f"{known.size}; to take it nevertheless, delete {self.record}"
            )
        if begun and ((known.size, known.version) != remote or begun > remote.size):
            logger.warning("%s is another file on the server now: it is fetched anew", file.name)
            self.begun(file).unlink()
        if known.size < 0 and size_of(self.whole(file)) == remote.size:
            self.whole(file).replace(self.begun(file))
        self._write(file, replace(known, size=remote.size, version=remote.version))

    def finish(self, file: RemoteFile) -> None:
        """Give a fetched file its name. Raises `ValueError` if the first download got another."""
        begun, known = self.begun(file), self.known[file.name]
        found = sha256(begun)
        if known.sha256 not in ("", found):
            raise ValueError(
                f"{file.name} has the SHA-256 {found}, and the first download got {known.sha256}; "
                f"delete {begun} to fetch it again, or {self.record} to take it nevertheless"
            )
        self._write(file, replace(known, sha256=found))
        begun.replace(self.whole(file))

    def _write(self, file: RemoteFile, known: Known) -> None:
        self.known[file.name] = known
        write_json(self.record, {name: asdict(entry) for name, entry in self.known.items()})


def files_folder(out: Path) -> Path:
    """Where the files of a model lie that is converted to the folder `out`."""
    return out.with_name(f"{out.name}-files")


def download(
    model: Released,
    out: Path,
    convert: Convert,
    *,
    delete_parts: bool,
    tell: Callable[[str], object],
) -> None:
    """Fetch what of a released model is not there yet, and convert it to the folder `out`.

    `tell` is given one line with the size of it all before anything is fetched. With `delete_parts`
    the files go once they are converted.

    Raises `FileExistsError` if `out` is there already and holds anything, `BlockingIOError` if
    another download works on it; `OSError` if a server does not give what is needed, or the disk
    has no room for it; `ValueError` for a file that is not what the first download got; otherwise
    what `convert` does.
    """
    out = Path(os.path.realpath(out))
    _check_free(out)
    folder = files_folder(out)
    with _alone_in(folder):
        fetched = _fetched(model, Files(folder), tell)
        parts = [fetched[file] for file in model.files]
        used_codes, tokenizer = map(fetched.get, (model.used_codes_file, model.tokenizer_file))
        with atomic_folder(out) as begun:
            try:
                convert(parts, begun, used_codes=used_codes, tokenizer=tokenizer)
            except CheckpointError as error:  # the first download may have been a damaged one
                raise CheckpointError(f"{error}; to fetch it all again, delete {folder}") from error
            _check_free(out)  # hours later
        if delete_parts:
            for file in fetched.values():
                file.unlink()


def _check_free(out: Path) -> None:
    """Raise `FileExistsError` for what is there, unless it is an empty folder.

    What a conversion that was killed has begun counts as nothing. A new folder takes the place of
    the empty one, so that must not be a whole disk, or the folder in which the command runs.
    """
    if not os.path.lexists(out):
        return
    is_free = out.is_dir() and not out.is_mount() and out != Path.cwd()
    if not is_free or {path.name for path in out.iterdir()} - {writing.BEGUN}:
        raise FileExistsError(
            f"{out} is there already; allowed: another folder with --out, or delete it"
        )


def _fetched(
    model: Released, files: Files, tell: Callable[[str], object]
) -> dict[RemoteFile, Path]:
    """Fetch what is missing; returns all files of a model, and where they are."""
    wanted = [*model.files, *filter(None, [model.used_codes_file, model.tokenizer_file])]
    missing = [file for file in wanted if not files.is_whole(file)]
    with open_client() as client:
        remotes = {file: ask(client, file.address) for file in missing}
        for file, remote in remotes.items():
            files.begin(file, remote)
        whole = sum(size_of(files.whole(file)) for file in wanted if file not in missing)
        there = whole + sum(size_of(files.begun(file)) for file in missing)
        total = whole + sum(remote.size for remote in remotes.values())
        tell(f"{model.name}: {total:,} bytes in {len(wanted)} files, {there:,} of them are there")
        check_room(files.folder, total - there, "fetched")
        bar = {"unit": "B", "unit_scale": True, "disable": not missing}
        with tqdm(desc=model.name, total=total, initial=there, **bar) as progress:
            for file, remote in remotes.items():
                begun = files.begun(file)
                fetch_rest(client, file.address, remote, begun, progress.update)
                files.finish(file)
    return {file: files.whole(file) for file in wanted}


@contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """Keep other downloads out of a folder. The lock is gone with its process, killed or not."""
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / LOCK)
    try:
        lock.acquire(blocking=False)
    except Timeout:
        raise BlockingIOError(
            f"another download works in {folder}; wait until it ends, or choose another --out"
        ) from None
    try:
        yield
    finally:
        lock.release()

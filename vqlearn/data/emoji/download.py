"""One package of the npm registry: fetched, its digest checked, and only then looked into."""

import base64
import hashlib
import shutil
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

TIMEOUT = 60  # seconds without a byte
ROOT = "package/"  # where everything lies in an archive of npm


@dataclass(frozen=True)
class Package:
    """Where one version of a package is, and the digest of its archive as npm writes it."""

    url: str
    integrity: str


TWEMOJI = Package(
    "https://registry.npmjs.org/emoji-datasource-twitter/-/emoji-datasource-twitter-16.0.0.tgz",
    "sha512-7F+uCuHH+7Qnrc15P5tnbvKkg9E6tlzi4MnT2uW1RlN4pLYTza6cP/"
    "dstIfSDMtpjFLWuZewWg8jBbuL2eyELQ==",
)
"""The pictures are those of Twemoji 16.0.1; 62 MB."""


@contextmanager
def fetched(package: Package) -> Iterator[Path]:
    """The archive as a file, for as long as the block lasts.

    Raises `OSError` if it cannot be fetched, `ValueError` if its digest is another one.
    """
    with tempfile.TemporaryDirectory() as folder:
        archive = Path(folder) / "package.tgz"
        try:
            with urlopen(package.url, timeout=TIMEOUT) as source, archive.open("wb") as target:
                shutil.copyfileobj(source, target)
        except URLError as error:
            raise OSError(f"{package.url} cannot be fetched: {error.reason}") from error
        found = integrity(archive)
        if found != package.integrity:
            raise ValueError(
                f"the digest of {package.url} is {found}; allowed: {package.integrity}. "
                "It was cut off, or somebody has changed it"
            )
        yield archive


def integrity(file: Path) -> str:
    """The digest of a file in the words of npm: "sha512-", then base64."""
    with file.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha512").digest()
    return f"sha512-{base64.b64encode(digest).decode()}"


def read_members(archive: Path, prefixes: tuple[str, ...]) -> dict[str, bytes]:
    """What the files of an archive hold whose names begin with one of these, after `ROOT`.

    Links, folders and everything else are not looked at; nothing is written.
    """
    found = {}
    with tarfile.open(archive, "r:gz") as members:
        for member in members:
            name = member.name.removeprefix(ROOT)
            if member.isfile() and name.startswith(prefixes):
                found[name] = members.extractfile(member).read()
    return found

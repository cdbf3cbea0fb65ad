"""The SHA-256 of a file: has one bit of it changed since it was written?"""

import hashlib
from pathlib import Path


def sha256(file: Path) -> str:
    """In hexadecimal digits, as the command `sha256sum` prints it. Cost: about 1 s a GB."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()

"""The tokens of many images in one file of NumPy: `tokens.npz`.

with np.load("tokens.npz") as file:
    file["tokens"]      # (images, rows, columns) int32, each 0 to K - 1
    file["file_names"]  # (images,) text: where each image lay in its folder
    file["num_codes"]   # K
    file["tokenizer"]   # 16 hex digits: which network made the tokens
"""

import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from vqlearn.probability.checks import check_range, shown
from vqlearn.storage import atomic_write

ARRAYS = ("tokens", "file_names", "num_codes", "tokenizer")


@dataclass(frozen=True, eq=False)
class TokenFile:
    """Grids of tokens, the names of their images, the size K of the codebook, and whose tokens.

    Raises `ValueError` unless every token is a code, and every image has a name inside of a folder
    that no other one has.
    """

    tokens: Int[Tensor, "images rows columns"]
    file_names: list[str]
    num_codes: int
    tokenizer: str

    def __post_init__(self) -> None:
        if len(self.tokens) != len(self.file_names):
            raise ValueError(
                f"tokens have the shape {tuple(self.tokens.shape)} and there are "
                f"{len(self.file_names)} names; allowed: (images, rows, columns), a name each"
            )
        if not self.tokens.numel():
            raise ValueError(f"tokens have the shape {tuple(self.tokens.shape)}; allowed: no 0")
        check_range("tokens", self.tokens, 0, self.num_codes - 1)
        for name in self.file_names:
            check_name(name)
        if len(set(self.file_names)) < len(self.file_names):
            raise ValueError("two images have one name; allowed: a name of its own for each")

    def write(self, file: Path) -> None:
        """Write the file, whole or not at all."""
        with atomic_write(file) as part, part.open("wb") as stream:
            np.savez_compressed(
                stream,
                tokens=self.tokens.numpy().astype(np.int32),
                file_names=np.array(self.file_names),
                num_codes=np.int64(self.num_codes),
                tokenizer=np.array(self.tokenizer),
            )

    @classmethod
    def read(cls, file: Path) -> "TokenFile":
        """Raises `OSError` if it cannot be opened, `ValueError` if it is no such file."""
        try:
            with file.open("rb") as stream, zipfile.ZipFile(stream):
                stream.seek(0)
                with np.load(stream, allow_pickle=False) as arrays:
                    found = {name: arrays[name] for name in ARRAYS}
        except (ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
            raise ValueError(_not_allowed(file, error)) from error
        kinds = "".join(found[name].dtype.kind for name in ARRAYS)
        axes = [found[name].ndim for name in ARRAYS]
        if kinds not in ("iUiU", "uUiU") or axes != [3, 1, 0, 0]:
            raise ValueError(_not_allowed(file, f"types {kinds}, axes {axes}"))
        tokens = torch.from_numpy(found["tokens"].astype(np.int64))
        names = found["file_names"].tolist()
        return cls(tokens, names, int(found["num_codes"]), str(found["tokenizer"]))


def check_name(name: str) -> None:
    """Raise `ValueError` for what is no name of a file below a folder, on every system."""
    path = PurePosixPath(name)
    if not path.name or path.is_absolute() or ".." in path.parts or set(name) & set("\0\\:"):
        raise ValueError(
            f"a name is {shown(name)}; allowed: a file below a folder, without backslashes, colons"
        )


def _not_allowed(file: Path, reason: object) -> str:
    return (
        f"{file} is no file of tokens ({reason}); allowed: a .npz file with the arrays "
        f"{', '.join(ARRAYS)}"
    )

"""text8 and CIFAR-10 from files on this machine. Nothing is downloaded.

    text = text8()                      # text.train, text.valid, text.test
    rows = text8_windows(text.train, 32, 256, generator=generator)     # (32, 256), int64
    images = cifar10()                # images.train, (50000, 32, 32, 3), uint8

Both are looked for in the folder named by the environment variable `VQLEARN_DATA`, or else in
`~/.cache/vqlearn/data`. A file that is missing, cut off or something else is named in the error.
"""

import os
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Int, UInt8
from torch import Tensor

from vqlearn.probability.checks import check_integer, check_tokens
from vqlearn.storage import as_path

TEXT8_ALPHABET = " abcdefghijklmnopqrstuvwxyz"
HELD_OUT_SHARE = 20  # one part in 20 to choose by, one to measure on: 5 of 100 million each

CIFAR10_FOLDER = "cifar-10-batches-bin"
CIFAR10_TRAIN = tuple(f"data_batch_{number}.bin" for number in range(1, 6))
CIFAR10_TEST = "test_batch.bin"
CIFAR10_ROW = np.dtype([("label", np.uint8), ("image", np.uint8, (3, 32, 32))])

_TEXT8_FROM = (
    "It is the file 'text8' inside text8.zip of Matt Mahoney's page about text compression: "
    "100,000,000 bytes of English Wikipedia, a to z and spaces"
)
_CIFAR10_FROM = (
    f"It is the folder {CIFAR10_FOLDER!r} inside cifar-10-binary.tar.gz of Alex Krizhevsky's page: "
    f"{', '.join((*CIFAR10_TRAIN, CIFAR10_TEST))}, 30,730,000 bytes each. The 'python version' is "
    "not read: it is pickled, and a pickle may run any program"
)


@dataclass(frozen=True, eq=False)
class Text8:
    """The three parts of text8, as bytes that stay on the disk until they are read."""

    train: UInt8[np.ndarray, " train"]
    valid: UInt8[np.ndarray, " valid"]
    test: UInt8[np.ndarray, " test"]


@dataclass(frozen=True, eq=False)
class Cifar10:
    """Images as bytes, channels last (red, green, blue), and labels 0 to 9."""

    train: UInt8[np.ndarray, "train 32 32 3"]
    train_labels: UInt8[np.ndarray, " train"]
    test: UInt8[np.ndarray, "test 32 32 3"]
    test_labels: UInt8[np.ndarray, " test"]


def data_folder() -> Path:
    """The folder where data files are looked for."""
    return as_path("VQLEARN_DATA", os.environ.get("VQLEARN_DATA") or "~/.cache/vqlearn/data")


def text8(path: str | Path | None = None) -> Text8:
    """The 27 characters of text8 in the usual parts: 90 million, 5 million, 5 million.

    `path` is the file; without it, `text8` in `data_folder()`. Of a shorter file the last
    twentieth is the test part and the twentieth before it the valid part, both rounded down.
    The file is mapped into memory and read once, to see that it is text8.

    Raises FileNotFoundError if there is no such file; ValueError for less than 20 bytes, or for a
    byte that is neither a to z nor a space.
    Source of the parts: Mikolov et al. 2012, "Subword Language Modeling with Neural Networks".
    """
    path = data_folder() / "text8" if path is None else as_path("path", path)
    if not path.is_file():
        raise _missing(path, _TEXT8_FROM)
    size = path.stat().st_size
    if size < HELD_OUT_SHARE:
        raise ValueError(f"{path} has {size} bytes; allowed: {HELD_OUT_SHARE} or more")
    characters = np.memmap(path, dtype=np.uint8, mode="r")
    if wrong := re.search(rb"[^a-z ]", characters):
        raise ValueError(
            f"{path} holds {wrong[0]!r} at byte {wrong.start()}; allowed: a to z and space"
        )
    part = size // HELD_OUT_SHARE
    return Text8(*np.split(characters, [size - 2 * part, size - part]))


def text8_tokens(pieces: UInt8[np.ndarray, "*shape"]) -> Int[Tensor, "*shape"]:
    """Bytes of text8 as tokens: a space is 0, a to z are 1 to 26."""
    return torch.from_numpy(pieces & 31).long()  # ASCII: a space is 32, a to z are 97 to 122


def text8_windows(
    part: UInt8[np.ndarray, " n"], count: int, length: int, *, generator: torch.Generator
) -> Int[Tensor, "count length"]:
    """Random pieces of a part of text8, as tokens; each is drawn with no memory of the others.

    Raises ValueError for count < 1, or a length that is not 1 to that of the part.
    """
    check_integer("count", count, 1)
    if not 1 <= length <= len(part):
        raise ValueError(f"length is {length}; allowed: 1 to {len(part)}")
    starts = torch.randint(len(part) - length + 1, (count,), generator=generator).tolist()
    return text8_tokens(np.stack([part[start : start + length] for start in starts]))


def text8_texts(tokens: Int[Tensor, "b n"]) -> list[str]:
    """What sequences of tokens say. Raises ValueError for a token outside 0 to 26."""
    check_tokens("tokens", tokens, len(TEXT8_ALPHABET))
    return ["".join([TEXT8_ALPHABET[token] for token in row]) for row in tokens.tolist()]


def cifar10(path: str | Path | None = None) -> Cifar10:
    """The images of CIFAR-10, from its binary version; 184 MB once it is read.

    `path` is the folder with the six files; without it, `cifar-10-batches-bin` in
    `data_folder()`. Files with fewer images are read too, if all six have as many.

    Raises FileNotFoundError for a file that is not there; ValueError for one that is cut off or
    holds a label above 9.
    Source: Krizhevsky 2009, "Learning Multiple Layers of Features from Tiny Images".
    """
    folder = data_folder() / CIFAR10_FOLDER if path is None else as_path("path", path)
    files = [folder / name for name in (*CIFAR10_TRAIN, CIFAR10_TEST)]
    for file in files:
        if not file.is_file():
            raise _missing(file, _CIFAR10_FROM)
    parts = [_cifar10_rows(file) for file in files]
    for file, rows in zip(files, parts, strict=True):
        if len(rows) != len(parts[0]):
            raise ValueError(
                f"{file} holds {len(rows)} images; allowed: {len(parts[0])}, as in {files[0].name}"
            )
    train, test = np.concatenate(parts[:-1]), parts[-1]
    images = [rearrange(rows["image"], "b c h w -> b h w c").copy() for rows in (train, test)]
    return Cifar10(images[0], train["label"].copy(), images[1], test["label"].copy())


def _cifar10_rows(file: Path) -> np.ndarray:
    size = file.stat().st_size
    if size == 0 or size % CIFAR10_ROW.itemsize:
        raise ValueError(
            f"{file} has {size} bytes: it was cut off or is something else; "
            f"allowed: a multiple of {CIFAR10_ROW.itemsize}, such as 30730000"
        )
    rows = np.fromfile(file, dtype=CIFAR10_ROW)
    if (rows["label"] > 9).any():
        wrong = (rows["label"] > 9).argmax()
        raise ValueError(
            f"{file} has the label {rows['label'][wrong]} at image {wrong}; allowed: 0 to 9"
        )
    return rows


def _missing(path: Path, origin: str) -> FileNotFoundError:
    """The error that names the file, what lies in its place, and where it comes from."""
    nearest = next(folder for folder in (path, *path.absolute().parents) if folder.is_dir())
    found = sorted(entry.name for entry in nearest.iterdir())[:10]
    return FileNotFoundError(
        f"there is no file {str(path)!r}; the folder {str(nearest)!r} holds {found}. {origin}. "
        "vqlearn downloads nothing: put it there, or pass its path, or set the environment "
        f"variable VQLEARN_DATA (the data folder now is {str(data_folder())!r})"
    )

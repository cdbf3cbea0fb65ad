"""text8 and CIFAR-10 from files on this machine. Nothing is downloaded.

    text = text8()                      # text.train, text.valid, text.test
    rows = text8_windows(text.train, 32, 256, generator=generator)     # (32, 256), int64
    images = cifar10()                # images.train, (50000, 32, 32, 3), uint8

Both are looked for in the folder named by the environment variable `VQLEARN_DATA`, or else in
`~/.cache/vqlearn/data`. A file that is missing, cut off or something else is named in the error.
"""

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Int, UInt8
from torch import Tensor

TEXT8_ALPHABET = " abcdefghijklmnopqrstuvwxyz"
HELD_OUT_SHARE = 20  # one part in 20 to choose by, one to measure on: 5 of 100 million each
CHUNK = 2**22  # bytes looked at together

CIFAR10_FOLDER = "cifar-10-batches-bin"
CIFAR10_TRAIN = tuple(f"data_batch_{number}.bin" for number in range(1, 6))
CIFAR10_TEST = "test_batch.bin"
CIFAR10_ROW = 1 + 3 * 32 * 32  # the label, then 1,024 bytes of red, of green and of blue

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
    """Where are data files looked for? `VQLEARN_DATA`, or else `~/.cache/vqlearn/data`."""
    named = os.environ.get("VQLEARN_DATA")
    return Path(named).expanduser() if named else Path.home() / ".cache" / "vqlearn" / "data"


def text8(path: str | Path | None = None) -> Text8:
    """The 27 characters of text8 in the usual parts: 90 million, 5 million, 5 million.

    `path` is the file; without it, `text8` in `data_folder()`. Of a shorter file the last
    twentieth is the test part and the twentieth before it the valid part, both rounded down.
    The file is mapped into memory and read once, piece by piece, to see that it is text8.

    Raises FileNotFoundError if there is no such file; ValueError for less than 20 bytes, or for a
    byte that is neither a to z nor a space.
    Source of the parts: Mikolov et al. 2012, "Subword Language Modeling with Neural Networks".
    """
    path = data_folder() / "text8" if path is None else Path(path)
    if not path.is_file():
        raise _missing(path, _TEXT8_FROM)
    size = path.stat().st_size
    if size < HELD_OUT_SHARE:
        raise ValueError(f"{path} has {size} bytes; allowed: {HELD_OUT_SHARE} or more")
    characters = np.memmap(path, dtype=np.uint8, mode="r")
    _check_text8(path, characters)
    part = size // HELD_OUT_SHARE
    train, valid, test = np.split(characters, [size - 2 * part, size - part])
    return Text8(train, valid, test)


def text8_tokens(pieces: UInt8[np.ndarray, "*shape"]) -> Int[Tensor, "*shape"]:
    """Bytes of text8 as tokens: a space is 0, a to z are 1 to 26."""
    return torch.from_numpy(_TOKEN_OF[pieces]).long()


def text8_windows(
    part: UInt8[np.ndarray, " n"], count: int, length: int, *, generator: torch.Generator
) -> Int[Tensor, "count length"]:
    """Random pieces of a part of text8, as tokens; each is drawn with no memory of the others.

    Raises ValueError for count < 1, or a length that is not 1 to that of the part.
    """
    if count < 1:
        raise ValueError(f"count is {count}; allowed: 1 or more")
    if not 1 <= length <= len(part):
        raise ValueError(f"length is {length}; allowed: 1 to {len(part)}")
    starts = torch.randint(len(part) - length + 1, (count,), generator=generator).tolist()
    return text8_tokens(np.stack([part[start : start + length] for start in starts]))


def text8_texts(tokens: Int[Tensor, "b n"]) -> list[str]:
    """What do rows of tokens say? Raises ValueError for a token outside 0 to 26."""
    if tokens.numel() and not (tokens.min() >= 0 and tokens.max() < len(TEXT8_ALPHABET)):
        raise ValueError(
            f"the tokens are {tokens.min().item()} to {tokens.max().item()}; allowed: 0 to 26"
        )
    return ["".join([TEXT8_ALPHABET[token] for token in row]) for row in tokens.tolist()]


def cifar10(path: str | Path | None = None) -> Cifar10:
    """The images of CIFAR-10, from its binary version; 184 MB once it is read.

    `path` is the folder with the six files; without it, `cifar-10-batches-bin` in
    `data_folder()`. Files with fewer images are read too, if all six have as many.

    Raises FileNotFoundError for a file that is not there; ValueError for one that is cut off or
    holds a label above 9.
    Source: Krizhevsky 2009, "Learning Multiple Layers of Features from Tiny Images".
    """
    folder = data_folder() / CIFAR10_FOLDER if path is None else Path(path)
    files = [folder / name for name in (*CIFAR10_TRAIN, CIFAR10_TEST)]
    for file in files:
        if not file.is_file():
            raise _missing(file, _CIFAR10_FROM)
    parts = [_cifar10_file(file) for file in files]
    for file, (pictures, _) in zip(files, parts, strict=True):
        if len(pictures) != len(parts[0][0]):
            raise ValueError(
                f"{file} holds {len(pictures)} pictures; "
                f"allowed: {len(parts[0][0])}, as in {files[0].name}"
            )
    *train, (test, test_labels) = parts
    pictures, labels = (np.concatenate(arrays) for arrays in zip(*train, strict=True))
    return Cifar10(pictures, labels, test, test_labels)


def _cifar10_file(file: Path) -> tuple[np.ndarray, np.ndarray]:
    """Images (n, 32, 32, 3) and labels (n) of one file."""
    size = file.stat().st_size
    if size == 0 or size % CIFAR10_ROW:
        raise ValueError(
            f"{file} has {size} bytes: it was cut off or is something else; "
            f"allowed: a multiple of {CIFAR10_ROW}, such as 30730000"
        )
    rows = rearrange(np.fromfile(file, dtype=np.uint8), "(b row) -> b row", row=CIFAR10_ROW)
    wrong = np.flatnonzero(rows[:, 0] > 9)
    if len(wrong):
        raise ValueError(
            f"{file} has the label {rows[wrong[0], 0]} at picture {wrong[0]}; allowed: 0 to 9"
        )
    pictures = rearrange(rows[:, 1:], "b (c h w) -> b h w c", c=3, h=32)
    return np.ascontiguousarray(pictures), rows[:, 0].copy()


_NO_TOKEN = 255
_TOKEN_OF = np.full(256, _NO_TOKEN, dtype=np.uint8)
_TOKEN_OF[list(TEXT8_ALPHABET.encode())] = range(len(TEXT8_ALPHABET))


def _check_text8(path: Path, characters: np.ndarray) -> None:
    for start in range(0, len(characters), CHUNK):
        piece = characters[start : start + CHUNK]
        wrong = np.flatnonzero(_TOKEN_OF[piece] == _NO_TOKEN)
        if len(wrong):
            value = bytes([piece[wrong[0]]])
            raise ValueError(
                f"{path} holds {value!r} at byte {start + wrong[0]}; allowed: a to z and space"
            )


def _missing(path: Path, origin: str) -> FileNotFoundError:
    """The error that names the file, what lies in its position, and where it comes from."""
    nearest = next(folder for folder in (path, *path.absolute().parents) if folder.is_dir())
    found = sorted(entry.name for entry in nearest.iterdir())[:10]
    return FileNotFoundError(
        f"there is no file {str(path)!r}; the folder {str(nearest)!r} holds {found}. {origin}. "
        "vqlearn downloads nothing: put it there, or pass its path, or set the environment "
        f"variable VQLEARN_DATA (the data folder now is {str(data_folder())!r})"
    )

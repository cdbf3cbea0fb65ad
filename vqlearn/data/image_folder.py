"""Your own images: a folder with `metadata.jsonl` or `metadata.csv`, as for `imagefolder`.

    my_pictures/
      metadata.jsonl      {"file_name": "cat.jpg", "text": "a cat on a sofa"}   one line an image
      cat.jpg

Everything is read once, at the start. Lines and images that cannot be used are left out; the logger
"vqlearn" names them in warnings, and says how many are used.
"""

import hashlib
import json
import logging
import os
import unicodedata
from collections.abc import Iterator
from pathlib import Path

import psutil
import torch
from jaxtyping import Int, UInt8
from torch import Tensor
from tqdm.auto import tqdm

from vqlearn.data.batches import Batch, Source
from vqlearn.data.image_files import ImageFile, read_image
from vqlearn.data.metadata import ALLOWED_LINE, Entry, find_metadata, name_and_caption, read_entries
from vqlearn.probability.checks import check_integer, shown
from vqlearn.storage import as_path

MOST_NAMED = 10  # lines; the others are counted
LONGEST_REASON = 300  # characters
BAR_AFTER = 2  # seconds; a small folder needs no progress bar

logger = logging.getLogger("vqlearn")


class ImageFolder(Source):
    """Random images of a folder, cut to squares of `image_size` pixels.

    - `images`: all squares, 3 * image_size^2 bytes each (100,000 of 64 x 64 pixels: 1.2 GB), one
      for each file. Workers that load batches share them.
    - `rows`: the image of each usable line. An image may have several lines, with other captions.
    - `digest`: that of the usable lines and the bytes of their images. A copy of the folder has the
      same, a folder with another image or caption has not.

    Raises `FileNotFoundError` if there are no metadata, and `ValueError` if no line leads to an
    image that can be used, or if the squares of all lines do not fit in memory.
    """

    images: UInt8[Tensor, "files 3 size size"]
    rows: Int[Tensor, " lines"]

    def __init__(self, folder: str | Path, image_size: int) -> None:
        check_integer("image_size", image_size, 1)
        folder = as_path("folder", folder)
        self.name, self.image_size = str(folder), image_size
        metadata = find_metadata(folder)
        entries = list(read_entries(metadata))
        _check_memory(len(entries), image_size)
        reader = _Reader(metadata.parent, image_size, len(entries))
        left_out = _warn(metadata, reader.read(entries))
        if not reader.lines:
            raise ValueError(
                f"none of the {len(entries)} lines of {metadata} can be used; "
                f"allowed: one line an image, {ALLOWED_LINE}"
            )
        place = {path: row for row, path in enumerate(reader.files)}
        self.images = reader.squares[: len(place)]
        self.rows = torch.tensor([place[path] for path, _ in reader.lines])
        self._captions = [caption for _, caption in reader.lines]
        self.digest = reader.digest()
        logger.info("%s: %s, %d lines left out", metadata, reader.summary(), left_out)

    def batch(self, count: int, *, generator: torch.Generator) -> Batch:
        """Each line is drawn at random, with no memory of the ones before."""
        return self.numbered(torch.randint(len(self.rows), (count,), generator=generator))

    def numbered(self, lines: Int[Tensor, " b"]) -> Batch:
        """The images and captions of these usable lines, counted from 0."""
        captions = [self._captions[line] for line in lines.tolist()]
        return Batch(self.images[self.rows[lines]] / 255, captions)

    def captions(self) -> list[str]:
        """All of them, once for each usable line."""
        return list(self._captions)


class _Reader:
    """The lines that were found usable so far, and their images, each read once."""

    def __init__(self, folder: Path, size: int, most: int) -> None:
        self.folder, self.size = folder, size
        self.squares = torch.empty(most, 3, size, size, dtype=torch.uint8)
        self.files: dict[Path, ImageFile] = {}
        self.lines: dict[tuple[Path, str], int] = {}  # the number of each

    def read(self, entries: list[Entry]) -> Iterator[str]:
        """Look at every line; those that cannot be used come out, with their numbers."""
        for number, entry in tqdm(entries, "images", unit=" lines", delay=BAR_AFTER):
            try:
                self._add(number, entry)
            except (OSError, ValueError) as error:
                reason = " ".join(str(error).split())[:LONGEST_REASON]
                yield f"line {number} is left out: {reason}"

    def _add(self, number: int, entry: object) -> None:
        name, caption = name_and_caption(entry)
        path = _find(self.folder, name)
        if (path, caption) in self.lines:
            raise ValueError(f"it repeats line {self.lines[path, caption]}")
        if path not in self.files:
            image = self._read_image(path, name)
            self.squares[len(self.files)] = image.pixels
            self.files[path] = image._replace(pixels=self.squares[len(self.files)])
        self.lines[path, caption] = number

    def _read_image(self, path: Path, name: str) -> ImageFile:
        try:
            return read_image(path, self.size)
        except (OSError, ValueError) as error:
            raise ValueError(f"file_name is {shown(name)}; {error}") from error

    def digest(self) -> str:
        """16 hex digits."""
        digest = hashlib.sha256()
        for path, caption in self.lines:
            name = unicodedata.normalize("NFC", path.relative_to(self.folder).as_posix())
            digest.update(json.dumps([name, caption, self.files[path].digest]).encode())
        return digest.hexdigest()[:16]

    def summary(self) -> str:
        """How many images and captions there are, and the smallest image."""
        path, image = min(self.files.items(), key=lambda item: min(item[1].own_size))
        width, height = image.own_size
        captions = len({caption for _, caption in self.lines})
        return (
            f"{len(self.files)} images, {captions} distinct captions; "
            f"the smallest image is {path.name}, {width} x {height} pixels"
        )


def _find(folder: Path, name: str) -> Path:
    """The file of this name: with slashes of either kind, with accents composed or not."""
    for spelling in (name, name.replace("\\", "/")):
        for form in (spelling, *(unicodedata.normalize(form, spelling) for form in ("NFC", "NFD"))):
            path = folder / form
            if os.path.isfile(path):  # False for loops of links and names that no file can have
                if not path.resolve().is_relative_to(folder.resolve()):
                    raise ValueError(f"file_name is {shown(name)}; allowed: a file in the folder")
                return path
    raise ValueError(f"file_name is {shown(name)}; there is no such file in {shown(str(folder))}")


def _warn(metadata: Path, reasons: Iterator[str]) -> int:
    """Name the first lines that cannot be used, and count the others; returns how many."""
    count = 0
    for count, reason in enumerate(reasons, start=1):
        if count <= MOST_NAMED:
            logger.warning("%s %s", metadata, reason)
    if count > MOST_NAMED:
        logger.warning("%s: %d more lines are left out", metadata, count - MOST_NAMED)
    return count


def _check_memory(squares: int, size: int) -> None:
    needed, free = squares * 3 * size**2, psutil.virtual_memory().available
    if needed > free:
        raise ValueError(
            f"image_size is {shown(size)}; allowed: less, {squares} images of it need "
            f"{needed // 2**20} MB of memory, and {free // 2**20} MB are free"
        )

"""Your own images: a folder with `metadata.jsonl` or `metadata.csv`, as for `imagefolder`.

    my_pictures/
      metadata.jsonl      {"file_name": "cat.jpg", "text": "a cat on a sofa"}   one line an image
      cat.jpg

Every sub-folder may have such a file too. Everything is read once, at the start. Lines and images
that cannot be used are left out; the logger "vqlearn" names them in warnings, and says how many are
used.
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
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor
from tqdm.auto import tqdm

from vqlearn.data.batches import Batch, FiniteSource
from vqlearn.data.folder_options import DEFAULT_READING, Reading
from vqlearn.data.image_files import ImageFile, read_image
from vqlearn.data.metadata import (
    Entry,
    allowed_line,
    find_metadata,
    name_and_caption,
    read_entries,
)
from vqlearn.probability.checks import check_integer, check_kind, shown
from vqlearn.storage import as_path

MOST_NAMED = 10  # lines; the others are counted
LONGEST_REASON = 300  # characters
BAR_AFTER = 2  # seconds; a small folder needs no progress bar
LONGEST = {"center": 1, "random": 2}
"""How many squares of an image are kept, side by side, to cut one from."""

logger = logging.getLogger("vqlearn")


class ImageFolder(FiniteSource):
    """Random images of a folder, cut to squares of `image_size` pixels as `reading` says.

    - `images`: one for each file, `image_size` pixels high, upright or, where it is higher than
      wide, lying on its side. They are squares of 3 * image_size^2 bytes each (100,000 of 64 x 64
      pixels: 1.2 GB). With `crop="random"` they are twice as wide, and take twice the memory; of
      an image longer than two squares the ends are left out. Workers that load batches share them.
    - `lengths`: how many columns of each are filled. `lying`: which lie on their side.
    - `rows`: the image of each usable line. An image may have several lines, with other captions.
    - `training`, `held_out`: which lines batches are drawn from, and which ones not.
    - `digest`: that of the usable lines and the bytes of their images. A copy of the folder has the
      same, a folder with another image or caption has not.

    Raises `FileNotFoundError` if there are no metadata, and `ValueError` if no line leads to an
    image that can be used, if all images do not fit in memory, or if all are held out,
    or none though some should.
    """

    images: UInt8[Tensor, "files 3 size width"]
    lengths: Int[Tensor, " files"]
    lying: Bool[Tensor, " files"]
    rows: Int[Tensor, " lines"]
    training: Int[Tensor, " seen"]
    held_out: Int[Tensor, " unseen"]

    def __init__(
        self, folder: str | Path, image_size: int, reading: Reading = DEFAULT_READING
    ) -> None:
        check_integer("image_size", image_size, 1)
        check_kind("reading", reading, Reading)
        folder = as_path("folder", folder)
        self.name, self.image_size, self.reading = str(folder), image_size, reading
        metadata = find_metadata(folder)
        told = metadata[0] if len(metadata) == 1 else folder
        entries = [each for file in metadata for each in read_entries(file, reading.caption_column)]
        most = _most_images(entries)
        _check_memory(most, image_size, LONGEST[reading.crop])
        reader = _Reader(reading, image_size, most)
        left_out = _warn(told, reader.read(entries))
        if not reader.lines:
            raise ValueError(
                f"none of the {len(entries)} lines of {told} can be used; "
                f"allowed: one line an image, {allowed_line(reading.caption_column)}"
            )
        place = {path: row for row, path in enumerate(reader.files)}
        self.images = reader.images[: len(place)]
        sides = [image.pixels.shape[1:] for image in reader.files.values()]  # height and width
        self.lengths = torch.tensor([max(both) for both in sides])
        self.lying = torch.tensor([height > width for height, width in sides])
        self.rows = torch.tensor([place[path] for path, _ in reader.lines])
        self._captions = [caption for _, caption in reader.lines]
        self._places = [str(entry) for entry in reader.lines.values()]
        self.digest = reader.digest()
        self._draws = reader.draws()
        self.training, self.held_out = self.parted(reading.hold_out)
        held_out = len(self.held_out)
        counts = f"{left_out} lines left out" + (f", {held_out} held out" if held_out else "")
        logger.info("%s: %s, %s", told, reader.summary(), counts)

    @property
    def num_images(self) -> int:
        """Each file counts once, however many lines name it."""
        return len(self.images)

    @property
    def varies(self) -> bool:
        """With a random crop, or flips."""
        return self.reading.varies

    def batch(self, count: int, *, generator: torch.Generator) -> Batch:
        """Each line is drawn at random, with no memory of the ones before; so are crop and flip."""
        lines = self.training[torch.randint(len(self.training), (count,), generator=generator)]
        rows, captions = self.rows[lines], [self._captions[line] for line in lines.tolist()]
        starts, mirrored = self._middle(rows), torch.zeros(count, dtype=torch.bool)
        if self.reading.crop == "random":
            possible = self.lengths[rows] - self.image_size + 1
            starts = (torch.rand(count, generator=generator, dtype=torch.float64) * possible).long()
        if self.reading.flip:
            mirrored = torch.rand(count, generator=generator) < 0.5
        return Batch(self._squares(rows, starts, mirrored), captions, rows)

    def numbered(self, lines: Int[Tensor, " b"]) -> Batch:
        """The middle squares and captions of these usable lines, counted from 0; none mirrored."""
        rows = self.rows[lines]
        captions = [self._captions[line] for line in lines.tolist()]
        return Batch(self.numbered_images(rows), captions, rows)

    def numbered_images(self, numbers: Int[Tensor, " b"]) -> Float[Tensor, "b 3 size size"]:
        """The middle squares of these images, counted from 0; none mirrored."""
        never = torch.zeros(len(numbers), dtype=torch.bool)
        return self._squares(numbers, self._middle(numbers), never)

    def captions(self) -> list[str]:
        """All that batches may have, once for each line."""
        return [self._captions[line] for line in self.training.tolist()]

    def place_of(self, caption: str) -> str:
        """The first usable line with this caption, and its file, for messages."""
        return self._places[self._captions.index(caption)]

    def parted(self, share: float) -> tuple[Int[Tensor, " seen"], Int[Tensor, " held_out"]]:
        """The lines to learn from, and those held out, which are about this share.

        Raises `ValueError` if one of both parts would be empty; a share of 0 holds nothing out.
        """
        held_out = self._draws < share
        count = int(held_out.sum())
        if count == len(held_out) or (share > 0 and count == 0):
            raise ValueError(
                f"hold_out is {shown(share)}, which holds out {count} of {len(held_out)} lines; "
                "allowed: a share that holds out some and leaves some"
            )
        lines = torch.arange(len(held_out))
        return lines[~held_out], lines[held_out]

    def _middle(self, rows: Int[Tensor, " b"]) -> Int[Tensor, " b"]:
        return (self.lengths[rows] - self.image_size) // 2

    def _squares(
        self, rows: Int[Tensor, " b"], starts: Int[Tensor, " b"], mirrored: Bool[Tensor, " b"]
    ) -> Float[Tensor, "b 3 size size"]:
        """RGB in 0 to 1; each begins at a column of its image."""
        squares = []
        for row, start, mirror in zip(*(x.tolist() for x in (rows, starts, mirrored)), strict=True):
            square = self.images[row, :, :, start : start + self.image_size]
            square = square.mT if self.lying[row] else square
            squares.append(square.flip(2) if mirror else square)
        return torch.stack(squares) / 255


class _Reader:
    """The lines that were found usable so far, and their images, each read once."""

    def __init__(self, reading: Reading, size: int, most: int) -> None:
        self.reading, self.size, self.longest = reading, size, LONGEST[reading.crop]
        self.images = torch.empty(most, 3, size, size * self.longest, dtype=torch.uint8)
        self.files: dict[Path, ImageFile] = {}
        self.lines: dict[tuple[Path, str], Entry] = {}

    def read(self, entries: list[Entry]) -> Iterator[str]:
        """Look at every line; those that cannot be used come out, with their numbers."""
        for entry in tqdm(entries, "images", unit=" lines", delay=BAR_AFTER):
            try:
                self._add(entry)
            except (OSError, ValueError) as error:
                reason = " ".join(str(error).split())[:LONGEST_REASON]
                yield f"{entry} is left out: {reason}"

    def _add(self, entry: Entry) -> None:
        name, caption = name_and_caption(entry.content, self.reading.caption_column)
        path = _find(entry.file.parent, name)
        if (path, caption) in self.lines:
            before = self.lines[path, caption]
            told = f"line {before.number}" if before.file == entry.file else str(before)
            raise ValueError(f"it repeats {told}")
        if path not in self.files:
            image = self._read_image(path, name)
            self.files[path] = image._replace(pixels=self._keep(image.pixels))
        self.lines[path, caption] = entry

    def _read_image(self, path: Path, name: str) -> ImageFile:
        options = {"background": self.reading.background, "longest": self.longest}
        try:
            return read_image(path, self.size, **options)
        except (OSError, ValueError) as error:
            raise ValueError(f"file_name is {shown(name)}; {error}") from error

    def _keep(self, pixels: UInt8[Tensor, "3 h w"]) -> UInt8[Tensor, "3 h w"]:
        """The same pixels, in the place of the next image."""
        lying = pixels.mT if pixels.shape[1] > pixels.shape[2] else pixels
        place = self.images[len(self.files), :, :, : lying.shape[2]]
        place.copy_(lying)
        return place if lying is pixels else place.mT

    def digest(self) -> str:
        """16 hex digits; the names of images begin at the folder that all lines have in common."""
        folder = os.path.commonpath({entry.file.parent for entry in self.lines.values()})
        digest = hashlib.sha256()
        for path, caption in self.lines:
            name = unicodedata.normalize("NFC", path.relative_to(folder).as_posix())
            digest.update(json.dumps([name, caption, self.files[path].digest]).encode())
        return digest.hexdigest()[:16]

    def draws(self) -> Float[Tensor, " lines"]:
        """For each line a number in 0 to 1 that follows from the bytes of its image."""
        digests = [self.files[path].digest for path, _ in self.lines]
        numbers = [int(digest[:13], 16) / 16**13 for digest in digests]
        return torch.tensor(numbers, dtype=torch.float64)

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


def _warn(told: Path, reasons: Iterator[str]) -> int:
    """Name the first lines that cannot be used, and count the others; returns how many."""
    count = 0
    for count, reason in enumerate(reasons, start=1):
        if count <= MOST_NAMED:
            logger.warning("%s", reason)
    if count > MOST_NAMED:
        logger.warning("%s: %d more lines are left out", told, count - MOST_NAMED)
    return count


def _most_images(entries: list[Entry]) -> int:
    """How many files the lines name; several lines may name the same one."""
    named = [each for each in entries if isinstance(each.content, dict)]
    return len({(each.file.parent, str(each.content.get("file_name"))) for each in named})


def _check_memory(images: int, size: int, longest: int) -> None:
    needed, free = images * 3 * size**2 * longest, psutil.virtual_memory().available
    if needed > free:
        raise ValueError(
            f"image_size is {shown(size)}; allowed: less, {images} images of it need "
            f"{needed // 2**20} MB of memory, and {free // 2**20} MB are free"
        )

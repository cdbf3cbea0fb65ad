"""A file that may have been cut into parts, as `split` cuts it: NAME_aa, NAME_ab, and so on.

It is read and mapped where it lies. Nothing is joined: that would take the file's size once more.
"""

import io
import mmap
import sys
from bisect import bisect_right
from collections.abc import Sequence
from functools import cached_property
from itertools import accumulate, product, zip_longest
from pathlib import Path
from string import ascii_lowercase

from vqlearn.checkpoints.layout import CheckpointError, naming
from vqlearn.checkpoints.reading import check_file
from vqlearn.probability.checks import shown

NO_RESERVE = 0x4000  # Linux: a file may be larger than the memory (Python 3.13 has a name for it)
ALIGNMENT = 8  # bytes: torch computes with numbers that lie at multiples of their size


class Parts:
    """The bytes of some files, one after another.

    A file that gets shorter while its bytes are in use ends the program: no one can catch that.
    """

    def __init__(self, files: Sequence[Path]) -> None:
        """Raises `CheckpointError` for a file that is missing, or parts that are not in order."""
        self.files = tuple(files)
        for file in self.files:
            check_file(file)
        if len(self.files) != 1:
            _check_names(self.files)
        self._ends = list(accumulate(file.stat().st_size for file in self.files))
        self.size = self._ends[-1]

    def __str__(self) -> str:
        first, last = self.files[0], self.files[-1]
        return str(first) if first == last else f"{first} .. {last.name}"

    def open(self) -> io.BufferedReader:
        """A stream at the first byte."""
        return io.BufferedReader(_Stream(self))

    def view(self, begin: int, size: int) -> memoryview:
        """The bytes begin..begin + size, mapped; writing to them never changes a file.

        What lies on the border of two parts, or not at a multiple of 8 bytes, is a copy.
        """
        index, start = self.locate(begin)
        if begin + size <= self._ends[index] and (begin - start) % ALIGNMENT == 0:
            return memoryview(self._maps[index])[begin - start : begin - start + size]
        content = bytearray(size)
        with self.open() as stream:
            stream.seek(begin)
            stream.readinto(content)
        return memoryview(content)

    def locate(self, position: int) -> tuple[int, int]:
        """The index of the part with this byte, and the position of its first byte."""
        index = bisect_right(self._ends, position)
        return index, self._ends[index - 1] if index else 0

    @cached_property
    def _maps(self) -> list[mmap.mmap | bytes]:
        with naming(self, OSError, ValueError):
            return [_mapped(file) if file.stat().st_size else b"" for file in self.files]


class _Stream(io.RawIOBase):
    """A position in the parts. It opens a file for each piece it reads, and keeps none open."""

    def __init__(self, parts: Parts) -> None:
        self._parts, self._position = parts, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        starts = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._parts.size}
        self._position = starts[whence] + offset
        if self._position < 0:
            raise ValueError(f"byte {self._position} is asked for")
        return self._position

    def readinto(self, buffer: memoryview) -> int:
        index, start = self._parts.locate(self._position)
        if index == len(self._parts.files):
            return 0
        with self._parts.files[index].open("rb", buffering=0) as part:
            part.seek(self._position - start)
            count = part.readinto(buffer)
        self._position += count
        return count


def _mapped(file: Path) -> mmap.mmap:
    with file.open("rb") as stream:
        if sys.platform != "linux":
            return mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_COPY)
        flags, access = mmap.MAP_PRIVATE | NO_RESERVE, mmap.PROT_READ | mmap.PROT_WRITE
        return mmap.mmap(stream.fileno(), 0, flags=flags, prot=access)


def _check_names(files: tuple[Path, ...]) -> None:
    """Raise `CheckpointError` unless the names are NAME_aa, NAME_ab, ...: all of them, in order."""
    if not files:
        raise CheckpointError("the parts of a file are []; allowed: NAME_aa, NAME_ab, ...")
    stem = files[0].name.rpartition("_")[0] or files[0].name
    ends = list(map("".join, product(ascii_lowercase, repeat=2)))[: len(files)]
    for number, (file, end) in enumerate(zip_longest(files, ends), 1):
        wanted = files[0].with_name(f"{stem}_{end}")
        if file != wanted:
            raise CheckpointError(
                f"part {number} of {len(files)} is {shown(str(file))}; allowed: "
                f"{shown(wanted.name)}: all parts of one file in one folder, in order, from _aa on"
            )

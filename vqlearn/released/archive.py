"""The archive that `torch.save` writes: a pickle, and the numbers of each tensor as they are.

    NAME/data.pkl      what the file holds, and for each tensor the member with its numbers
    NAME/data/0        numbers, without compression
    NAME/data/1        ...

A member is looked at when it is asked for, and no other one is.
"""

import zipfile
import zlib

from vqlearn.checkpoints.layout import CheckpointError
from vqlearn.probability.checks import shown
from vqlearn.released.parts import Parts

ARCHIVE = b"PK\x03\x04"
HEADER = 30  # bytes in front of a member: 26 and 27 are the length of its name, 28 and 29 of a rest
PICKLE = "/data.pkl"
LARGEST_PICKLE = 16 * 2**20  # bytes; the released files have 1 or 2 MB, by the number of tensors


class Archive:
    """The members of an archive, by their names behind the folder in which all of them lie."""

    def __init__(self, parts: Parts) -> None:
        """Raises `CheckpointError` for what is no archive, has no end, or two pickles."""
        self.parts = parts
        with parts.open() as stream:
            if stream.read(len(ARCHIVE)) != ARCHIVE:
                raise CheckpointError(
                    f"{parts} is no archive; allowed: what torch.save writes since torch 1.6 (2020)"
                )
            members = _members(parts, stream)
        folders = [name.removesuffix(PICKLE) for name in members if name.endswith(PICKLE)]
        if len(folders) != 1:
            raise CheckpointError(f"{parts} has {len(folders)} members data.pkl; allowed: one")
        self._folder, self._members = folders[0], members
        self._sound: set[str] = set()
        if "byteorder" in self and self.content("byteorder") != b"little":
            raise CheckpointError(f"{parts} has numbers in another byte order; allowed: little")

    def __contains__(self, name: str) -> bool:
        return f"{self._folder}/{name}" in self._members

    def size(self, name: str) -> int:
        """The bytes of a member."""
        return self._members[f"{self._folder}/{name}"].file_size

    def pickle(self) -> bytes:
        """The pickle. Raises `CheckpointError` if it has more than 16 MB."""
        name = PICKLE.removeprefix("/")
        if self.size(name) > LARGEST_PICKLE:
            raise CheckpointError(
                f"{self.parts}: {name} has {self.size(name)} bytes; allowed: {LARGEST_PICKLE}"
            )
        return bytes(self.content(name))

    def content(self, name: str) -> memoryview:
        """The bytes of a member, mapped. The first time they are compared with their checksum.

        Raises `CheckpointError` if the member is compressed or not what was written.
        """
        member = self._members[f"{self._folder}/{name}"]
        plain = member.compress_type == zipfile.ZIP_STORED and not member.flag_bits & 1
        if not plain or member.file_size != member.compress_size:
            raise CheckpointError(
                f"{self.parts}: its member {shown(name)} is compressed; "
                "allowed: archives without compression, as torch.save writes them"
            )
        content = self._bytes(self._begin(member), member.file_size)
        if name not in self._sound and zlib.crc32(content) != member.CRC:
            raise CheckpointError(
                f"{self.parts} is damaged: its member {shown(name)} does not have its checksum"
            )
        self._sound.add(name)
        return content

    def _begin(self, member: zipfile.ZipInfo) -> int:
        """The position of the first byte of a member."""
        header = bytes(self._bytes(member.header_offset, HEADER))
        if not header.startswith(ARCHIVE):
            raise CheckpointError(
                f"{self.parts} is damaged: {shown(member.filename)} is not where it should be"
            )
        lengths = [int.from_bytes(header[at : at + 2], "little") for at in (26, 28)]
        return member.header_offset + HEADER + sum(lengths)

    def _bytes(self, begin: int, size: int) -> memoryview:
        if not 0 <= begin <= begin + size <= self.parts.size:
            raise CheckpointError(f"{self.parts} is damaged: a member lies outside of it")
        return self.parts.view(begin, size) if size > 0 else memoryview(b"")


def _members(parts: Parts, stream: object) -> dict[str, zipfile.ZipInfo]:
    """What the directory at the end of the archive lists. Nothing else is read."""
    try:
        with zipfile.ZipFile(stream) as archive:
            listed = archive.infolist()
    except Exception as error:  # zipfile raises half a dozen kinds for what a file can hold
        raise CheckpointError(
            f"{parts} is not whole: the directory at its end is missing or damaged; "
            "allowed: the whole file, or all parts of it"
        ) from error
    if min((member.header_offset for member in listed), default=0) != 0:
        raise CheckpointError(f"{parts} is not whole: bytes are missing, or too many")
    members = {member.filename: member for member in listed}
    if len(members) < len(listed):
        raise CheckpointError(f"{parts} has several members of one name; allowed: one")
    return members

"""Weights in a pickle, opened without executing anything.

torch opens it with `weights_only=True`, and there is no other way to open it here. Before that its
archive is looked at: torch maps the bytes of a tensor where they lie, so they must lie there plain.
And its operations are, without executing one: a key that is a tuple of tuples of tuples could take
for ever to be hashed.
"""

import io
import pickletools
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor, nn

from vqlearn.checkpoints.layout import CheckpointError, naming
from vqlearn.checkpoints.reading import check_file
from vqlearn.probability.checks import shown

ARCHIVE = b"PK\x03\x04"
PICKLES_OF_A_FILE = 5  # before 2020: a number, a version, the machine, the weights, their keys
LARGEST_TENSOR = 2**20  # bytes of a file with one tensor
DEEPEST_TUPLE = 8  # torch.save writes two: a shape among the arguments of a tensor
FOREIGN = re.compile(r"(?:GLOBAL|Unsupported class|instantiate) (\S+)")


def load_pickle(file: Path) -> dict[str, Tensor]:
    """The named tensors in a pickle: dense, on the CPU, none larger than the file.

    An archive is mapped, so nothing but names is read; files of before 2020 are no archives, and
    torch reads them whole. Raises `CheckpointError` for everything else.
    """
    mapped = _is_archive(file)
    sizes = _member_sizes(file) if mapped else None
    loaded = _opened(file, mapped)
    if not isinstance(loaded, dict):
        raise CheckpointError(f"{file} holds a {type(loaded).__name__}; allowed: named tensors")
    for name, value in loaded.items():
        _check_tensor(file, name, value)
    if sizes is not None and _storage_sizes(loaded) != sizes:
        raise CheckpointError(f"{file} is damaged: its tensors are not as long as its members")
    return loaded


def load_tensor(file: Path) -> Tensor:
    """The one tensor that a small file holds. Raises `CheckpointError` for everything else."""
    check_file(file)
    if file.stat().st_size > LARGEST_TENSOR:
        raise CheckpointError(
            f"{file} has {file.stat().st_size} bytes; allowed: one tensor, up to {LARGEST_TENSOR}"
        )
    mapped = _is_archive(file)
    if mapped:
        _member_sizes(file)
    loaded = _opened(file, mapped)
    _check_tensor(file, "what it holds", loaded)
    return loaded


def _is_archive(file: Path) -> bool:
    with file.open("rb") as stream:
        return stream.read(len(ARCHIVE)) == ARCHIVE


def _opened(file: Path, mapped: bool) -> Any:
    _check_nesting(file, mapped)
    # torch raises a dozen kinds of errors for what a file can hold
    try:
        return torch.load(file, map_location="cpu", weights_only=True, mmap=mapped)
    except Exception as error:
        raise CheckpointError(f"{file} {_reason(error)}; allowed: named tensors") from error


def _storage_sizes(tensors: dict[str, Tensor]) -> list[int]:
    """The bytes that each storage takes, sorted; several tensors may share one."""
    storages = [value.untyped_storage() for value in tensors.values()]
    return sorted({s.data_ptr(): s.nbytes() for s in storages if s.nbytes()}.values())


def _member_sizes(file: Path) -> list[int]:
    """The bytes of each member with numbers, sorted, as `_storage_sizes` has them.

    Every member must be stored as it is: not packed, not locked, not larger than the file.
    """
    with naming(file, Exception), zipfile.ZipFile(file) as archive:
        members = archive.infolist()
    size = file.stat().st_size
    for member in members:
        plain = member.compress_type == zipfile.ZIP_STORED and not member.flag_bits & 1
        if not plain or not member.file_size == member.compress_size <= size:
            raise CheckpointError(
                f"{file}: its member {shown(member.filename)} is compressed, or larger than the "
                "file; allowed: archives without compression, as torch.save writes them"
            )
    if len({member.filename for member in members}) < len(members):
        raise CheckpointError(f"{file} has several members of one name; allowed: one")
    numbers = [member for member in members if "/data/" in member.filename and member.file_size]
    return sorted(member.file_size for member in numbers)


def _check_nesting(file: Path, mapped: bool) -> None:
    """Raise `CheckpointError` for tuples in tuples, deeper than any file of weights needs."""
    try:
        deepest = max(map(_deepest_tuple, _streams(file, mapped)))
    except Exception as error:  # what a broken pickle makes of the machine below
        raise CheckpointError(f"{file} {_reason(error)}; allowed: named tensors") from error
    if deepest > DEEPEST_TUPLE:
        raise CheckpointError(f"{file} holds tuples {deepest} deep; allowed: named tensors")


def _streams(file: Path, mapped: bool) -> Iterator[BinaryIO]:
    """A stream at the beginning of each pickle in the file."""
    with file.open("rb") as stream:
        if mapped:
            with zipfile.ZipFile(stream) as archive:
                pickles = [name for name in archive.namelist() if name.endswith("/data.pkl")]
                yield from (io.BytesIO(archive.read(name)) for name in pickles)
        else:
            yield from (stream for _ in range(PICKLES_OF_A_FILE))


def _deepest_tuple(stream: BinaryIO) -> int:
    """How deep the tuples of a pickle are nested, by a machine whose stack holds depths alone."""
    stack, memo, deepest = [], {}, 0
    for operation, argument, _ in pickletools.genops(stream):
        name, taken = operation.name, []
        if name in ("PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"):
            memo[len(memo) if name == "MEMOIZE" else argument] = stack[-1]
            continue
        for before in reversed(operation.stack_before):
            if before is pickletools.stackslice:  # all from the last mark on
                while stack[-1] is not None:
                    taken.append(stack.pop())
            else:
                taken.append(stack.pop())
        depth = 0
        if name in ("GET", "BINGET", "LONG_BINGET"):
            depth = memo[argument]
        elif name.startswith("TUPLE"):
            depth = 1 + max((each or 0 for each in taken), default=0)
        deepest = max(deepest, depth)
        stack += [
            None if after is pickletools.markobject else depth for after in operation.stack_after
        ]
    return deepest


def _reason(error: Exception) -> str:
    """What is wrong with a pickle. torch's own text would advise to execute it."""
    asked = FOREIGN.search(str(error))
    if asked:
        return f"asks for {shown(asked[1])}, which is never executed"
    return f"is damaged, or holds something else ({type(error).__name__})"


def _check_tensor(file: Path, name: Any, value: Any) -> None:
    if not isinstance(name, str):
        raise CheckpointError(f"{file} holds a name that is a {type(name).__name__}; allowed: text")
    if type(value) not in (Tensor, nn.Parameter):
        kind = type(value).__name__
        raise CheckpointError(f"{file}: {shown(name)} is a {kind}; allowed: named tensors")
    if value.layout != torch.strided or value.device.type != "cpu" or value.is_quantized:
        kind = f"{value.layout}, {value.dtype} on {value.device}"
        raise CheckpointError(f"{file}: {shown(name)} is {kind}; allowed: dense tensors of floats")
    if value.numel() * value.element_size() > file.stat().st_size:
        shape = shown(tuple(value.shape))
        raise CheckpointError(f"{file}: {shown(name)} has the shape {shape}, more than the file")

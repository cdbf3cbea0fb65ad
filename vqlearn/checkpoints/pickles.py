"""Weights in a pickle, opened without executing anything.

torch opens it with `weights_only=True`, and there is no other way to open it here. Before that its
archive is looked at: torch maps the bytes of a tensor where they lie, so they must lie there plain.
"""

import re
import zipfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from vqlearn.checkpoints.layout import CheckpointError, naming
from vqlearn.probability.checks import shown

ARCHIVE = b"PK\x03\x04"
FOREIGN = re.compile(r"(?:GLOBAL|Unsupported class|instantiate) (\S+)")


def load_pickle(file: Path) -> dict[str, Tensor]:
    """The named tensors in a pickle: dense, on the CPU, none larger than the file.

    An archive is mapped, so nothing but names is read; files of before 2020 are no archives, and
    torch reads them whole. Raises `CheckpointError` for everything else.
    """
    with file.open("rb") as stream:
        mapped = stream.read(len(ARCHIVE)) == ARCHIVE
    sizes = _member_sizes(file) if mapped else None
    # torch raises a dozen kinds of errors for what a file can hold
    try:
        loaded = torch.load(file, map_location="cpu", weights_only=True, mmap=mapped)
    except Exception as error:
        raise CheckpointError(f"{file} {_reason(error)}; allowed: named tensors") from error
    if not isinstance(loaded, dict):
        raise CheckpointError(f"{file} holds a {type(loaded).__name__}; allowed: named tensors")
    for name, value in loaded.items():
        _check_tensor(file, name, value)
    if sizes is not None and _storage_sizes(loaded) != sizes:
        raise CheckpointError(f"{file} is damaged: its tensors are not as long as its members")
    return loaded


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

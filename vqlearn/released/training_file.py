"""A training checkpoint: its weights, and those of their moving average (EMA), by name.

    file = read_training_file("ithq_learnable.pth")
    weights = file.weights()
    weights["transformer.empty_text_embed"]

Such a file is three times as large as its weights: the optimizer's numbers lie in it too, and are
never read. A weight is read when it is asked for.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from vqlearn.checkpoints.layout import CheckpointError
from vqlearn.checkpoints.weights import Stored
from vqlearn.probability.checks import shown
from vqlearn.released.archive import Archive
from vqlearn.released.inert_pickle import Call, Global, Inert, Persistent, read_inert
from vqlearn.released.parts import Parts
from vqlearn.storage import as_paths

SECTIONS = ("model", "state_dict")
"""Where the weights are: of the official solver, and of Lightning."""
EMA = "ema"
EMA_PREFIX = "transformer."
"""The average is that of the denoiser, which the model holds under this name."""
DTYPES = {
    **{"FloatStorage": torch.float32, "HalfStorage": torch.float16, "LongStorage": torch.int64},
    **{"DoubleStorage": torch.float64, "BFloat16Storage": torch.bfloat16},
    **{"IntStorage": torch.int32, "ShortStorage": torch.int16, "CharStorage": torch.int8},
    **{"ByteStorage": torch.uint8},
}
MOST_AXES = 8
LARGEST_SIZE = 2**62


class Place(NamedTuple):
    """Where a tensor lies: the member of the archive, and how the tensor goes through its numbers.

    `count` is that of the numbers in the member; `offset` and `stride` are counted in numbers.
    """

    member: str
    dtype: torch.dtype
    count: int
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]


class MappedTensors(Mapping[str, Tensor]):
    """Tensors by name, each read when it is asked for.

    They are mapped: they take memory only while there is plenty, and writing to one never changes
    the file. Two reads of one name may share their memory.
    """

    def __init__(self, archive: Archive, entries: Mapping[str, Any]) -> None:
        self._archive, self._entries = archive, dict(entries)

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, name: object) -> bool:
        return name in self._entries

    def __getitem__(self, name: str) -> Tensor:
        """One tensor. Raises `CheckpointError` if it is none, or its numbers are damaged."""
        place = self._place(name)
        if 0 in place.shape:
            return torch.empty(place.shape, dtype=place.dtype)
        numbers = torch.frombuffer(self._archive.content(place.member), dtype=place.dtype)
        return numbers.as_strided(place.shape, place.stride, place.offset)

    def stored(self, name: str) -> Stored:
        """Shape and type of one tensor, without reading it. Raises `CheckpointError` if none."""
        place = self._place(name)
        return Stored(place.shape, place.dtype)

    def with_others(self, others: "MappedTensors", prefix: str) -> "MappedTensors":
        """These tensors, where `others` have one of the same name behind the prefix that one."""
        renamed = {prefix + name: entry for name, entry in others._entries.items()}
        return MappedTensors(self._archive, self._entries | renamed)

    def _place(self, name: str) -> Place:
        place = _tensor(self._entries[name])
        what = f"{self._archive.parts}: {shown(name)}"
        if place is None:
            raise CheckpointError(f"{what} is {_kind(self._entries[name])}; allowed: a tensor")
        if not _is_plain(place):
            raise CheckpointError(f"{what} is a tensor with odd sizes; allowed: a dense tensor")
        there = self._archive.size(place.member) if place.member in self._archive else 0
        if there != place.count * place.dtype.itemsize or not _is_inside(place):
            raise CheckpointError(
                f"{what} has the shape {shown(place.shape)} in {shown(place.member)}, which has "
                f"{there} bytes; allowed: a tensor that fills its member, or lies in it"
            )
        return place


@dataclass(frozen=True)
class TrainingFile:
    """What a training checkpoint says of its model.

    - `raw`: the weights as they were after the last step, by their full names.
    - `ema`: their moving average; its names lack the first "transformer.". None: there is none.
    """

    raw: MappedTensors
    ema: MappedTensors | None

    def weights(self) -> MappedTensors:
        """The average where there is one, the raw weights otherwise, by the names of `raw`.

        A weight that the average alone has is among them.
        """
        return self.raw if self.ema is None else self.raw.with_others(self.ema, EMA_PREFIX)


def read_training_file(files: str | Path | Sequence[str | Path]) -> TrainingFile:
    """Read names and shapes of a training checkpoint: of one file, or of all its parts in order.

    Nothing in the file is executed or imported. Raises `CheckpointError` that names the file for
    whatever is no such checkpoint.
    """
    parts = Parts(as_paths("files", files))
    archive = Archive(parts)
    pickle = archive.pickle()
    try:
        content = read_inert(pickle)
    except Exception as error:  # of a machine that is given anything at all
        raise CheckpointError(f"{parts} is damaged: its data.pkl is no pickle") from error
    if not isinstance(content, dict):
        raise CheckpointError(f"{parts} holds {_kind(content)}; allowed: a training checkpoint")
    section = next((name for name in SECTIONS if name in content), None)
    if section is None:
        seen = shown(list(content))
        raise CheckpointError(f"{parts} holds {seen}; allowed: one of {SECTIONS} among them")
    ema = content.get(EMA)
    return TrainingFile(
        raw=_weights(archive, section, content[section]),
        ema=None if ema is None else _weights(archive, EMA, ema),
    )


def _weights(archive: Archive, section: str, entries: Any) -> MappedTensors:
    if not isinstance(entries, dict):
        kind = _kind(entries)
        raise CheckpointError(f"{archive.parts}: its {section!r} is {kind}; allowed: named tensors")
    return MappedTensors(archive, entries)


def _tensor(entry: Any) -> Place | None:
    """The tensor that a pickle would have made by this call; None for every other entry."""
    match entry:
        case Call(Global("torch._utils", "_rebuild_parameter"), (data, *_)):
            entry = data
    match entry:
        case Call(
            Global("torch._utils", "_rebuild_tensor_v2"),
            (
                Persistent(("storage", Global("torch", kind), str(key), str(), int(count))),
                int(offset),
                tuple(shape),
                tuple(stride),
                *_,
            ),
        ) if kind in DTYPES:
            return Place(f"data/{key}", DTYPES[kind], count, offset, shape, stride)
    return None


def _is_plain(place: Place) -> bool:
    """Are all sizes whole numbers that torch can count with?"""
    sizes = (place.count, place.offset, *place.shape, *place.stride)
    if not len(place.shape) == len(place.stride) <= MOST_AXES:
        return False
    if not all(type(size) is int and 0 <= size < LARGEST_SIZE for size in sizes):
        return False
    return math.prod(size or 1 for size in place.shape) < LARGEST_SIZE  # of an empty one too


def _is_inside(place: Place) -> bool:
    """Does the tensor end where its member does, or before, and have no more numbers than that?"""
    if 0 in place.shape:
        return True
    pairs = zip(place.shape, place.stride, strict=True)
    last = place.offset + sum((size - 1) * stride for size, stride in pairs)
    return last < place.count and math.prod(place.shape) <= place.count


def _kind(value: Any) -> str:
    """What a value of a pickle is, in words."""
    match value:
        case Call(Global(module, name), _):
            return f"what {shown(f'{module}.{name}')} makes, which is never called"
        case Global(module, name):
            return f"the name {shown(f'{module}.{name}')}, which is never imported"
        case Inert():
            return "a list or an object, which is never made"
    return f"a {type(value).__name__}"

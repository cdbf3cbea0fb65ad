"""Which official weight each weight of a folder comes from, and how it is changed on the way."""

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, NoReturn

import torch
from torch import Tensor

from vqlearn.checkpoints.folder import KINDS
from vqlearn.checkpoints.layout import DIFFUSERS_STEMS, CheckpointError
from vqlearn.checkpoints.renames import renamed
from vqlearn.probability.checks import shown
from vqlearn.released.training_file import TrainingFile


class Source(NamedTuple):
    """The official weight that one of ours comes from.

    `shape` is the official one; `change` makes ours of it, which has the shape `ours`.
    """

    key: str
    shape: tuple[int, ...]
    ours: tuple[int, ...]
    change: Callable[[Tensor], Tensor] = torch.clone


class Part(NamedTuple):
    """One part of a folder before it is written: its config file, and its weights.

    The weights have the names of the file, whose name begins with `stem`; `constants` are those
    that no official file holds.
    """

    folder: str
    config: Mapping[str, Any]
    weights: Mapping[str, Source]
    constants: Mapping[str, Tensor]
    stem: str = DIFFUSERS_STEMS[0]


def network_part(
    folder: str,
    config: Any,
    source: Callable[[str, tuple[int, ...]], Source],
    constants: Mapping[str, Tensor],
) -> Part:
    """The part of a network of our own: `source` says where a weight of a name and shape is from.

    `constants` are named as the network's attributes, as the names that `source` is given.
    """
    kind = KINDS[folder]
    with torch.device("meta"):  # shapes without memory
        state = kind.network(config).state_dict()
    weights, fixed = {}, {}
    for name, weight in state.items():
        in_file = renamed(name, kind.renames)
        if name in constants:
            fixed[in_file] = constants[name]
        else:
            weights[in_file] = source(name, tuple(weight.shape))
    return Part(folder, kind.config.write(config), weights, fixed)


class Found:
    """The weights of a training file that a part is made of, by their names in that part.

    `place` says what a name is in the whole file. All methods raise `CheckpointError` that names a
    weight that is missing, or cannot have the shape that it has.
    """

    def __init__(self, label: str, file: TrainingFile, place: Callable[[str], str]) -> None:
        self.label, self.place = label, place
        self.weights = file.weights()
        self._beginnings = {
            ".".join(parts[:count])
            for name in self.weights
            for parts in [name.split(".")]
            for count in range(1, len(parts) + 1)
        }

    def has(self, name: str) -> bool:
        """Is there a weight of this name, or one whose name begins with it and a dot?"""
        return self.place(name) in self._beginnings

    def is_weight(self, name: str) -> bool:
        """Is there a weight of just this name?"""
        return self.place(name) in self.weights

    def count(self, name: str) -> int:
        """How many of name.0, name.1, ... there are. None may be missing among them."""
        begin = f"{self.place(name)}."
        behind = (key.removeprefix(begin) for key in self._beginnings if key.startswith(begin))
        numbers = {int(number) for number in behind if number.isdecimal()}
        for number in range(len(numbers)):
            if number not in numbers:
                raise CheckpointError(
                    f"{self.label} lacks the weights {self._shown(f'{name}.{number}')}, and has "
                    f"those of {max(numbers)}"
                )
        return len(numbers)

    def outputs(self, name: str) -> int:
        """How many numbers a layer makes. Its weight and its bias must agree."""
        count, shape = self.length(f"{name}.bias"), self._shape(f"{name}.weight")
        if shape[:1] != (count,):
            raise CheckpointError(
                f"{self.label}: {self._shown(f'{name}.weight')} has the shape {shown(shape)}; the "
                f"{count} numbers of {self._shown(f'{name}.bias')} ask for "
                f"{shown((count, *shape[1:]))}"
            )
        return count

    def length(self, name: str) -> int:
        """Of a weight with one axis."""
        shape = self._shape(name)
        if len(shape) != 1 or not shape[0]:
            self.refuse(name, "one axis, not empty")
        return shape[0]

    def rows(self, name: str, width: int) -> int:
        """Of a table with rows of this width: also if rows and columns were exchanged."""
        count = math.prod(self._shape(name))
        if not width or not count or count % width:
            self.refuse(name, f"rows of {width}")
        return count // width

    def refuse(self, name: str, allowed: str) -> NoReturn:
        """Raise `CheckpointError` for the shape that a weight has."""
        raise CheckpointError(
            f"{self.label}: {self._shown(name)} has the shape {shown(self._shape(name))}; "
            f"allowed: {allowed}"
        )

    def _shape(self, name: str) -> tuple[int, ...]:
        if not self.is_weight(name):
            raise CheckpointError(f"{self.label} lacks the weight {self._shown(name)}")
        return self.weights.stored(self.place(name)).shape

    def _shown(self, name: str) -> str:
        return shown(self.place(name))

"""The weights of one part of a checkpoint: which file holds them, and reading them one at a time.

A file is safetensors, or a pickle (`.bin`) that torch opens with `weights_only=True`: nothing in it
is ever executed, and there is no other way to open it. Names, shapes and types are known before a
weight is read, so a file that does not fit costs no memory.
"""

import logging
import pickle
import zipfile
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from vqlearn.checkpoints.layout import CheckpointError
from vqlearn.checkpoints.renames import with_new_names

SUFFIXES = {None: (".safetensors", ".bin"), True: (".safetensors",), False: (".bin",)}
"""The endings of files of weights, the best first, by `use_safetensors`."""
FLOATS = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}

logger = logging.getLogger("vqlearn")


class Stored(NamedTuple):
    """What a file says of one weight: its shape, and its type (another than float by any name)."""

    shape: tuple[int, ...]
    dtype: torch.dtype | str


def candidates(
    stems: tuple[str, ...], variant: str | None, use_safetensors: bool | None = None
) -> list[str]:
    """The names that a file of weights may have, the best first: `stem[.variant].safetensors`."""
    kinds = [""] if variant is None else [f".{variant}", ""]
    endings = [kind + suffix for kind in kinds for suffix in SUFFIXES[use_safetensors]]
    return [stem + ending for ending in endings for stem in stems]


def find_weights(
    folder: Path,
    stems: tuple[str, ...],
    variant: str | None,
    use_safetensors: bool | None = None,
) -> Path:
    """The file of `folder` that holds its weights: the first of the `candidates`.

    A folder without this variant gives its plain file, with a warning.
    Raises `CheckpointError` that names the files seen and those allowed.
    """
    allowed = candidates(stems, variant, use_safetensors)
    for name in allowed:
        if (folder / name).is_file():
            if variant is not None and f".{variant}." not in name:
                logger.warning("%s has no %r weights; %s is used", folder, variant, name)
            return folder / name
    seen = sorted(path.name for path in folder.glob("*"))
    raise CheckpointError(f"{folder} holds {seen}; allowed: one of {', '.join(allowed)}")


class WeightsFile:
    """The named tensors of one file. `stored` tells what they are, `read` reads one of them.

    Their names are those of today's files (see `with_new_names`). Raises `CheckpointError` if the
    file is damaged.
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        self._tensors: dict[str, Tensor] | None = None
        try:
            if file.suffix == ".safetensors":
                with safe_open(file, framework="pt") as opened:
                    slices = {name: opened.get_slice(name) for name in opened.keys()}
                    found = {name: (s.get_shape(), s.get_dtype()) for name, s in slices.items()}
            else:
                self._tensors = _load_pickle(file)
                found = {name: (w.shape, w.dtype) for name, w in self._tensors.items()}
        except (SafetensorError, OSError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
            raise CheckpointError(f"{file} is damaged: {error}") from error
        self._names = {with_new_names(name): name for name in found}
        self.stored = {}
        for name, there in self._names.items():
            shape, dtype = found[there]
            self.stored[name] = Stored(tuple(shape), FLOATS.get(dtype, dtype))

    def common_dtype(self) -> torch.dtype:
        """The float type of the first weight that has one. Raises `CheckpointError` if none has."""
        for weight in self.stored.values():
            if weight.dtype in FLOATS.values():
                return weight.dtype
        raise CheckpointError(f"{self.file} holds no weights of a float type; allowed: some")

    def read(self, name: str, dtype: torch.dtype | None = None) -> Tensor:
        """One weight as a tensor of its own, in `dtype` or as it is stored.

        Raises `CheckpointError` if it holds NaN or infinity.
        """
        dtype, there = dtype or self.stored[name].dtype, self._names[name]
        if self._tensors is not None:
            value = self._tensors[there].to(dtype, copy=True)
        else:  # opened anew each time: an open file keeps all that was ever read from it
            with safe_open(self.file, framework="pt") as file:
                value = file.get_tensor(there).to(dtype, copy=True)
        if not value.isfinite().all():
            raise CheckpointError(f"{self.file}: {name} holds NaN or infinity as {dtype}")
        return value


def _load_pickle(file: Path) -> dict[str, Tensor]:
    """Files of before 2020 are no archives and cannot be mapped; torch reads them whole."""
    mapped = zipfile.is_zipfile(file)
    loaded = torch.load(file, map_location="cpu", weights_only=True, mmap=mapped)
    if not isinstance(loaded, dict):
        raise CheckpointError(f"{file} holds a {type(loaded).__name__}; allowed: named tensors")
    for name, value in loaded.items():
        if not isinstance(name, str) or not isinstance(value, Tensor):
            raise CheckpointError(
                f"{file}: {name!r} is a {type(value).__name__}; allowed: named tensors"
            )
    return loaded

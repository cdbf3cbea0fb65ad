"""The weights of one part of a checkpoint: which file holds them, and reading them one at a time.

A file is safetensors, or a pickle (`.bin`, see `pickles.py`): nothing in it is ever executed.
Names, shapes and types are known before a weight is read, so a file that does not fit costs no
memory.
"""

import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors import safe_open
from torch import Tensor

from vqlearn.checkpoints.layout import CheckpointError, naming
from vqlearn.checkpoints.pickles import load_pickle
from vqlearn.checkpoints.reading import check_file
from vqlearn.checkpoints.renames import with_new_names
from vqlearn.probability.checks import shown

SUFFIXES = {None: (".safetensors", ".bin"), True: (".safetensors",), False: (".bin",)}
"""The endings of files of weights, the best first, by `use_safetensors`."""
FLOATS = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
DTYPES = {**FLOATS, "I64": torch.int64}

logger = logging.getLogger("vqlearn")


class Stored(NamedTuple):
    """What a file says of one weight: shape and type (an unusual type by its name in it)."""

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

    `new_name` gives today's name for that in a file. Raises `CheckpointError` if the file is
    damaged, or has two weights of one name.
    """

    def __init__(self, file: Path, new_name: Callable[[str], str] = with_new_names) -> None:
        self.file, self.new_name = file, new_name
        self._tensors: dict[str, Tensor] | None = None
        check_file(file)
        if file.suffix == ".safetensors":
            found = _header(file)
        else:
            self._tensors = load_pickle(file)
            found = {name: (w.shape, w.dtype) for name, w in self._tensors.items()}
        self._names = {new_name(name): name for name in found}
        if len(self._names) < len(found):
            raise CheckpointError(f"{file} has weights under an old and a new name; allowed: one")
        self.stored = {}
        for name, there in self._names.items():
            shape, dtype = found[there]
            self.stored[name] = Stored(tuple(shape), DTYPES.get(dtype, dtype))

    def common_dtype(self) -> torch.dtype:
        """The float type of the first weight that has one. Raises `CheckpointError` if none has."""
        for weight in self.stored.values():
            if weight.dtype in FLOATS.values():
                return weight.dtype
        raise CheckpointError(f"{self.file} holds no weights of a float type; allowed: some")

    def drop(self, beginnings: tuple[str, ...]) -> None:
        """Do as if the file had neither these weights nor `position_ids`, which are counted."""
        for name in list(self.stored):
            if name.startswith(beginnings) or name.endswith("position_ids"):
                del self.stored[name]

    def check_layers(self, layers: int) -> None:
        """Raise `CheckpointError` for fewer weights than layers: to build those would take long."""
        if layers > len(self.stored):
            raise CheckpointError(
                f"{self.file} does not fit its config.json: it holds {len(self.stored)} weights, "
                f"and the config asks for {shown(layers)} layers; allowed: as many as there are"
            )

    def check_fit(self, expected: Mapping[str, Tensor]) -> None:
        """Are these just the expected weights, in their shapes? Nothing is read for it."""
        file, stored = self.file, self.stored
        missing, extra = sorted(expected.keys() - stored), sorted(stored.keys() - expected)
        if missing or extra:
            raise CheckpointError(
                f"{file} does not fit its config.json: {len(missing)} weights are missing "
                f"{shown(missing[:3])}, {len(extra)} are unknown {shown(extra[:3])}"
            )
        for name, (shape, dtype) in stored.items():
            if not _is_like(dtype, expected[name].dtype):
                kind = "a float type" if expected[name].is_floating_point() else "int64"
                raise CheckpointError(f"{file}: {name} is {dtype}; allowed: {kind}")
            if shape != expected[name].shape:
                raise CheckpointError(
                    f"{file}: {name} has the shape {shown(shape)}; "
                    f"its config.json asks for {shown(tuple(expected[name].shape))}"
                )

    def read(self, name: str, dtype: torch.dtype | None = None) -> Tensor:
        """One weight as a tensor of its own, in `dtype` or as it is stored.

        Raises `CheckpointError` if it holds NaN or infinity.
        """
        dtype, there = dtype or self.stored[name].dtype, self._names[name]
        with naming(self.file, Exception):
            if self._tensors is not None:
                value = self._tensors[there].to(dtype, copy=True)
            else:  # opened anew each time: an open file keeps all that was ever read from it
                with safe_open(self.file, framework="pt") as file:
                    value = file.get_tensor(there).to(dtype, copy=True)
        # The ends are NaN if anything is, and cost one look at each number.
        if value.numel() > 0 and not torch.stack(value.aminmax()).isfinite().all():
            raise CheckpointError(f"{self.file}: {name} holds NaN or infinity as {dtype}")
        return value


def _is_like(dtype: torch.dtype | str, expected: torch.dtype) -> bool:
    """Are both float types, or both the same other type?"""
    return dtype in FLOATS.values() if expected.is_floating_point else dtype == expected


def _header(file: Path) -> dict[str, tuple[list[int], str]]:
    """Shape and type of every weight in a safetensors file, by name."""
    try:
        with safe_open(file, framework="pt") as opened:
            slices = {name: opened.get_slice(name) for name in opened.keys()}
            return {name: (s.get_shape(), s.get_dtype()) for name, s in slices.items()}
    except Exception as error:  # of safetensors, of Rust, or of the system
        reason = str(error).partition("\n")[0]
        raise CheckpointError(f"{file} is damaged: {reason}") from error

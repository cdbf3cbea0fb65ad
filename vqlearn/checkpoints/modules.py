"""One network on disk: a `config.json`, and a file of weights beside it."""

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors.torch import save_file
from torch import nn

from vqlearn.checkpoints.layout import DIFFUSERS_STEMS, CheckpointError
from vqlearn.checkpoints.renames import (
    Table,
    rename_from_diffusers,
    rename_to_diffusers,
    with_new_names,
)
from vqlearn.checkpoints.weights import Stored, WeightsFile, find_weights

CONFIG_FILE = "config.json"


class Wanted(NamedTuple):
    """How to read weights: converted to `dtype` (None: as stored), from the files of `variant`."""

    dtype: torch.dtype | None = None
    variant: str | None = None


class Kind(NamedTuple):
    """A kind of network: how its config is understood, its class, its names in files."""

    read_config: Callable[[dict[str, Any]], Any]
    network: Callable[[Any], nn.Module]
    renames: Table | None


def load_module(folder: Path, kind: Kind, wanted: Wanted) -> nn.Module:
    """The network of a folder, on the CPU, ready to be used.

    Weights are read one at a time and converted at once, so the memory needed is that of the
    network in the asked type and of its largest weight as stored. Raises `CheckpointError`.
    """
    config = understand(folder / CONFIG_FILE, kind.read_config)
    weights = WeightsFile(find_weights(folder, DIFFUSERS_STEMS, wanted.variant))
    with torch.device("meta"):
        network = kind.network(config)
    expected = _on_disk(network, kind.renames)
    names = {with_new_names(name): name for name in weights.stored}
    _check_names(weights.file, names, expected)
    state = {}
    for name, meta in expected.items():
        stored = weights.stored[names[name]]
        _check_weight(weights.file, name, stored, tuple(meta.shape))
        state[name] = weights.read(names[name], wanted.dtype or stored.dtype)
    if kind.renames is not None:
        state = rename_from_diffusers(state, kind.renames)
    network.load_state_dict(state, assign=True)
    return network.eval()


def save_module(
    network: nn.Module, folder: Path, values: dict[str, Any], renames: Table | None
) -> None:
    """Write the weights, then `config.json` with these values: with it, the part is whole."""
    state = {name: value.contiguous() for name, value in _on_disk(network, renames).items()}
    folder.mkdir(parents=True, exist_ok=True)
    save_file(state, folder / f"{DIFFUSERS_STEMS[0]}.safetensors", metadata={"format": "pt"})
    write_json(folder / CONFIG_FILE, values)


def understand(file: Path, read: Callable[[dict[str, Any]], Any]) -> Any:
    """What `read` makes of a JSON file; its complaints become `CheckpointError` with the name."""
    values = read_json(file)
    try:
        return read(values)
    except (TypeError, ValueError) as error:
        raise CheckpointError(f"{file} cannot be used: {error}") from error


def read_json(file: Path) -> dict[str, Any]:
    """The object in a JSON file. Raises `CheckpointError` if there is none."""
    if not file.is_file():
        raise CheckpointError(f"there is no file {str(file)!r}")
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise CheckpointError(f"{file} is damaged, it is not JSON: {error}") from error
    if not isinstance(values, dict):
        raise CheckpointError(f"{file} holds a {type(values).__name__}; allowed: an object")
    return values


def write_json(file: Path, values: dict[str, Any]) -> None:
    """Write an object as JSON, with sorted keys."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(values, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def _on_disk(network: nn.Module, renames: Table | None) -> dict[str, torch.Tensor]:
    state = network.state_dict()
    return state if renames is None else rename_to_diffusers(state, renames)


def _check_names(file: Path, found: Iterable[str], expected: Iterable[str]) -> None:
    missing, extra = sorted(set(expected) - set(found)), sorted(set(found) - set(expected))
    if missing or extra:
        raise CheckpointError(
            f"{file} does not fit its config.json: {len(missing)} weights are missing "
            f"{missing[:3]}, {len(extra)} are unknown {extra[:3]}"
        )


def _check_weight(file: Path, name: str, stored: Stored, shape: tuple[int, ...]) -> None:
    if not isinstance(stored.dtype, torch.dtype):
        raise CheckpointError(f"{file}: {name} is {stored.dtype}; allowed: a float type")
    if stored.shape != shape:
        raise CheckpointError(
            f"{file}: {name} has the shape {stored.shape}; its config.json asks for {shape}"
        )

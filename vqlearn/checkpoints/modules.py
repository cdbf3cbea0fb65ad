"""One network on disk: a `config.json`, and a file of weights beside it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from vqlearn.checkpoints.configs import ConfigFile
from vqlearn.checkpoints.layout import DIFFUSERS_STEMS, CheckpointError, naming
from vqlearn.checkpoints.renames import Table, rename_from_diffusers, rename_to_diffusers
from vqlearn.checkpoints.weights import FLOATS, WeightsFile, find_weights

CONFIG_FILE = "config.json"


class Wanted(NamedTuple):
    """How to read weights: converted to `dtype` (None: as stored), and from which files."""

    dtype: torch.dtype | None = None
    variant: str | None = None
    use_safetensors: bool | None = None


class Kind(NamedTuple):
    """A kind of network: its class, how its config stands in a file, its names in files."""

    network: Callable[[Any], nn.Module]
    config: ConfigFile
    renames: Table = ()


def load_module(folder: Path, kind: Kind, wanted: Wanted) -> nn.Module:
    """The network of a folder, on the CPU, ready to be used.

    Weights are read one at a time and converted at once, so the memory needed is that of the
    network in the asked type and of its largest weight as stored. Raises `CheckpointError`.
    """
    config = understand(folder / CONFIG_FILE, kind.config)
    file = find_weights(folder, DIFFUSERS_STEMS, wanted.variant, wanted.use_safetensors)
    weights = WeightsFile(file)
    with torch.device("meta"):  # shapes without memory
        network = kind.network(config)
    expected = rename_to_diffusers(network.state_dict(), kind.renames)
    _check_fit(weights, expected)
    state = {name: weights.read(name, wanted.dtype) for name in expected}
    network.load_state_dict(rename_from_diffusers(state, kind.renames), assign=True)
    return network.eval()


def save_module(network: nn.Module, folder: Path, kind: Kind) -> None:
    """Write the weights, then `config.json`: with it, the part is whole."""
    state = rename_to_diffusers(network.state_dict(), kind.renames)
    state = {name: value.contiguous() for name, value in state.items()}
    folder.mkdir(parents=True, exist_ok=True)
    save_file(state, folder / f"{DIFFUSERS_STEMS[0]}.safetensors", metadata={"format": "pt"})
    write_json(folder / CONFIG_FILE, kind.config.write(network.config))


def understand(file: Path, config: ConfigFile) -> Any:
    """The dataclass in a JSON file. Raises `CheckpointError` that names the file and the key."""
    with naming(file, TypeError, ValueError):
        return config.read(read_json(file))


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


def _check_fit(weights: WeightsFile, expected: dict[str, Tensor]) -> None:
    """Has the file just the weights of the network, in its shapes? Nothing is read for it."""
    file, stored = weights.file, weights.stored
    missing, extra = sorted(expected.keys() - stored), sorted(stored.keys() - expected)
    if missing or extra:
        raise CheckpointError(
            f"{file} does not fit its config.json: {len(missing)} weights are missing "
            f"{missing[:3]}, {len(extra)} are unknown {extra[:3]}"
        )
    for name, (shape, dtype) in stored.items():
        if dtype not in FLOATS.values():
            raise CheckpointError(f"{file}: {name} is {dtype}; allowed: a float type")
        if shape != expected[name].shape:
            raise CheckpointError(
                f"{file}: {name} has the shape {shape}; "
                f"its config.json asks for {tuple(expected[name].shape)}"
            )

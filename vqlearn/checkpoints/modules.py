"""One network on disk: a `config.json`, and a file of weights beside it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from vqlearn.checkpoints.configs import ConfigFile
from vqlearn.checkpoints.layout import CONFIG_FILE, DIFFUSERS_STEMS, is_read, naming
from vqlearn.checkpoints.reading import read_json
from vqlearn.checkpoints.renames import Table, rename_from_diffusers, rename_to_diffusers
from vqlearn.checkpoints.weights import WeightsFile, find_weights
from vqlearn.checkpoints.writing import replaced
from vqlearn.storage import write_json
from vqlearn.storage.atomic import UNFINISHED


class Wanted(NamedTuple):
    """How to read weights: converted to `dtype` (None: as stored), and from which files."""

    dtype: torch.dtype | None = None
    variant: str | None = None
    use_safetensors: bool | None = None


AS_STORED = Wanted()


class Kind(NamedTuple):
    """A kind of network: its class, how its config stands in a file, its names in files.

    `layers` is the least number of layers, each with weights of its own, that a config asks for.
    """

    network: Callable[[Any], nn.Module]
    config: ConfigFile
    layers: Callable[[Any], int]
    renames: Table = ()


def load_module(folder: Path, kind: Kind, wanted: Wanted) -> nn.Module:
    """The network of a folder, on the CPU, ready to be used.

    Weights are counted before the network is built, and read one at a time and converted at once:
    the memory needed is that of the network in the asked type and of its largest weight as stored.
    Raises `CheckpointError`.
    """
    config = understand(folder / CONFIG_FILE, kind.config)
    file = find_weights(folder, DIFFUSERS_STEMS, wanted.variant, wanted.use_safetensors)
    weights = WeightsFile(file)
    weights.check_layers(kind.layers(config))
    # torch raises several kinds of errors for sizes that are too large
    with naming(folder / CONFIG_FILE, Exception), torch.device("meta"):  # shapes without memory
        network = kind.network(config)
    expected = rename_to_diffusers(network.state_dict(), kind.renames)
    weights.check_fit(expected)
    state = {
        name: weights.read(name, wanted.dtype if weight.is_floating_point() else None)
        for name, weight in expected.items()
    }
    network.load_state_dict(rename_from_diffusers(state, kind.renames), assign=True)
    return network.eval()


def save_module(network: nn.Module, folder: Path, kind: Kind) -> None:
    """Write the weights, then `config.json`: with it, the part is whole. Older files go."""
    state = rename_to_diffusers(network.state_dict(), kind.renames)
    with part_replaced(folder) as begun:
        write_weights(begun / f"{DIFFUSERS_STEMS[0]}.safetensors", state)
        write_json(begun / CONFIG_FILE, kind.config.write(network.config))


def part_replaced(folder: Path, marker: str = CONFIG_FILE) -> Any:
    """`replaced` for the files of one part; `marker` comes last."""
    return replaced(folder, unlink_read, (marker,))


def unlink_read(part: Path) -> None:
    """Delete the files of a part that a loader may read, whole or not; others stay."""
    for path in list(part.iterdir()):
        if is_read(path.name.removeprefix(UNFINISHED)):
            path.unlink()


def write_weights(file: Path, state: dict[str, Tensor]) -> None:
    """Write named tensors as diffusers and transformers do."""
    state = {name: value.contiguous() for name, value in state.items()}
    save_file(state, file, metadata={"format": "pt"})


def understand(file: Path, config: ConfigFile) -> Any:
    """The dataclass in a JSON file. Raises `CheckpointError` that names the file and the key."""
    with naming(file, TypeError, ValueError):
        return config.read(read_json(file))

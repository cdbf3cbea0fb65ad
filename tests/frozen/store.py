"""Where the records lie: for each kind one file with its weights, inputs and frozen numbers.

Beside them: the tokens of the shipped model, and what a few steps of training come to.
"""

import json
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from torch import Tensor, nn

RECORDS = Path(__file__).parent / "records"
SCENES = RECORDS / "scenes.json"
TRACES = RECORDS / "training.json"
PARTS = ("weights", "given", "frozen")

RENAMES: dict[str, dict[str, str]] = {}
"""RENAMES[kind][old prefix] = new prefix: where the weights of the record are found today."""


def load_scenes() -> dict[str, Any]:
    return json.loads(SCENES.read_text())


def load_traces() -> dict[str, dict[str, Any]]:
    """What came out of each trainer; as `training.Trace` says it."""
    return json.loads(TRACES.read_text())


def load_record(kind: str) -> tuple[dict[str, Tensor], ...]:
    """Weights, inputs and frozen numbers."""
    record = load_file(RECORDS / f"{kind}.safetensors")
    return tuple(
        {name.removeprefix(f"{part}/"): x for name, x in record.items() if name.startswith(part)}
        for part in PARTS
    )


def save_record(kind: str, *parts: dict[str, Tensor]) -> None:
    named = zip(PARTS, parts, strict=True)
    record = {f"{part}/{name}": x.contiguous() for part, xs in named for name, x in xs.items()}
    save_file(record, RECORDS / f"{kind}.safetensors")


def load_weights(network: nn.Module, weights: dict[str, Tensor], prefixes: dict[str, str]) -> None:
    """The weights of a record, in float64; each name begins with at most one of the prefixes."""

    def today(name: str) -> str:
        for old, new in prefixes.items():
            if name.startswith(old):
                return new + name.removeprefix(old)
        return name

    network.double().eval()
    network.load_state_dict({today(name): x for name, x in weights.items()})

"""Nested values as named tensors and JSON, and back.

Tensors with names fit into a file of safetensors. Neither that nor JSON can hold code, so nothing
that is read is ever executed.
"""

from collections.abc import Mapping
from typing import Any

from torch import Tensor


def flatten(value: Any, name: str, tensors: dict[str, Tensor]) -> Any:
    """What JSON can hold of a nested value; its tensors go to `tensors`, each under its path.

    A mapping becomes `{"items": [[key, value], …]}`, since keys may be numbers; a tensor becomes
    `{"tensor": path}`. So `{"step": 3, "mean": {0: tensor}}` with the name "adam" leaves the tensor
    `adam.mean.0`. Tuples become lists.
    """
    if isinstance(value, Tensor):
        tensors[name] = value.detach().cpu().contiguous()
        return {"tensor": name}
    if isinstance(value, Mapping):
        items = value.items()
        return {"items": [[key, flatten(each, f"{name}.{key}", tensors)] for key, each in items]}
    if isinstance(value, list | tuple):
        return [flatten(each, f"{name}.{i}", tensors) for i, each in enumerate(value)]
    return value


def unflatten(plain: Any, tensors: Mapping[str, Tensor]) -> Any:
    """The nested value that `flatten` was given."""
    if isinstance(plain, list):
        return [unflatten(each, tensors) for each in plain]
    if not isinstance(plain, dict):
        return plain
    if "tensor" in plain:
        return tensors[plain["tensor"]]
    return {key: unflatten(each, tensors) for key, each in plain["items"]}

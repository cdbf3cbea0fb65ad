"""Tensors on disk: nested values as named tensors and JSON, and back; one file of safetensors.

Neither can hold code, so nothing that is read is ever executed.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import Tensor

from vqlearn.storage.atomic import atomic_write, disk_errors


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


def write_tensors(
    file: Path, tensors: Mapping[str, Tensor], about: Mapping[str, str] | None = None
) -> None:
    """Write a file of safetensors atomically; `about` goes to its header. Raises `OSError`."""
    with disk_errors(file), atomic_write(file) as part:
        save_file(dict(tensors), part, about)

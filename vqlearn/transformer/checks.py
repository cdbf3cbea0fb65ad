"""Refusals in words, for every network: of sizes that none can have, of rows it cannot read."""

from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor


def check_sizes(sizes: Mapping[str, Any], **smallest: int) -> None:
    """Each size must be an integer of at least 1, or of what `smallest` says for its name.

    Raises `ValueError` with the name and the value of the first that is not.
    """
    for name, value in sizes.items():
        least = smallest.get(name, 1)
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise ValueError(f"{name} is {value!r}; it must be an integer >= {least}")


def check_multiple(config: Any, name: str, of: str) -> None:
    """Raise `ValueError` unless one size of a config is a multiple of another one."""
    value, part = getattr(config, name), getattr(config, of)
    if value % part:
        raise ValueError(f"{name} is {value}; it must be a multiple of {of}, {part}")


def check_rows(name: str, rows: Int[Tensor, "b n"], num_positions: int, num_classes: int) -> None:
    """Refuse rows of another length, and tokens outside 0..num_classes - 1.

    Tokens are looked at on the CPU only: on an accelerator the check would wait for the device.
    """
    if rows.shape[1] != num_positions:
        raise ValueError(f"{name} has {rows.shape[1]} positions; allowed: {num_positions}")
    if rows.numel() > 0 and rows.device.type == "cpu":
        check_range("tokens", rows, 0, num_classes - 1)


def check_range(name: str, values: Tensor, lowest: int, highest: int) -> None:
    """Refuse tokens or levels that the network has no weights for."""
    if torch.any((values < lowest) | (values > highest)):
        raise ValueError(
            f"{name} span {values.min().item()}..{values.max().item()}; allowed are "
            f"{lowest}..{highest}"
        )

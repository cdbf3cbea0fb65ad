"""Bad input is refused in one style: `name is VALUE; allowed: …`.

Values that lie on an accelerator are not looked at: the check would wait for the device.
"""

from collections.abc import Collection, Hashable, Mapping
from numbers import Integral, Real
from types import NoneType
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

LONGEST_VALUE = 80  # characters of a value in a message

Level = int | Int[Tensor, " b"]
"""A timestep: one for the whole batch, or one for each sequence or image of it."""


def shown(value: object) -> str:
    """The value as a message shows it: its `repr`, with the middle left out where it is long."""
    try:
        text = repr(value)
    except Exception:  # whatever a foreign object does; Python refuses to print huge integers too
        text = f"a {type(value).__name__}"
    half = LONGEST_VALUE // 2
    return text if len(text) <= LONGEST_VALUE else f"{text[:half]}...{text[-half:]}"


def check_choice(name: str, value: object, allowed: Collection) -> None:
    """Raise `ValueError` unless the value is one of these."""
    if not isinstance(value, Hashable) or value not in tuple(allowed):
        options = ", ".join(map(repr, allowed)) or "none"
        raise ValueError(f"{name} is {shown(value)}; allowed: {options}")


def check_integer(
    name: str, value: object, least: int | None = None, most: int | None = None
) -> None:
    """Raise `TypeError` unless it is a whole number, `ValueError` outside of `least` to `most`."""
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise TypeError(f"{name} is {shown(value)}; allowed: a whole number")
    if (least is not None and value < least) or (most is not None and value > most):
        allowed = f"{least} or more" if most is None else f"{least} to {most}"
        raise ValueError(f"{name} is {shown(value)}; allowed: {allowed}")


def check_number(name: str, value: object, limits: tuple[float, float] | None = None) -> None:
    """Raise `TypeError` unless it is a real number (a bool is none).

    With `limits`, least and most, raise `ValueError` outside of them, where NaN is too.
    """
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"{name} is {shown(value)}; allowed: a number")
    if limits is not None and not limits[0] <= value <= limits[1]:
        raise ValueError(f"{name} is {shown(value)}; allowed: {limits[0]} to {limits[1]}")


def check_kind(name: str, value: object, *kinds: type, secret: bool = False) -> None:
    """Raise `TypeError` unless it is of one of these types; a secret value is not shown."""
    if not isinstance(value, kinds):
        seen = f"a {type(value).__name__}" if secret else shown(value)
        names = ", ".join("None" if kind is NoneType else kind.__name__ for kind in kinds)
        raise TypeError(f"{name} is {seen}; allowed: {names}")


def check_sizes(sizes: Mapping[str, Any], **smallest: int) -> None:
    """Each size must be a whole number of at least 1, or of what `smallest` says for its name.

    Raises `ValueError` with the name and the value of the first that is not.
    """
    for name, value in sizes.items():
        least = smallest.get(name, 1)
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise ValueError(f"{name} is {shown(value)}; allowed: whole numbers of {least} or more")


def check_multiple(config: Any, name: str, of: str) -> None:
    """Raise `ValueError` unless one size of a config is a multiple of another one."""
    value, part = getattr(config, name), getattr(config, of)
    if value % part:
        raise ValueError(f"{name} is {shown(value)}; allowed: multiples of {of}, {part}")


def check_range(name: str, values: Tensor, lowest: int, highest: int) -> None:
    """Raise `ValueError` for a tensor on the CPU with a value outside lowest..highest, or NaN."""
    if values.device.type == "cpu" and not ((values >= lowest) & (values <= highest)).all():
        raise ValueError(
            f"{name} holds {values.min().item()} to {values.max().item()}; "
            f"allowed: {lowest} to {highest}"
        )


def check_tokens(name: str, tokens: Int[Tensor, "*b"], num_classes: int) -> None:
    """Raise `ValueError` for tokens outside 0..num_classes - 1."""
    check_range(name, tokens, 0, num_classes - 1)


def check_sequences(name: str, x: Int[Tensor, "b n"], num_positions: int, num_classes: int) -> None:
    """Raise `ValueError` for sequences of another length, or tokens outside 0..num_classes - 1."""
    if x.shape[1] != num_positions:
        raise ValueError(f"{name} has {x.shape[1]} positions; allowed: {num_positions}")
    check_tokens(name, x, num_classes)


def check_same_batch(**tensors: Tensor) -> None:
    """Raise `ValueError` unless all of these have as many sequences."""
    sizes = [len(tensor) for tensor in tensors.values()]
    if len(set(sizes)) > 1:
        raise ValueError(
            f"the batch sizes of {', '.join(tensors)} are {', '.join(map(str, sizes))}; "
            "allowed: equal ones"
        )


def check_level(t: Level, num_timesteps: int, *, lowest: int = 0) -> None:
    """Raise `ValueError`, naming one, if a level lies outside lowest..num_timesteps."""
    levels = torch.as_tensor(t, device="cpu").reshape(-1)
    outside = levels[(levels < lowest) | (levels > num_timesteps)]
    if len(outside) > 0:
        raise ValueError(f"level t is {outside[0].item()}; allowed: {lowest} to {num_timesteps}")


def one_level_each(t: Level, x_t: Tensor) -> Int[Tensor, " b"]:
    """The levels as a tensor with one for each sequence of x_t, as networks embed them."""
    return torch.full((len(x_t),), t, device=x_t.device) if isinstance(t, int) else t


def check_stride(s: Level, t: Level) -> None:
    """Raise `ValueError` unless every reverse step leads from t down to a lower level s."""
    if (torch.as_tensor(s, device="cpu") >= torch.as_tensor(t, device="cpu")).any():
        raise ValueError(f"the reverse step goes from t = {t} to s = {s}; allowed: s below t")

"""Call a function on given arguments, and keep what it returned as plain arrays.

Imports nothing of vqlearn: a worker, in which vqlearn cannot be imported, loads this file too.
"""

import linecache
import traceback
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch

LONGEST_ERROR = 300  # characters


class Outcome(NamedTuple):
    """What a function did in several calls: for each, its results and gradients; or its error."""

    calls: list[list[np.ndarray]]  # in float64, flattened: all results, then all gradients
    error: str = ""  # "ValueError: …", of the first call that raised


def outcome(
    function: Callable[..., Any], calls: Sequence[tuple[Any, ...]], differentiable: Sequence[int]
) -> Outcome:
    """Call the function on copies of the arguments, again and again, until one call raises."""
    found = []
    for arguments in calls:
        try:
            found.append(_one_call(function, arguments, differentiable))
        except Exception as error:
            text = f"{type(error).__name__}: {error}"[:LONGEST_ERROR]
            return Outcome(found, text + _line(function, error))
    return Outcome(found)


def _line(function: Callable[..., Any], error: Exception) -> str:
    """The last line of the function's own file that the error went through, where it is known."""
    file = getattr(getattr(function, "__code__", None), "co_filename", None)
    lines = [
        linecache.getline(file, frame.lineno).strip()
        for frame in traceback.extract_tb(error.__traceback__, limit=100)
        if frame.filename == file and frame.lineno
    ]
    return f" (in the line `{lines[-1]}`)" if lines and lines[-1] else ""


def _one_call(
    function: Callable[..., Any], arguments: tuple[Any, ...], differentiable: Sequence[int]
) -> list[np.ndarray]:
    """All results, then the gradients of a fixed weighted sum of them."""
    torch.manual_seed(0)
    own = [_copied(value) for value in arguments]
    asked = [own[place].requires_grad_() for place in differentiable]
    # A leaf must not be changed in place, which a right solution may do; its copy may.
    result = function(*[value.clone() if torch.is_tensor(value) else value for value in own])
    leaves = _leaves(result)
    return [_array(leaf) for leaf in leaves] + _gradients(leaves, asked)


def _copied(value: Any) -> Any:
    """The argument, so that what the function changes in it is changed nowhere else."""
    if torch.is_tensor(value):
        return value.detach().clone()
    return tuple(map(_copied, value)) if isinstance(value, tuple) else value


def _leaves(value: Any) -> list[Any]:
    """Tensors, arrays and numbers in a result, in order. Raises `TypeError` for anything else."""
    if isinstance(value, torch.Tensor | np.ndarray | np.generic | int | float):
        return [value]
    if isinstance(value, list | tuple):
        if not any(map(_is_more_than_a_number, value)):
            try:
                return [np.array(value, dtype=np.float64)]
            except (TypeError, ValueError):
                pass  # of several shapes: each on its own
        return [leaf for item in value for leaf in _leaves(item)]
    seen = "None (is a `return` missing?)" if value is None else f"a {type(value).__name__}"
    raise TypeError(f"the function returned {seen}; allowed: tensors, numbers, tuples of them")


def _is_more_than_a_number(item: Any) -> bool:
    """Is it a tensor with axes, or one that a gradient may be asked of?"""
    return torch.is_tensor(item) and (item.ndim > 0 or item.requires_grad)


def _array(leaf: Any) -> np.ndarray:
    """One result in float64, with the shape that it has."""
    if torch.is_tensor(leaf):
        leaf = leaf.detach().to("cpu", torch.float64).numpy()
    return np.array(leaf, dtype=np.float64)


def _gradients(leaves: list[Any], asked: list[torch.Tensor]) -> list[np.ndarray]:
    """Of a weighted sum of the results with respect to each tensor; none is the same as zeros."""
    if not asked:
        return []
    total = sum(
        (leaf * _weights(leaf)).sum()
        for leaf in leaves
        if torch.is_tensor(leaf) and leaf.requires_grad
    )
    if not torch.is_tensor(total):
        return [np.zeros(tuple(tensor.shape)) for tensor in asked]
    gradients = torch.autograd.grad(total, asked, allow_unused=True)
    pairs = zip(gradients, asked, strict=True)
    return [_array(torch.zeros_like(x) if grad is None else grad) for grad, x in pairs]


def _weights(leaf: torch.Tensor) -> torch.Tensor:
    """Another weight for each number of a result, so that no two gradients cancel."""
    return torch.linspace(1, 2, leaf.numel(), dtype=leaf.dtype).reshape(leaf.shape)

"""Frames: JSON and raw arrays over a socket, between processes that do not trust each other.

A frame is the sizes of both parts, a JSON object, and the bytes of all arrays one after the other;
the object says under "arrays" which type and shape each has. Nothing is ever unpickled. Imports
nothing of vqlearn: a worker loads this file too.
"""

import json
import math
import socket
import struct
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

SIZES = struct.Struct("<QQ")
LARGEST = 64 << 20  # bytes of a frame
LARGEST_HEADER = 8 << 20  # bytes of its JSON, which takes more room in memory than arrays do
MOST_ARRAYS, MOST_AXES = 10_000, 32
ARGUMENTS = ("float64", "float32", "int64", "bool")
RESULTS = ("float64",)


class FrameError(ValueError):
    """What came is no frame."""


def packed(header: dict[str, Any], arrays: Sequence[np.ndarray]) -> bytes:
    """A frame. Raises `FrameError` if it is larger than frames may be."""
    described = [[array.dtype.name, list(array.shape)] for array in arrays]
    text = json.dumps({**header, "arrays": described}).encode()
    body = b"".join(array.tobytes() for array in arrays)
    _check_sizes(len(text), len(body))
    return SIZES.pack(len(text), len(body)) + text + body


def receive(
    connection: socket.socket, types: Sequence[str], deadline: float | None = None
) -> tuple[dict[str, Any], list[np.ndarray]]:
    """The object and the arrays of the next frame.

    Raises `FrameError` for anything that is no frame or has arrays of other types, `EOFError` if
    the other side ends before, and `TimeoutError` after the deadline, a time of `time.monotonic`.
    """
    sizes = SIZES.unpack(_exactly(connection, SIZES.size, deadline))
    _check_sizes(*sizes)
    header = _header(_exactly(connection, sizes[0], deadline))
    described = _described(header.pop("arrays", None), types)
    lengths = [math.prod(shape) * np.dtype(kind).itemsize for kind, shape in described]
    if sum(lengths) != sizes[1]:
        raise FrameError("the shapes do not fit the bytes")
    body = _exactly(connection, sizes[1], deadline)
    arrays, start = [], 0
    for (kind, shape), length in zip(described, lengths, strict=True):
        arrays.append(_array(body[start : start + length], kind, shape))
        start += length
    return header, arrays


def pack_arguments(value: Any, arrays: list[np.ndarray]) -> Any:
    """What JSON can hold of nested tuples, numbers and strings; tensors go to `arrays`.

    Raises `TypeError` for anything else.
    """
    if torch.is_tensor(value):
        array = value.detach().cpu().numpy()
        if array.dtype.name in ARGUMENTS:
            arrays.append(array)
            return {"tensor": len(arrays) - 1}
    if isinstance(value, tuple):
        return {"tuple": [pack_arguments(item, arrays) for item in value]}
    if value is None or isinstance(value, bool | int | float | str):
        return value
    seen = value.dtype if torch.is_tensor(value) else type(value).__name__
    raise TypeError(f"an argument is a {seen}; allowed: tensors, numbers, strings, tuples of them")


def unpack_arguments(plain: Any, arrays: Sequence[np.ndarray]) -> Any:
    """The arguments that `pack_arguments` was given."""
    if not isinstance(plain, dict):
        return plain
    if "tensor" in plain:
        return torch.from_numpy(arrays[plain["tensor"]])
    return tuple(unpack_arguments(item, arrays) for item in plain["tuple"])


def _check_sizes(header: int, body: int) -> None:
    if header > LARGEST_HEADER or header + body > LARGEST:
        raise FrameError(f"a frame has {header} + {body} bytes; allowed: {LARGEST}")


def _exactly(connection: socket.socket, count: int, deadline: float | None) -> bytes:
    """So many bytes, in as many pieces as they come."""
    pieces, missing = [], count
    while missing:
        if deadline is not None:
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError
            connection.settimeout(left)
        piece = connection.recv(min(missing, 1 << 20))
        if not piece:
            raise EOFError
        pieces.append(piece)
        missing -= len(piece)
    return b"".join(pieces)


def _header(text: bytes) -> dict[str, Any]:
    try:
        header = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise FrameError("the header is not JSON") from error
    if not isinstance(header, dict):
        raise FrameError("the header is no object")
    return header


def _described(described: Any, types: Sequence[str]) -> list[tuple[str, list[int]]]:
    """Type and shape of each array."""
    if not isinstance(described, list) or len(described) > MOST_ARRAYS:
        raise FrameError("the header does not describe the arrays")
    for one in described:
        if not isinstance(one, list) or len(one) != 2:
            raise FrameError("an array is not described by its type and shape")
        kind, shape = one
        if not isinstance(kind, str) or kind not in types:
            raise FrameError("an array is of another type")
        if not isinstance(shape, list) or len(shape) > MOST_AXES or not all(map(is_size, shape)):
            raise FrameError("a shape is none")
    return [(kind, shape) for kind, shape in described]


def is_size(value: Any) -> bool:
    """Is it a whole number of 0 or more that can be the size of something in a frame?"""
    return type(value) is int and 0 <= value <= LARGEST


def _array(data: bytes, kind: str, shape: list[int]) -> np.ndarray:
    try:
        return np.frombuffer(data, kind).reshape(shape).copy()
    except (ValueError, OverflowError) as error:  # numpy has limits of its own for empty arrays
        raise FrameError("a shape is none") from error

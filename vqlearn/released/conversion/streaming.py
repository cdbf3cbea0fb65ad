"""Writing a file of safetensors one tensor at a time: no more than one is in memory.

The library takes all of them at once, and copies them.
"""

import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import Tensor

from vqlearn.checkpoints.weights import DTYPES, Stored

NAMES = {dtype: name for name, dtype in DTYPES.items()}
ALIGNMENT = 8  # bytes


def write_streamed(
    file: Path, weights: Mapping[str, Stored], read: Callable[[str], Tensor]
) -> None:
    """Write the tensors `read(name)`, which must have these shapes and types, in this order.

    Layout: the length of the header in 8 bytes; the header, JSON; the numbers of each tensor.
    """
    header, end = {"__metadata__": {"format": "pt"}}, 0
    for name, (shape, dtype) in weights.items():
        begin, end = end, end + math.prod(shape) * dtype.itemsize
        header[name] = {"dtype": NAMES[dtype], "shape": shape, "data_offsets": [begin, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % ALIGNMENT)
    with file.open("wb") as stream:
        stream.write(len(text).to_bytes(ALIGNMENT, "little") + text)
        for name, stored in weights.items():
            value = read(name)
            if Stored(tuple(value.shape), value.dtype) != stored:
                raise ValueError(f"{name} is {value.dtype} {value.shape}; announced: {stored}")
            stream.write(value.contiguous().view(-1).view(torch.uint8).numpy().data)

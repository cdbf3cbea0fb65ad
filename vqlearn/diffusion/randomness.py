"""Uniform random numbers, the one source of chance in the process and the sampler."""

from collections.abc import Sequence

import torch
from torch import Tensor

Generators = torch.Generator | Sequence[torch.Generator] | None


def finest_float(device: torch.device) -> torch.dtype:
    """float64, except on MPS, which has none."""
    return torch.float32 if device.type == "mps" else torch.float64


def uniform(shape: Sequence[int], device: torch.device, *, generator: Generators = None) -> Tensor:
    """Numbers in [0, 1), in float64 where the device has it.

    They are drawn where the generator lives, so that a CPU seed means the same on a GPU. A list
    of generators has one for each row of the first axis, and makes every row independent of the
    rest of the batch. Raises `ValueError` if their number is not that of the rows.
    """
    if isinstance(generator, Sequence):
        if len(generator) != shape[0]:
            raise ValueError(
                f"{len(generator)} generators for {shape[0]} images; allowed: one each"
            )
        return torch.stack([uniform(shape[1:], device, generator=one) for one in generator])
    home = device if generator is None else generator.device
    numbers = torch.rand(shape, generator=generator, device=home, dtype=finest_float(home))
    return numbers.to(device, finest_float(device))

"""Random numbers, and the one way to draw a token.

Everything random in the package starts from a `torch.Generator` that the caller hands in, and every
token is drawn by `inverse_cdf`, mostly from `sample_categorical`.
"""

import hashlib
from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

Generators = torch.Generator | Sequence[torch.Generator] | None
"""One generator for a batch, one for each image of it, or torch's own."""


def finest_float(device: torch.device) -> torch.dtype:
    """float64, except on MPS, which has none."""
    return torch.float32 if device.type == "mps" else torch.float64


def random_stream(*names: str | int) -> torch.Generator:
    """A generator that belongs to these names alone: other names, unrelated numbers."""
    digest = hashlib.sha256("/".join(map(str, names)).encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8]))


def uniform(shape: Sequence[int], device: torch.device, *, generator: Generators = None) -> Tensor:
    """Numbers in [0, 1), in float64 where the device has it.

    They are drawn where the generator lives, so that a CPU seed means the same on a GPU. A list
    of generators has one for each row of the first axis, and makes every row independent of the
    rest of the batch. Raises `ValueError` if their number is not that of the rows.
    """
    if isinstance(generator, Sequence):
        if len(generator) != shape[0]:
            raise ValueError(
                f"the number of generators is {len(generator)}; allowed: {shape[0]}, one an image"
            )
        return torch.stack([uniform(shape[1:], device, generator=one) for one in generator])
    home = device if generator is None else generator.device
    numbers = torch.rand(shape, generator=generator, device=home, dtype=finest_float(home))
    return numbers.to(device, finest_float(device))


def sample_categorical(
    log_p: Float[Tensor, "b n classes"], *, generator: Generators = None
) -> Int[Tensor, "b n"]:
    """Draw one class for each token, by one uniform number: see `inverse_cdf`.

    Generators: see `uniform`. Raises `ValueError` as `inverse_cdf` does.
    """
    return inverse_cdf(log_p, uniform(log_p.shape[:2], log_p.device, generator=generator))


def inverse_cdf(log_p: Float[Tensor, "*b classes"], u: Float[Tensor, "*b"]) -> Int[Tensor, "*b"]:
    """The class of each token that a uniform number u in [0, 1) stands for.

    It is the first one whose cumulative probability exceeds u, so no class of probability 0 can
    ever come out. It is done in float64, since float32 noise loses the tails of a long list. (MPS
    has no float64; there it is float32.) `log_p` need not be normalised: u is scaled to its sum. A
    token without any mass gets the number of classes, which is none of them.

    Raises `ValueError` if a token has no finite mass, which means that NaN came out of the network
    (checked on the CPU only).
    """
    device = log_p.device
    cumulative = log_p.to(finest_float(device)).exp().cumsum(dim=-1)  # (b, n, classes)
    total = cumulative[..., -1:].contiguous()  # (b, n, 1)
    if device.type == "cpu" and not total.isfinite().all():
        raise ValueError("a token has no finite probabilities; do the weights hold NaN?")
    below_total = torch.nextafter(total, torch.zeros_like(total))  # u * total may round up to it
    threshold = torch.minimum(u[..., None] * total, below_total)
    return torch.searchsorted(cumulative, threshold, right=True)[..., 0]

r"""Three ways to draw only what is likely, temperature, top-k and top-p; and guidance.

    sample(next_law, prefix, n, sharpen=lambda log_p: top_k(temperature(log_p, 0.7), 50))

The first three take normalised log p over the K codes (class axis last, any shape before it) and
return another law of that shape, normalised too. So they can follow each other in any order, and
the order matters. What is drawn no longer has the law of the network: `raster.exact_law` with the
same `sharpen` gives the law that it has. Tests: tests/test_raster.py.
"""

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor

from vqlearn.autoregressive.raster import NextLaw
from vqlearn.diffusion.guidance import guide, truncate
from vqlearn.diffusion.logmath import IMPOSSIBLE, log_normalise


def temperature(log_p: Float[Tensor, "*b k"], value: float) -> Float[Tensor, "*b k"]:
    r"""How bold is the drawing? $p_k^{1/\tau} / \sum_j p_j^{1/\tau}$ with $\tau$ = `value`.

    $\tau = 1$ changes nothing, a smaller one sharpens, a larger one flattens. A code of
    probability 0 stays at 0. Towards $\tau = 0$ only the likeliest code is left, which `top_k`
    with k = 1 gives exactly.

    Raises `ValueError` unless `value` is finite and above 0 in the dtype of `log_p`.
    """
    smallest = torch.finfo(log_p.dtype).tiny
    if not smallest <= value < math.inf:
        raise ValueError(f"temperature is {value}; allowed: finite numbers from {smallest:.1e} on")
    below_top = log_p - log_p.amax(dim=-1, keepdim=True)  # so that 0 / value stays 0
    return log_normalise(below_top / value)


def top_k(log_p: Float[Tensor, "*b k"], count: int) -> Float[Tensor, "*b k"]:
    """Which codes may be drawn? The `count` likeliest; the rest is renormalised.

    Exactly `count` codes are kept: where two are equally likely, the one with the lower number
    goes first. Costs one sort, O(K log K) a token.

    Source: Fan et al. 2018, "Hierarchical Neural Story Generation". Raises `ValueError` for a count
    outside 1..K.
    """
    num_codes = log_p.shape[-1]
    if not 1 <= count <= num_codes:
        raise ValueError(f"top_k is {count}; allowed: 1 to {num_codes}, the number of codes")
    order = log_p.argsort(dim=-1, descending=True, stable=True)
    return log_normalise(log_p.scatter(-1, order[..., count:], IMPOSSIBLE))


def top_p(log_p: Float[Tensor, "*b k"], mass: float) -> Float[Tensor, "*b k"]:
    """Which codes may be drawn? The smallest set of likeliest ones that reaches this `mass`.

    The code that crosses the mass is kept, so the likeliest code always is; at a mass of 1 nothing
    is cut. A sharp law keeps few codes, a flat one many: this is what `top_k` cannot do. It is the
    `truncate` of the diffusion sampler, for any shape.

    Source: Holtzman et al. 2020, "The Curious Case of Neural Text Degeneration". Raises
    `ValueError` unless 0 < mass <= 1.
    """
    if not 0 < mass <= 1:
        raise ValueError(f"top_p is {mass}; allowed: above 0, up to 1")
    rows = log_p.reshape(1, -1, log_p.shape[-1])  # (..., k) -> (1, rows, k)
    return truncate(rows, mass).reshape(log_p.shape)


def guided(conditional: NextLaw, unconditional: NextLaw, scale: float) -> NextLaw:
    r"""The next law with `scale` times as much of what the sentence adds: see `guidance.guide`.

    $\log u + s\,(\log c - \log u)$, renormalised for each token alone: so the law of the whole row
    is not the guided law of rows. Costs two networks, or one that is asked twice.
    Test: `test_guided_rows_follow_the_guided_laws_of_their_tokens`.
    """

    def next_law(prefix: Int[Tensor, "b i"]) -> Float[Tensor, "b k"]:
        laws = (law(prefix)[:, None] for law in (conditional, unconditional))  # (b, 1, K)
        return guide(*laws, scale)[:, 0]

    return next_law

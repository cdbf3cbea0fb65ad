r"""What may be done to a distribution before a token is drawn from it.

    top_k(temperature(log_p, 0.7), 50)

All take and return normalised log p over the K codes, class axis last, any shape before it. So they
can follow each other in any order, and the order matters. What is sampled no longer has the
distribution of the network: the exact distribution of a sampler with filters is found by
enumeration (`diffusion.exact`, `autoregressive.decoding.exact_distribution`).
"""

import math
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from vqlearn.probability.checks import shown
from vqlearn.probability.log_probs import IMPOSSIBLE, log_normalise

Filter = Callable[[Float[Tensor, "*b k"]], Float[Tensor, "*b k"]]
"""filter(log p): another distribution over the same codes."""


def guide(
    log_conditional: Float[Tensor, "*b k"],
    log_unconditional: Float[Tensor, "*b k"],
    scale: float | Float[Tensor, "*#b 1"],
) -> Float[Tensor, "*b k"]:
    r"""Classifier-free guidance: take `scale` times as much of what the condition adds.

    $\log u + w\,(\log c - \log u)$ with w = `scale`, renormalised. w = 1 is the conditional
    distribution c itself, w = 0 the unconditional one u, but for the codes that c excludes: they
    stay excluded. The guidance scale s of Tang et al. is w - 1, 0 without guidance.

    Source: the update of Tang et al. 2022, "Improved Vector Quantized Diffusion Models". They print
    it for the step $p(x_{t-1} \mid x_t)$; their code, and we, guide the predicted $x_0$. On the
    step, where MASK is one of the classes, it would unmask too early: the codes are multiplied by
    $\sum_j c_j^w u_j^{1-w}$ together, at least 1 for w >= 1, and MASK by 1.

    Raises `ValueError` for a scale below 0, infinite or NaN (a tensor's on the CPU).
    """
    scales = torch.as_tensor(scale, dtype=torch.float64)
    if scales.device.type == "cpu" and not ((scales >= 0) & scales.isfinite()).all():
        seen = shown(scales.tolist())
        raise ValueError(f"guidance_scale is {seen}; allowed: finite numbers from 0 on")
    if isinstance(scale, Tensor):
        scale = scale.to(log_conditional)
    # -inf becomes finite, small enough that scale * (c - u) cannot overflow.
    lowest = torch.finfo(log_conditional.dtype).min / (4 * (1 + scale))
    floor = log_unconditional.clamp(min=lowest)
    guided = floor + scale * (log_conditional.clamp(min=lowest) - floor)
    return log_normalise(guided.masked_fill(torch.isneginf(log_conditional), IMPOSSIBLE))


def temperature(log_p: Float[Tensor, "*b k"], value: float) -> Float[Tensor, "*b k"]:
    r"""$p_k^{1/\tau} / \sum_j p_j^{1/\tau}$ with the temperature $\tau$ = `value`.

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
    """Keep the `count` likeliest codes and renormalise.

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


def top_p(
    log_p: Float[Tensor, "*b k"], mass: float, *, renormalised: bool = True
) -> Float[Tensor, "*b k"]:
    r"""Nucleus sampling: keep the smallest set of likeliest codes that reaches `mass`.

    Gu et al. 2022 call it truncation, and the mass the truncation rate r. The code that crosses the
    mass is kept, so the likeliest code always is; what is kept is renormalised, and at a mass of 1
    nothing is cut. A sharp distribution keeps few codes, a flat one many: this is what `top_k`
    cannot do. Costs one sort, O(K log K) a token.

    Source: Holtzman et al. 2020, "The Curious Case of Neural Text Degeneration". Raises
    `ValueError` unless 0 < mass <= 1. `renormalised` False leaves what is kept as it was, so that
    the largest probability is still that of the whole distribution.
    """
    if not 0 < mass <= 1:
        raise ValueError(f"top_p is {mass}; allowed: above 0, up to 1")
    if mass == 1:
        return log_p
    ranked, order = log_p.sort(dim=-1, descending=True)
    mass_before = ranked.exp().cumsum(dim=-1).roll(1, dims=-1)  # of all likelier codes
    mass_before[..., 0] = 0
    cut = torch.zeros_like(order, dtype=torch.bool).scatter(-1, order, mass_before >= mass)
    kept = log_p.masked_fill(cut, IMPOSSIBLE)
    return log_normalise(kept) if renormalised else kept

r"""The negative ELBO of a diffusion model in bits per token, and its exact likelihood if tiny.

$p(x_0)$ of a diffusion model is a sum over all paths, so one reports the negative ELBO of
`objective.py` instead, which is never below $-\log p(x_0)$. Three things make a number out of it
that may be compared: the term of the prior is included, its unit is bits per token, and it comes
with a standard error.

For masks alone the number of levels can go to infinity: `masked_bound`. It is the limit of the
negative ELBO of the absorbing kernel, and equally the negative log-likelihood of an autoregressive
model, averaged over all orders of the tokens.
"""

import math
from collections.abc import Callable
from itertools import combinations

import torch
from jaxtyping import Float, Float64, Int
from torch import Tensor

from vqlearn.diffusion.exact.world import prior_distribution, sampler_distribution
from vqlearn.diffusion.objective import variational_bound
from vqlearn.diffusion.process import Process
from vqlearn.diffusion.sampler import Denoise
from vqlearn.probability import Bits, bits_per_token, uniform
from vqlearn.probability.checks import check_sizes

Unmask = Callable[[Int[Tensor, "b n"]], Float[Tensor, "b n k"]]
"""unmask(x_t): normalised log p(x_0 | the tokens that are not MASK); it is told no level."""

MAX_POSITIONS = 16


@torch.no_grad()
def bound_per_token(
    process: Process,
    denoise: Denoise,
    x_0: Int[Tensor, "b n"],
    *,
    generator: torch.Generator | None = None,
    draws: int = 1,
) -> Bits:
    """The negative ELBO in bits per token, prior included, with its standard error.

    The mean of `objective.variational_bound`, which visits every level, over images and `draws`
    of the noise. The error says how far other images and other noise would move it: more draws
    lower the part of the noise only, more images lower both. Costs T * draws calls of the denoiser.
    Works for every process. For many images join the nats of several calls with `bits_per_token`.

    Raises `ValueError` for fewer than 1 draw or 2 images.
    """
    check_sizes({"draws": draws})
    nats = [variational_bound(process, denoise, x_0, generator=generator) for _ in range(draws)]
    # Averaged first: the draws of one image are no independent data.
    return bits_per_token(torch.stack(nats).mean(dim=0), x_0.shape[1])  # of (draws, b)


def exact_log_likelihood(
    process: Process, denoise: Denoise, x_0: Int[Tensor, "b n"]
) -> Float64[Tensor, " b"]:
    """log p(x_0) of each sequence in nats, exactly.

    p is the distribution of what T steps from the prior return
    (`exact.world.sampler_distribution`), so this is for tiny worlds only: it costs T * states^2.
    The negative ELBO is never below minus this.
    """
    num_positions = x_0.shape[1]
    levels = range(process.num_timesteps, -1, -1)
    distribution = sampler_distribution(
        process, denoise, prior_distribution(process, num_positions), levels
    )
    # The number of a sequence in `all_states`: its tokens are the digits, the last runs fastest.
    place_values = process.num_classes ** torch.arange(num_positions - 1, -1, -1)  # (n,)
    return distribution[(x_0 * place_values).sum(dim=-1)].log()  # (b,)


def masked_bound(
    unmask: Unmask,
    x_0: Int[Tensor, "b n"],
    mask: int,
    *,
    generator: torch.Generator | None = None,
    draws: int = 1,
) -> Float[Tensor, " b"]:
    r"""The negative ELBO of the absorbing kernel with infinitely many levels: nats per image.

    $\int_0^1 \frac{-\bar\alpha'_t}{1-\bar\alpha_t} E \sum_{i\,\mathrm{masked}}
    -\log \tilde p(x_0^i|x_t)\,dt$, and with $\bar\alpha_t = 1 - t$ the weight is 1/t. The integral
    over t can be done by hand: it leaves m masked tokens with the same weight for every m of
    1..n, that is $n\,E_m E_S \frac1m \sum_{i \in S} -\log \tilde p(x_0^i|x_S)$ with m uniform and
    S any m positions. This estimates it without bias from `draws` pairs (m, S) for each image.

    The schedule does not matter, because `unmask` is told no level. `mask` is the index of MASK.
    With one draw it is also a training loss. Costs `draws` calls of the network. Raises
    `ValueError` for fewer than 1 draw.
    Source: Sahoo et al. 2024, "Simple and Effective Masked Diffusion Language Models". The exact
    value is `exact_masked_bound`.
    """
    check_sizes({"draws": draws})
    count, num_positions = x_0.shape
    nats = 0.0
    for _ in range(draws):
        u = uniform((count, num_positions + 1), x_0.device, generator=generator)
        num_masked = 1 + (u[:, :1] * num_positions).long()  # (b, 1): m, uniform on 1..n
        # Argsort twice gives ranks: the m positions with the lowest numbers are S.
        is_masked = u[:, 1:].argsort(dim=-1).argsort(dim=-1) < num_masked  # (b, n)
        nll = _masked_nll(unmask, x_0, is_masked, mask)
        nats = nats + num_positions * nll / num_masked[:, 0] / draws
    return nats


def exact_masked_bound(unmask: Unmask, x_0: Int[Tensor, "b n"], mask: int) -> Float[Tensor, " b"]:
    r"""The value that `masked_bound` estimates: nats per sequence, by going through all sets.

    $\sum_{S \ne \emptyset} \frac{(m-1)!\,(n-m)!}{n!} \sum_{i \in S} -\log \tilde p(x_0^i|x_S)$
    with m tokens in S. The weight is $\int_0^1 \frac1t t^m (1-t)^{n-m} dt$, and also the share of
    the n! orders in which token i comes next when exactly S is still masked: this bound is the
    mean, over all orders, of the negative log-likelihood token by token.

    Costs 2^n - 1 calls. Raises `ValueError` for more than 16 tokens.

    With T levels the negative ELBO of the absorbing kernel is the sum $\frac1T \sum_t g(t/T)$ over
    $g(t) = \frac1t E\sum_{i\,\mathrm{masked}} -\log \tilde p$ in place of the integral of g, thus
    too large by $(g(1)-g(0))/2T + O(T^{-2})$: g(1) is the negative log-likelihood of all tokens
    given none of the others, g(0) given all others.
    """
    num_positions = x_0.shape[1]
    if num_positions > MAX_POSITIONS:
        raise ValueError(f"num_positions is {num_positions}; allowed: up to {MAX_POSITIONS}")
    nats = 0.0
    for num_masked in range(1, num_positions + 1):
        weight = 1 / (num_masked * math.comb(num_positions, num_masked))  # (m-1)! (n-m)! / n!
        for positions in combinations(range(num_positions), num_masked):
            is_masked = torch.zeros_like(x_0, dtype=torch.bool)
            is_masked[:, list(positions)] = True
            nats = nats + weight * _masked_nll(unmask, x_0, is_masked, mask)
    return nats


def _masked_nll(unmask: Unmask, x_0: Tensor, is_masked: Tensor, mask: int) -> Tensor:
    """The negative log-likelihood of the masked tokens, given the others: nats per sequence."""
    log_p_x0 = unmask(torch.where(is_masked, mask, x_0))
    log_right = log_p_x0.gather(-1, x_0[..., None])[..., 0]  # (b, n, K) -> (b, n)
    return -log_right.masked_fill(~is_masked, 0).sum(dim=-1)

r"""What the denoiser is trained on: the negative ELBO (variational bound), one level at a time.

$-\log p(x_0) \le \underbrace{KL(q(x_T|x_0)\,\|\,p(x_T))}_{\text{prior}} +
\sum_{t=2}^{T} E\,KL(q(x_{t-1}|x_t,x_0)\,\|\,p(x_{t-1}|x_t)) - E\log p(x_0|x_1)$

The right-hand side is the negative ELBO (evidence lower bound), called the bound below. All
results are in nats; a function says whether it sums over the tokens of an image or averages.
"""

from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from vqlearn.diffusion.process import Process
from vqlearn.diffusion.sampler import Denoise
from vqlearn.probability import finest_float, kl_divergence
from vqlearn.probability.checks import Level


class TrainingLoss(NamedTuple):
    """Nats per token, one number for each image; `total` is the weighted sum of the others."""

    total: Float[Tensor, " b"]
    bound: Float[Tensor, " b"]
    auxiliary: Float[Tensor, " b"]


def bound_term(
    process: Process,
    log_p_x0: Float[Tensor, "b n k"],
    x_0: Int[Tensor, "b n"],
    x_t: Int[Tensor, "b n"],
    t: Level,
) -> Float[Tensor, "b n"]:
    r"""The term of level t in the negative ELBO: nats for each token.

    $KL(q(x_{t-1}|x_t,x_0)\,\|\,p(x_{t-1}|x_t))$. At t = 1 the first distribution is all on x_0, and
    the same formula is the negative log-likelihood $-\log p(x_0|x_1)$.
    """
    log_p = process.log_reverse(log_p_x0, x_t, t - 1, t)  # (b, n, classes)
    log_q = process.log_posterior(x_0, x_t, t - 1, t, dtype=log_p.dtype)
    return kl_divergence(log_q, log_p)  # (b, n)


def prior_term(process: Process, x_0: Int[Tensor, "b n"]) -> Float[Tensor, "b n"]:
    r"""The term of the prior in the negative ELBO, $KL(q(x_T|x_0)\,\|\,p(x_T))$: nats per token.

    No network can change it, so training leaves it out; a bound must not.
    """
    dtype = finest_float(x_0.device)
    log_q = process.log_marginal(x_0, process.num_timesteps, dtype=dtype)
    log_p = process.log_prior().to(x_0.device, dtype)  # (classes,), the same for every token
    return kl_divergence(log_q, log_p)


def training_loss(
    process: Process,
    log_p_x0: Float[Tensor, "b n k"],
    tokens: tuple[Int[Tensor, "b n"], Int[Tensor, "b n"]],
    t: Int[Tensor, " b"],
    *,
    auxiliary_weight: float = 5e-4,
) -> TrainingLoss:
    r"""The loss of one batch of (x_0, x_t), x_t drawn at levels t of 1..T.

    Levels are uniformly random, or each loss is weighted as `level_sampling.ImportanceSampler`
    says.

    `bound` is T times the term of level t: an unbiased estimate of the negative ELBO without the
    term of the prior. `auxiliary` is the cross-entropy $-\log \tilde p(x_0|x_t)$. The total is
    bound + T * `auxiliary_weight` * (2 - (t - 1)/T) * auxiliary: low levels, where little is left
    to guess, count up to twice.

    Source: Gu et al. 2022 for the auxiliary loss; the adaptive weight is that of the authors'
    training code.
    """
    x_0, x_t = tokens
    num_timesteps = process.num_timesteps
    # One level stands for all T of them; the mean over n tokens: (b, n) -> (b,).
    bound = num_timesteps * bound_term(process, log_p_x0, x_0, x_t, t).mean(dim=1)
    auxiliary = -log_p_x0.gather(-1, x_0[..., None])[..., 0].mean(dim=1)
    adaptive = 2 - (t - 1).to(bound) / num_timesteps
    total = bound + num_timesteps * auxiliary_weight * adaptive * auxiliary
    return TrainingLoss(total, bound, auxiliary)


def variational_bound(
    process: Process,
    denoise: Denoise,
    x_0: Int[Tensor, "b n"],
    *,
    generator: torch.Generator | None = None,
) -> Float[Tensor, " b"]:
    """An unbiased estimate of the negative ELBO: nats per image, prior included.

    Every level is visited once, with one random x_t. Costs T calls of the denoiser. On average it
    is not below -log p(x_0); the exact value in a tiny world is `exact.world.exact_bound`.
    """
    nats = prior_term(process, x_0).sum(dim=1)  # (b,), summed over the n tokens
    for t in range(1, process.num_timesteps + 1):
        x_t = process.corrupt(x_0, t, generator=generator)
        nats = nats + bound_term(process, denoise(x_t, t), x_0, x_t, t).sum(dim=1)
    return nats

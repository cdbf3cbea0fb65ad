r"""What the network is trained on, and the negative ELBO (variational bound) of an image.

The bound is that of `diffusion/objective.py`, with normal distributions in place of tables:

$-\log p(x_0) \le \underbrace{KL(q(x_T|x_0)\,\|\,N(0, 1))}_{\text{prior}} +
\sum_{t=2}^{T} E\,KL(q(x_{t-1}|x_t,x_0)\,\|\,p(x_{t-1}|x_t)) - E\log p(x_0|x_1)$
"""

import torch
from einops import reduce
from jaxtyping import Float, Int
from torch import Tensor
from torch.special import log_ndtr

from vqlearn.continuous.gaussian import Corruption, GaussianProcess
from vqlearn.continuous.normal import Images, Normal, kl_divergence
from vqlearn.continuous.sampler import Ancestral, Model, Restore
from vqlearn.probability import Generators, finest_float

NUM_GREYS = 256


def simple_loss(
    process: Corruption,
    model: Model,
    x_0: Images,
    t: Int[Tensor, " b"],
    *,
    generator: Generators = None,
) -> Float[Tensor, " b"]:
    r"""The squared error of what the network predicts, averaged over the numbers of an image.

    $\|\epsilon - \hat\epsilon(x_t, t)\|^2/n$ for a target of "epsilon", the loss of DDPM;
    $\|x_0 - \hat x_0(x_t, t)\|^2/n$ for "x_0". With noise, the first is
    $\bar\alpha_t/(1-\bar\alpha_t)$ times the second: low levels count more.

    Raises `ValueError` for "epsilon" where the process adds no noise. Source: Ho et al. 2020,
    section 3.4.
    """
    x_t = process.corrupt(x_0, t, generator=generator)
    error = model.predict(x_t, t) - model.truth(process, x_0, x_t, t)  # (b, *dims)
    return reduce(error.square(), "b ... -> b", "mean")


def data_to_greys(x_0: Images) -> Int[Tensor, " b *dims"]:
    """The nearest grey value of 0..255; what is outside of -1 to 1 becomes 0 or 255."""
    return ((x_0.clamp(-1, 1) + 1) * (NUM_GREYS - 1) / 2).round().long()


def log_grey_probability(distribution: Normal, x_0: Images) -> Float[Tensor, " b *dims"]:
    r"""log p of the grey value of each pixel, if the pixel has this normal distribution: in nats.

    The mass of the distribution in the cell of the grey value: from $x_0 - 1/255$ to
    $x_0 + 1/255$, and to infinity beyond the darkest and the lightest. The 256 probabilities sum to
    1. Each logarithm is right far out, where the mass is below the smallest float.

    Raises `ValueError` for an x_0 that is no grey value: a number between two of them has no
    probability. Source: Ho et al. 2020, section 3.3.
    """
    finest = finest_float(x_0.device)
    greys = data_to_greys(x_0)
    data = greys.to(finest) * 2 / (NUM_GREYS - 1) - 1  # from 0..255 back to -1..1
    if not (data - x_0).abs().max() < 1e-4:  # NaN as well
        raise ValueError("x_0 lies between two greys; allowed: 2 k / 255 - 1 for k = 0, …, 255")
    below, above = data - 1 / (NUM_GREYS - 1), data + 1 / (NUM_GREYS - 1)
    # The cells at both ends take the tails, so that the 256 probabilities sum to 1.
    below = below.masked_fill(greys == 0, -torch.inf)
    above = above.masked_fill(greys == NUM_GREYS - 1, torch.inf)
    mean, deviation = distribution.mean.to(finest), distribution.variance.sqrt()
    low, high = (below - mean) / deviation, (above - mean) / deviation
    # A cell above the mean is mirrored to the lower tail, where log_ndtr keeps all its digits.
    low, high = torch.where(low > 0, -high, low), torch.where(low > 0, -low, high)
    log_low, log_high = log_ndtr(low), log_ndtr(high)
    # log(e^h - e^l) = h + log(1 - e^(l - h)), without ever forming e^h.
    return log_high + (-torch.expm1(log_low - log_high)).log()


def prior_term(process: GaussianProcess, x_0: Images) -> Float[Tensor, " b *dims"]:
    r"""The prior's term in the negative ELBO, $KL(q(x_T|x_0)\,\|\,N(0, 1))$: nats per pixel."""
    q = process.transition(x_0, 0, process.num_timesteps)  # variance: (1, 1, …), as t is one level
    return kl_divergence(q, Normal(torch.zeros_like(x_0), torch.ones_like(q.variance)))


def bound_term(
    walk: Ancestral, guess: Images, x_0: Images, x_t: Images, t: int
) -> Float[Tensor, " b *dims"]:
    r"""The term of level t in the negative ELBO: nats for each pixel, if x_0 was guessed from x_t.

    $KL(q(x_{t-1}|x_t,x_0)\,\|\,p(x_{t-1}|x_t))$, and at t = 1 $-\log p(x_0|x_1)$ over the grey
    values. There p has the variance $\beta_1$ for both variances: the small one is 0.
    """
    process = walk.process
    if t == 1:
        return -log_grey_probability(process.reverse(guess, x_t, 0, 1, variance="large"), x_0)
    p = process.reverse(guess, x_t, t - 1, t, variance=walk.variance)
    return kl_divergence(process.posterior(x_0, x_t, t - 1, t), p)


@torch.no_grad()
def bound_terms(
    walk: Ancestral, restore: Restore, x_0: Images, *, generator: Generators = None
) -> Float[Tensor, "b levels"]:
    """The terms of the negative ELBO of each image: nats per pixel, column t is level t.

    Column 0 is the prior; the sum of a row is an unbiased estimate of the whole bound, with one
    random x_t for each level. `bits_per_token(terms.sum(dim=1), 1)` are the bits per dimension with
    their error; no model at all needs 8. A pixel is one number: an RGB image of 16 x 16 has 768.
    Costs T calls of `restore`. Raises `ValueError` for an x_0 off the grey values.
    """
    columns = [prior_term(walk.process, x_0)]  # each (b, *dims), until the mean is taken
    for t in range(1, walk.process.num_timesteps + 1):
        x_t = walk.process.corrupt(x_0, t, generator=generator)
        columns.append(bound_term(walk, restore(x_t, t), x_0, x_t, t))
    return torch.stack([reduce(nats, "b ... -> b", "mean") for nats in columns], dim=1)

r"""How much of an image is left at each level t = 0..T, when noise is added to its pixels.

One array says it all: $\bar\alpha_t$, the share of the image in the variance of x_t. Level 0 is
the image itself, so $\bar\alpha_0 = 1$ and no index ever wraps round.
"""

import math

import torch
from jaxtyping import Float64
from torch import Tensor

from vqlearn.probability.checks import check_sizes

DDPM_TIMESTEPS = 1000
COSINE_OFFSET = 0.008
LARGEST_BETA = 0.999


def linear(num_timesteps: int) -> Float64[Tensor, " levels"]:
    r"""The schedule of DDPM: $\beta_t$ rises in a straight line from 0.0001 to 0.02.

    $\bar\alpha_t = \prod_{i \le t} (1 - \beta_i)$ over 1,000 levels. With another T, level t
    stands where level 1000 t/T stands there ($\log\bar\alpha$ is interpolated between two
    levels): a step does the work of 1000/T steps, and the last level is as noisy for every T.

    Raises `ValueError` unless T is at least 1. Source: Ho et al. 2020, "Denoising Diffusion
    Probabilistic Models".
    """
    check_sizes({"num_timesteps": num_timesteps})
    beta = torch.linspace(1e-4, 0.02, DDPM_TIMESTEPS, dtype=torch.float64)
    log_alpha_bar = torch.cat([torch.zeros(1, dtype=torch.float64), (-beta).log1p().cumsum(0)])
    # Level t of T stands between two of the 1,000 levels.
    position = DDPM_TIMESTEPS * torch.arange(num_timesteps + 1, dtype=torch.float64) / num_timesteps
    below = position.long().clamp(max=DDPM_TIMESTEPS - 1)
    return torch.lerp(log_alpha_bar[below], log_alpha_bar[below + 1], position - below).exp()


def cosine(num_timesteps: int) -> Float64[Tensor, " levels"]:
    r"""The cosine schedule: it corrupts more slowly in the beginning and at the end.

    $\bar\alpha_t = f(t)/f(0)$, $f(t) = \cos^2\left(\frac{t/T + 0.008}{1.008}\cdot\frac\pi2\right)$.
    At t = T this is 0; as in the paper no step may have $\beta_t > 0.999$, so a thousandth of
    $\bar\alpha_{T-1}$ is left.

    Raises `ValueError` unless T is at least 1. Source: Nichol and Dhariwal 2021, "Improved
    Denoising Diffusion Probabilistic Models".
    """
    check_sizes({"num_timesteps": num_timesteps})
    time = torch.arange(num_timesteps + 1, dtype=torch.float64) / num_timesteps
    f = torch.cos((time + COSINE_OFFSET) / (1 + COSINE_OFFSET) * math.pi / 2).square()
    # Steps first, so that the cap of beta holds for each of them; then their product.
    alpha = (f[1:] / f[:-1]).clamp(min=1 - LARGEST_BETA)
    return torch.cat([torch.ones(1, dtype=torch.float64), alpha.cumprod(0)])

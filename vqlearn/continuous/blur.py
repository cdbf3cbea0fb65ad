r"""A process without any noise: blur. What of diffusion is left?

The loop and the question stay: guess x_0, go a little way back. What is lost is everything that
was a distribution. There is no posterior, since x_t follows from x_0; no bound on $-\log p(x_0)$;
and no prior to start from but blurred images themselves.
"""

import math
from dataclasses import dataclass

import torch
from einops import einsum
from jaxtyping import Float, Float64
from torch import Tensor

from vqlearn.continuous.gaussian import Level, check_levels
from vqlearn.probability.random import Generators


class Blur:
    r"""Heat flows from pixel to pixel: at level t the image is blurred with $\sigma_t$ pixels.

    $\sigma_t = \sigma_{\max}\,t/T$. Nothing flows over the edge, so the mean of each channel
    stays. In the cosine basis of the DCT, frequency (i, j) of an h x w image is multiplied by
    $\exp\left(-\frac{\pi^2\sigma_t^2}{2}\left(\frac{i^2}{h^2}+\frac{j^2}{w^2}\right)\right)$:
    exact for every $\sigma_t$, and a blur after a blur is a blur.

    Raises `ValueError` unless T is at least 1 and `max_sigma` above 0.
    Source: Bansal et al. 2022, "Cold Diffusion: Inverting Arbitrary Image Transforms Without
    Noise".
    """

    def __init__(self, num_timesteps: int, max_sigma: float) -> None:
        if num_timesteps < 1:
            raise ValueError(f"num_timesteps is {num_timesteps}; allowed: 1, 2, …")
        if not max_sigma > 0:
            raise ValueError(f"max_sigma is {max_sigma}; allowed: above 0")
        self.num_timesteps = num_timesteps
        self.max_sigma = max_sigma

    def degrade(self, x_0: Float[Tensor, "b c h w"], t: Level) -> Float[Tensor, "b c h w"]:
        """D(x_0, t). Costs O(h + w) for each pixel. Raises `ValueError` if t is not in 0..T."""
        levels = check_levels(t, self.num_timesteps).expand(len(x_0))
        sigma = self.max_sigma * levels.double() / self.num_timesteps
        rows, columns = (_heat(side, sigma).to(x_0.device, x_0.dtype) for side in x_0.shape[2:])
        return einsum(rows, x_0, columns, "b i h, b c h w, b j w -> b c i j")

    def corrupt(
        self, x_0: Float[Tensor, "b c h w"], t: Level, *, generator: Generators = None
    ) -> Float[Tensor, "b c h w"]:
        """The same as `degrade`: there is no chance here, and `generator` is not asked."""
        return self.degrade(x_0, t)


@dataclass(frozen=True)
class NaiveCold:
    r"""Blur the guess a little less: $x_s = D(\hat x_0, s)$. All that x_t itself knew is lost.

    Source: Bansal et al. 2022, the naive sampling algorithm.
    """

    process: Blur

    def step(
        self,
        x_0: Float[Tensor, "b c h w"],
        x_t: Float[Tensor, "b c h w"],
        levels: tuple[int, int],
        *,
        generator: Generators = None,
    ) -> Float[Tensor, "b c h w"]:
        return self.process.degrade(x_0, levels[1])


@dataclass(frozen=True)
class Cold:
    r"""Keep x_t and add what the stride changes: $x_s = x_t - D(\hat x_0,t) + D(\hat x_0,s)$.

    An error of the guess counts only as far as the two D differ. If every guess is wrong by the
    same e, the walk from $D(x_0, T)$ ends at $x_0 + e - D(e, T)$: of the error, what a blurred
    image can show is gone. `NaiveCold` ends at $x_0 + e$.

    Source: Bansal et al. 2022, the improved sampling algorithm.
    """

    process: Blur

    def step(
        self,
        x_0: Float[Tensor, "b c h w"],
        x_t: Float[Tensor, "b c h w"],
        levels: tuple[int, int],
        *,
        generator: Generators = None,
    ) -> Float[Tensor, "b c h w"]:
        t, s = levels
        return x_t - self.process.degrade(x_0, t) + self.process.degrade(x_0, s)


def _cosines(side: int) -> Float64[Tensor, "side side"]:
    """The orthonormal DCT-II: row i is the cosine of frequency i."""
    frequency = torch.arange(side, dtype=torch.float64)[:, None]
    position = torch.arange(side, dtype=torch.float64) + 0.5
    basis = (2 / side) ** 0.5 * torch.cos(math.pi * frequency * position / side)
    basis[0] /= 2**0.5
    return basis


def _heat(side: int, sigma: Float64[Tensor, " b"]) -> Float64[Tensor, "b side side"]:
    """For each image the matrix that blurs one axis."""
    basis = _cosines(side)
    frequency = math.pi * torch.arange(side, dtype=torch.float64) / side
    left = torch.exp(-(frequency**2) * sigma[:, None] ** 2 / 2)
    return einsum(basis, left, basis, "f i, b f, f j -> b i j")

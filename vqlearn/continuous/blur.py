r"""Cold diffusion: a forward process without any noise, blur, and two ways to undo it.

The loop and the question stay: guess x_0, go back a little. What is lost is everything that was a
distribution. There is no posterior, since x_t follows from x_0; no ELBO; and no prior to start
from but blurred images themselves.
"""

import math
from dataclasses import dataclass

import torch
from einops import einsum
from jaxtyping import Float, Float64
from torch import Tensor

from vqlearn.continuous.normal import Images
from vqlearn.probability import Generators
from vqlearn.probability.checks import Level, check_level, check_sizes


class Blur:
    r"""Gaussian blur: at level t its standard deviation is $\sigma_t = \sigma_{\max}\,t/T$ pixels.

    Heat flows from pixel to pixel, and none over the edge, so the mean of each channel stays. In
    the cosine basis of the DCT, frequency (i, j) of an h x w image is multiplied by
    $\exp\left(-\frac{\pi^2\sigma_t^2}{2}\left(\frac{i^2}{h^2}+\frac{j^2}{w^2}\right)\right)$:
    exact for every $\sigma_t$, and a blur after a blur is a blur.

    Raises `ValueError` unless T is at least 1 and `max_sigma` above 0.
    Source: Bansal et al. 2022, "Cold Diffusion: Inverting Arbitrary Image Transforms Without
    Noise".
    """

    def __init__(self, num_timesteps: int, max_sigma: float) -> None:
        check_sizes({"num_timesteps": num_timesteps})
        if not max_sigma > 0:
            raise ValueError(f"max_sigma is {max_sigma}; allowed: above 0")
        self.num_timesteps = num_timesteps
        self.max_sigma = max_sigma

    def degrade(self, x_0: Float[Tensor, "b c h w"], t: Level) -> Float[Tensor, "b c h w"]:
        """D(x_0, t): the blurred image. Costs O(h + w) for each pixel.

        Raises `ValueError` if t is not in 0..T.
        """
        check_level(t, self.num_timesteps)
        levels = torch.as_tensor(t, device="cpu").expand(len(x_0))  # (b,)
        sigma = self.max_sigma * levels.double() / self.num_timesteps  # in pixels
        # Blur is separable: one matrix for each axis, of each image, (b, h, h) and (b, w, w).
        rows, columns = (_heat(side, sigma).to(x_0.device, x_0.dtype) for side in x_0.shape[2:])
        return einsum(rows, x_0, columns, "b i h, b c h w, b j w -> b c i j")

    def corrupt(
        self, x_0: Float[Tensor, "b c h w"], t: Level, *, generator: Generators = None
    ) -> Float[Tensor, "b c h w"]:
        """The same as `degrade`: nothing is random here, and `generator` is not used."""
        return self.degrade(x_0, t)


@dataclass(frozen=True)
class NaiveCold:
    r"""Blur the guess a little less: $x_s = D(\hat x_0, s)$. All that x_t itself knew is lost.

    Source: Bansal et al. 2022, the naive sampling algorithm.
    """

    process: Blur

    def step(
        self, x_0: Images, x_t: Images, levels: tuple[int, int], *, generator: Generators = None
    ) -> Images:
        return self.process.degrade(x_0, levels[1])


@dataclass(frozen=True)
class Cold:
    r"""Keep x_t and add what the stride changes: $x_s = x_t - D(\hat x_0,t) + D(\hat x_0,s)$.

    An error of the guess counts only as far as the two D differ. If every guess is wrong by the
    same e, the walk from $D(x_0, T)$ ends at $x_0 + e - D(e, T)$: the part of the error that a
    blurred image shows is gone. `NaiveCold` ends at $x_0 + e$.

    Source: Bansal et al. 2022, the improved sampling algorithm.
    """

    process: Blur

    def step(
        self, x_0: Images, x_t: Images, levels: tuple[int, int], *, generator: Generators = None
    ) -> Images:
        t, s = levels
        return x_t - self.process.degrade(x_0, t) + self.process.degrade(x_0, s)


def _cosines(side: int) -> Float64[Tensor, "side side"]:
    """The orthonormal DCT-II: row i is the cosine of frequency i."""
    frequency = torch.arange(side, dtype=torch.float64)[:, None]
    position = torch.arange(side, dtype=torch.float64) + 0.5
    basis = (2 / side) ** 0.5 * torch.cos(math.pi * frequency * position / side)
    basis[0] /= 2**0.5  # the constant row, so that it has length 1 like the others
    return basis


def _heat(side: int, sigma: Float64[Tensor, " b"]) -> Float64[Tensor, "b side side"]:
    """For each image the matrix that blurs one axis: to frequencies, damp, back to pixels."""
    basis = _cosines(side)
    frequency = math.pi * torch.arange(side, dtype=torch.float64) / side
    left = torch.exp(-(frequency**2) * sigma[:, None] ** 2 / 2)  # (b, side), of each frequency
    return einsum(basis, left, basis, "f i, b f, f j -> b i j")

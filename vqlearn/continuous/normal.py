"""The normal distribution: samples and divergences; a mean for each pixel, a variance an image."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from vqlearn.probability import Generators, finest_float, uniform

CPU = torch.device("cpu")

Images = Float[Tensor, " b *dims"]
"""A batch of images, (b, c, h, w); or of anything else with the batch as its first axis."""


def standard_normal(
    shape: Sequence[int],
    device: torch.device = CPU,
    *,
    dtype: torch.dtype = torch.float32,
    generator: Generators = None,
) -> Tensor:
    r"""Independent draws from N(0, 1): the start of every chain, and the noise of every step.

    $\sqrt2\,\mathrm{erf}^{-1}(2u - 1)$ of a uniform u. A u of exactly 0 is moved by half of its
    spacing, so no draw is infinite. Generators: see `random.uniform`.
    """
    u = uniform(shape, device, generator=generator)  # in [0, 1), float64 where it can be
    u = u.clamp(min=torch.finfo(u.dtype).eps / 4)
    return (2**0.5 * torch.erfinv(2 * u - 1)).to(dtype)


class Normal(NamedTuple):
    """A normal distribution for every number of a batch, all independent.

    The variance is shared by the numbers of an image: its shape is (b, 1, …) or (1, 1, …). It is
    float64 where the device has it, whatever the type of the mean.
    """

    mean: Images
    variance: Float[Tensor, "#b *#dims"]

    def draw(self, *, generator: Generators = None) -> Images:
        """One draw, in the type of the mean."""
        mean = self.mean
        finest = finest_float(mean.device)
        noise = standard_normal(mean.shape, mean.device, dtype=finest, generator=generator)
        # Scaled in float64, and only then rounded to the type of the images.
        return mean + (self.variance.sqrt() * noise).to(mean.dtype)


def kl_divergence(q: Normal, p: Normal) -> Float[Tensor, " b *dims"]:
    r"""The KL divergence of two normal distributions, in nats, for each number of the batch.

    $KL(q\,\|\,p) = \frac12\left(\log\frac{v_p}{v_q} + \frac{v_q}{v_p} - 1 +
    \frac{(m_q - m_p)^2}{v_p}\right)$. Both variances must be above 0.
    """
    ratio = q.variance / p.variance  # (b, 1, …)
    gap = (q.mean - p.mean).to(ratio.dtype)  # float64, as the variances are
    return (ratio - 1 - ratio.log() + gap.square() / p.variance) / 2

r"""A distribution over ordered values from a few numbers: a mixture of logistic distributions, cut
into K bins.

A pixel has K values 0..K - 1 for each of its c colours. A softmax would need K scores, and would
have to learn that 130 is near 131. A logistic distribution has a mean $\mu$ and a scale s, and its
mass up to v is $\sigma((v - \mu)/s)$. Value k gets the mass between k - 1/2 and k + 1/2, the two
edge values get the tails as well:

$$ P(k) = \sigma\!\left(\frac{k + \frac12 - \mu}{s}\right)
        - \sigma\!\left(\frac{k - \frac12 - \mu}{s}\right), \qquad
   k - \tfrac12 \to -\infty \text{ at } k = 0, \;\; k + \tfrac12 \to \infty \text{ at } k = K - 1 $$

**One mixture for all colours of a pixel.** First a component m is drawn with probability $\pi_m$,
once for the pixel; then red, green and blue from the logistic distributions of that component. The
means of green and blue move with the colours that are known, on the scale where values lie on [-1,
1]:

$$ \mu_g = \mu'_g + \alpha r, \qquad \mu_b = \mu'_b + \beta r + \gamma g, \qquad
   p(r, g, b) = \sum_m \pi_m\, P_m(r)\, P_m(g \mid r)\, P_m(b \mid r, g) $$

**Colour by colour.** Red says something about the component, so that the weights of green are
$\pi_m P_m(r)$, divided by their sum, and those of blue $\pi_m P_m(r) P_m(g \mid r)$ likewise. With
these weights $\log p(r) + \log p(g \mid r) + \log p(b \mid r, g)$ is the joint, exactly.

Source: Salimans et al. 2017, "PixelCNN++: Improving the PixelCNN with Discretized Logistic Mixture
Likelihood and Other Modifications", sections 2.1 and 2.2.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float
from torch import Tensor

from vqlearn.autoregressive.pixel_config import from_scale, to_scale
from vqlearn.probability.checks import check_choice, check_integer

NARROWEST, WIDEST = 1 / 32, 32_768  # the limits of a scale s, in widths of a bin


@dataclass(frozen=True, eq=False)
class LogisticMixture:
    r"""The numbers of one mixture for each pixel: m components, c colours.

    - `logits`: unnormalised $\log \pi_m$.
    - `means`: $\mu'$ of each colour, on the scale where values 0..K - 1 lie on [-1, 1].
    - `log_scales`: log s, with s on that scale.
    - `coefficients`: how the mean of one colour moves with another, c(c - 1)/2 of them in the order
      $\alpha$ (green with red), $\beta$ (blue with red), $\gamma$ (blue with green).
    - `num_codes`: K.

    Raises `ValueError` for K < 2 or another number of coefficients.
    """

    logits: Float[Tensor, "*b m"]
    means: Float[Tensor, "*b c m"]
    log_scales: Float[Tensor, "*b c m"]
    coefficients: Float[Tensor, "*b pairs m"]
    num_codes: int

    def __post_init__(self) -> None:
        check_integer("num_codes", self.num_codes, 2)
        channels, pairs = self.means.shape[-2], self.coefficients.shape[-2]
        check_choice("the number of coefficients", pairs, (channels * (channels - 1) // 2,))


def log_mass(
    values: Float[Tensor, "*#b"],
    mean: Float[Tensor, "*#b"],
    log_scale: Float[Tensor, "*#b"],
    num_codes: int,
) -> Float[Tensor, "*b"]:
    r"""log P(k) of a value under one logistic distribution: always finite.

    With u and l the two ends of the bin, in scales from the mean, $\delta = u - l$:

    $$ \log(\sigma(u) - \sigma(l)) = \log\sigma(u) + \log\sigma(-l) + \log(1 - e^{-\delta}) $$

    No two nearly equal numbers are subtracted, however far the mean is. All is counted in values:
    k ± 1/2 are exact there, so float32 loses little. Between two values, where `from_scale` may
    end, the bin is as wide as elsewhere.

    A scale below 1/32 of a bin is read as 1/32 of it. With the mean in its middle, a bin then has
    all the mass but 3e-7, and every further value of a miss costs 32 nats, no more. A scale above
    32,768 bins is read as 32,768 bins.
    """
    log_delta = math.log(2 / (num_codes - 1)) - log_scale
    delta = log_delta.clamp(-math.log(WIDEST), -math.log(NARROWEST)).exp()
    away = values - from_scale(mean, num_codes)
    log_below = F.logsigmoid((away + 0.5) * delta)
    log_above = F.logsigmoid((0.5 - away) * delta)
    inside = log_below + log_above + (-torch.expm1(-delta)).log()
    not_lowest = torch.where(values > num_codes - 1.5, log_above, inside)
    return torch.where(values < 0.5, log_below, not_lowest)


def log_distribution(
    log_weights: Float[Tensor, "*b m"],
    means: Float[Tensor, "*b m"],
    log_scales: Float[Tensor, "*b m"],
    num_codes: int,
) -> Float[Tensor, "*b k"]:
    """log p of all K values of one colour, from normalised log-weights and means that are final.

    Cost: O(m K), in memory too.
    """
    values = torch.arange(num_codes, dtype=means.dtype, device=means.device)
    means, log_scales = (rearrange(each, "... m -> ... m 1") for each in (means, log_scales))
    each_component = log_mass(values, means, log_scales, num_codes)  # (*b, m, K)
    return (each_component + rearrange(log_weights, "... m -> ... m 1")).logsumexp(dim=-2)


def shifted_means(
    mixture: LogisticMixture, values: Float[Tensor, "*b c"]
) -> Float[Tensor, "*b c m"]:
    """The mean of each colour when the colours before it are known; its own value is not used."""
    scaled = rearrange(to_scale(values, mixture.num_codes), "... c -> ... c 1")
    means, start = [], 0
    for channel in range(values.shape[-1]):
        shares = mixture.coefficients[..., start : start + channel, :]  # (*b, channel, m)
        shift = (shares * scaled[..., :channel, :]).sum(dim=-2)
        means.append(mixture.means[..., channel, :] + shift)
        start += channel
    return torch.stack(means, dim=-2)


def log_joint(mixture: LogisticMixture, values: Float[Tensor, "*b c"]) -> Float[Tensor, "*b"]:
    r"""$\log p(r, g, b)$ of a whole pixel, in nats: what training needs. Cost: O(c m)."""
    own = rearrange(values, "... c -> ... c 1")
    means = shifted_means(mixture, values)
    log_own = log_mass(own, means, mixture.log_scales, mixture.num_codes)  # (*b, c, m)
    return (mixture.logits.log_softmax(dim=-1) + log_own.sum(dim=-2)).logsumexp(dim=-1)


def log_conditionals(
    mixture: LogisticMixture, values: Float[Tensor, "*b c"]
) -> Float[Tensor, "*b c k"]:
    r"""$\log p(r)$, $\log p(g \mid r)$, $\log p(b \mid r, g)$, each for all K values.

    The distribution of a colour does not depend on its own value, nor on those of later colours.
    Cost: O(c m K).
    """
    own = rearrange(values, "... c -> ... c 1")
    means = shifted_means(mixture, values)
    log_own = log_mass(own, means, mixture.log_scales, mixture.num_codes)  # (*b, c, m)
    log_seen = F.pad(log_own[..., :-1, :], (0, 0, 1, 0)).cumsum(dim=-2)  # of earlier colours
    log_prior = rearrange(mixture.logits, "... m -> ... 1 m")
    log_weights = (log_prior + log_seen).log_softmax(dim=-1)  # (*b, c, m)
    return log_distribution(log_weights, means, mixture.log_scales, mixture.num_codes)

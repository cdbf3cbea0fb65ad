r"""Stage 1 with drawn codes: the discrete VAE of DALL-E.

Ramesh et al. 2021, "Zero-Shot Text-to-Image Generation", section 2.1 and appendix A.2.
"""

import math
from typing import Any

from torch import Tensor

from vqlearn.tokens.gumbel import GumbelQuantized
from vqlearn.training.tasks.reconstruction import TokenTask

LAST_TEMPERATURE = 1 / 16
KL_WEIGHT = 0.3
KL_GROWS_UNTIL = 0.1  # of all steps


class GumbelTask(TokenTask):
    r"""Drawn codes: what a choice of codes says is added to the loss.

    A bound on $-\log p(\text{image})$ is $-\log p(\text{image} \mid \text{tokens})$ plus one
    term for each of its N tokens: $\mathrm{KL}_i$, from the encoder's distribution to the uniform
    one. Our pixel errors are a mean over the $3HW$ numbers of an image, so the sum of the KL terms
    is divided by $3HW$ too. A token stands for f x f pixels, so $3HW = N \cdot 3f^2$, and with a
    weight $\beta$

    $$\frac{\beta}{3HW} \sum_{i=1}^{N} \mathrm{KL}_i = \frac{\beta}{3f^2} \, \mathrm{kl}$$

    where kl is the mean over tokens: $\beta / 48$ for f = 4, $\beta / 192$ for DALL-E's f = 8.

    $\beta$ itself depends on the distribution of the errors. $|e|$ stands for a Laplace
    distribution of scale 1, half of the range of values; with scale b it would be $|e| / b$.
    Multiplied by b, a loss with $|e| / b$ and DALL-E's $\beta = 6.6$ becomes one with $|e|$ and
    $6.6 b$: 0.33 for b = 0.05. `KL_WEIGHT` is near that. In small trials, with a third of it, fewer
    codes stayed in use; with three times as much, many more, but fewer images came back readable.
    The price of a larger weight: equal squares get different tokens more often
    (`evaluate.chance_bits_per_token`).

    Own squares help here as well: scores are W times the encoder's vector, so they are read off
    the pixels of the token's own square. In small trials without them hardly an image came back
    readable. There is no codebook to move and no code to revive: all learns by gradient.
    """

    def quantizer_options(self, step: int) -> dict[str, Any]:
        return {
            "temperature": temperature(step, self.run.recipe.steps),
            "generator": self.run.noise(step),
        }

    def load(self) -> None:
        """Raises `ValueError`: the temperature falls once, from a network that knows nothing."""
        raise ValueError("lengthen is True; allowed: not with the quantizer 'gumbel'")

    def code_losses(self, quantized: GumbelQuantized, step: int) -> dict[str, tuple[float, Tensor]]:
        numbers = 3 * self.vqvae.config.downsampling_factor**2
        return {"kl": (kl_weight(step, self.run.recipe.steps) / numbers, quantized.kl)}


def temperature(step: int, steps: int) -> float:
    r"""The temperature of the draws: at first 1, at the end 1/16, along half a cosine between.

    $\tau = \tau_1 + (1 - \tau_1) \, \frac{1 + \cos(\pi i / n)}{2}$ for step i of n.
    """
    cosine = (1 + math.cos(math.pi * step / steps)) / 2
    return LAST_TEMPERATURE + (1 - LAST_TEMPERATURE) * cosine


def kl_weight(step: int, steps: int) -> float:
    r"""The weight $\beta$ of the KL term: it grows from 0 in a line, then stays.

    At the start codes are of no use yet, so only their cost would count, and the encoder would
    first learn to choose all codes alike.
    """
    return KL_WEIGHT * min(1.0, step / (KL_GROWS_UNTIL * steps))

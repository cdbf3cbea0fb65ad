r"""Stage 1 with drawn codes: the discrete VAE of DALL-E.

Ramesh et al. 2021, "Zero-Shot Text-to-Image Generation", section 2.1 and appendix A.2.
Tests: tests/test_dvae.py.
"""

import math
from typing import Any

from torch import Tensor

from vqlearn.training.reconstruction import Seen, TokenTrainee

LAST_TEMPERATURE = 1 / 16
KL_WEIGHT = 0.3
KL_GROWS_UNTIL = 0.1  # of all steps


class GumbelTrainee(TokenTrainee):
    r"""Pixel errors, and the price of saying which code.

    A bound on $-\log p(\text{picture})$ adds, for each of its N tokens, $\mathrm{KL}(q \,\|\,
    \text{uniform})$ to $-\log p(\text{picture} \mid \text{tokens})$. Our pixel loss is a mean over
    the $3HW$ numbers of a picture, so the sum over tokens is divided by $3HW$ too. A token stands
    for a square of f x f pixels, so $3HW = N \cdot 3f^2$, and with the weight $\beta$

    $$\frac{\beta}{3HW} \sum_{i=1}^{N} \mathrm{KL}_i = \frac{\beta}{3f^2} \, \mathrm{kl}$$

    where kl is the mean over tokens: for f = 4, $\beta / 48$ (DALL-E: f = 8, $\beta / 192$).
    """

    def draw(self, step: int) -> dict[str, Any]:
        return {
            "temperature": temperature(step, self.run.recipe.steps),
            "generator": self.run.noise(step),
        }

    def code_losses(self, seen: Seen, step: int) -> dict[str, tuple[float, Tensor]]:
        numbers = 3 * self.vqvae.config.downsampling_factor**2
        return {"kl": (kl_weight(step, self.run.recipe.steps) / numbers, seen.quantized.kl)}


def temperature(step: int, steps: int) -> float:
    r"""How soft are the draws? At first 1, at the end 1/16, along half a cosine between.

    $\tau = \tau_1 + (1 - \tau_1) \, \frac{1 + \cos(\pi i / n)}{2}$ for step i of n.
    """
    cosine = (1 + math.cos(math.pi * step / steps)) / 2
    return LAST_TEMPERATURE + (1 - LAST_TEMPERATURE) * cosine


def kl_weight(step: int, steps: int) -> float:
    r"""The weight $\beta$ of the KL terms: it grows from 0, then stays."""
    return KL_WEIGHT * min(1.0, step / (KL_GROWS_UNTIL * steps))

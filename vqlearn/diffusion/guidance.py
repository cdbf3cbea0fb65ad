"""Two ways to sharpen what the denoiser believes before a step is drawn: guidance, truncation.

Both take and return normalised log-probabilities over the K codes, class axis last.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from vqlearn.diffusion.logmath import IMPOSSIBLE, log_normalise


def guide(
    log_conditional: Float[Tensor, "b n k"], log_unconditional: Float[Tensor, "b n k"], scale: float
) -> Float[Tensor, "b n k"]:
    r"""What does the sentence add? Take `scale` times as much of it.

    $\log u + s\,(\log c - \log u)$, renormalised. s = 1 is the conditional belief itself, s = 0
    the unconditional one. A code that the conditional belief excludes stays excluded.

    Source: the update of Tang et al. 2022, "Improved Vector Quantized Diffusion Models".
    Tested in `tests/test_guidance.py`.
    """
    lowest = torch.finfo(log_conditional.dtype).min / (4 * (1 + abs(scale)))
    floor = log_unconditional.clamp(min=lowest)
    guided = floor + scale * (log_conditional.clamp(min=lowest) - floor)
    return log_normalise(guided.masked_fill(torch.isneginf(log_conditional), IMPOSSIBLE))


def truncate(log_belief: Float[Tensor, "b n k"], rate: float) -> Float[Tensor, "b n k"]:
    r"""Which codes are worth drawing? The smallest top set whose mass reaches `rate`.

    The code that crosses the rate is kept, so the best code always is; the rest is renormalised.
    At a rate of 1 nothing is cut. Costs one sort, O(K log K) a token.

    Raises `ValueError` unless 0 < rate <= 1. Tested in `tests/test_guidance.py`.
    """
    if not 0 < rate <= 1:
        raise ValueError(f"truncation_rate is {rate}; allowed: above 0, up to 1")
    if rate == 1:
        return log_belief
    ranked, order = log_belief.sort(dim=-1, descending=True)
    mass_before = ranked.exp().cumsum(dim=-1).roll(1, dims=-1)
    mass_before[..., 0] = 0
    cut = torch.zeros_like(order, dtype=torch.bool).scatter(-1, order, mass_before >= rate)
    return log_normalise(log_belief.masked_fill(cut, IMPOSSIBLE))

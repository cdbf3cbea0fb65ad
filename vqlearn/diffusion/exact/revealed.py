"""The exact distribution of what an unmasking rule returns, by enumeration of its three answers.

The twin of `reveal.unmasking`: where that draws a number of tokens, a set of positions and their
values, this sums over all of them.
"""

import math

import torch
from jaxtyping import Float64
from torch import Tensor

from vqlearn.diffusion.exact.corrected import after_step
from vqlearn.diffusion.exact.reveal_step import reachable, without_mask
from vqlearn.diffusion.exact.world import _joint_distribution, all_states, held
from vqlearn.diffusion.process import MaskAndReplace
from vqlearn.diffusion.reveal.rule import Corrected, UnmaskingRule
from vqlearn.diffusion.reveal.unmasking import REDRAW_LEVEL, level_of
from vqlearn.diffusion.sampler import Denoise
from vqlearn.probability import Given, log_normalise
from vqlearn.probability.checks import shown


def unmasking_distribution(
    process: MaskAndReplace,
    denoise: Denoise,
    start: Float64[Tensor, " states"],
    rule: UnmaskingRule,
    *,
    given: Given | None = None,
) -> Float64[Tensor, " states"]:
    """The distribution of what `reveal.unmasking.unmask` returns, if its x_t is drawn from `start`.

    Given tokens are one sequence of them. No randomness, no error but rounding. Costs
    states^2 * 2^n for each step, K^n times as much for a rule that draws first, and another 2^n
    times as much with `ReMDM` around it.

    Raises `ValueError` for given tokens beside a corrector: that sum is not written.
    """
    if given is not None and isinstance(rule, Corrected):
        raise ValueError(f"given is {shown(given)}; allowed with a corrector: None")
    n = round(math.log(len(start), process.num_classes))
    states = all_states(process.num_classes, n)
    distribution, step = held(process, start, given), 0
    while (level_of(process, rule, states[distribution > 0], step) > 0).any():
        after = torch.zeros_like(distribution)
        for x_t, weight in reachable(states, distribution):
            after += after_step(process, denoise, x_t, weight, rule, step)
        distribution, step = held(process, after, given), step + 1
    if rule.compatible is None:
        return distribution
    redrawn = torch.zeros_like(distribution)
    for x_t, weight in reachable(states, distribution):
        one_token = without_mask(log_normalise(denoise(x_t, REDRAW_LEVEL)).exp())
        redrawn += weight @ _joint_distribution(one_token)
    return held(process, redrawn, given)

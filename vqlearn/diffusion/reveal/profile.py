r"""How much a masked token is worth when m others are shown, and what a schedule costs.

The **information profile** h(m) is the mean conditional entropy of one masked token given m shown
ones, over all sets of m positions. Tokens that are revealed in one step are drawn independently of
each other: the j-th of them is drawn as if it did not see the j - 1 before it. A step of k tokens
with m shown ones costs the difference,

$$\sum_{j < k} h(m) - h(m + j),$$

the mean total correlation of the k tokens given what is shown. Its sum over the steps is the
divergence $\mathrm{KL}(p_\text{data} \,\|\, p_\text{sampler})$ of the order in which the positions
come, averaged over all orders, for the true denoiser on the absorbing chain. The sampler itself
mixes over the orders, so its own divergence is no larger: KL is convex. Sources: the theory is in
https://arxiv.org/abs/2510.25544 and https://arxiv.org/abs/2511.04647.

    profile = measured_profile(model, held_out, generator=generator)
    tokens = best_schedule(profile, 10)                        # few first
    model.sample(8, rule=scheduled(tokens))
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

import torch
from jaxtyping import Float64, Int
from torch import Tensor

from vqlearn.diffusion.model import DiffusionModel
from vqlearn.diffusion.process import MaskAndReplace
from vqlearn.diffusion.reveal.counts import ScheduledCounts, nearest_level
from vqlearn.probability import Condition, finest_float, uniform
from vqlearn.probability.checks import check_integer, check_kind, check_sequences


@dataclass(frozen=True, eq=False)
class InformationProfile:
    """h(0), ..., h(n - 1) in nats per token, and the standard error of each.

    From `exact.profile.exact_profile` they are entropies, with an error of 0. From
    `measured_profile` they are cross-entropies of a model.
    """

    nats: Float64[Tensor, " n"]
    standard_error: Float64[Tensor, " n"]

    def cost(self, tokens: Sequence[int]) -> float:
        r"""What a schedule costs, given the tokens of each step: nats per sequence.

        $\sum_l \sum_{j < k_l} h(m_l) - h(m_l + j)$ with $m_l$ tokens shown before step l: the mean
        divergence given the order (module docstring). Of an imperfect model's cross-entropies it is
        the mean of $-\log p_\text{sampler}(x)$ given the order, less that of one token a step.

        Raises `ValueError` for a step without a token, and for a sum that is not n.
        """
        ScheduledCounts(tuple(tokens)).check_positions(len(self.nats))
        costs = step_costs(self)
        return sum(
            float(costs[shown - k, shown])
            for k, shown in zip(tokens, accumulate(tokens), strict=True)
        )


def step_costs(profile: InformationProfile) -> Float64[Tensor, "from to"]:
    """The cost of the step from a to b shown tokens, nats; infinite where b <= a. (n + 1, n + 1)"""
    h = profile.nats
    n = len(h)
    before = torch.cat([h.new_zeros(1), h.cumsum(dim=0)])  # h(0) + ... + h(m - 1)
    shown = torch.arange(n + 1)
    count = shown - shown[:, None]  # (a, b): b - a
    first = torch.cat([h, h[-1:]])[:, None]  # h(a); from n shown tokens no step begins
    cost = count * first - (before - before[:, None])
    return cost.masked_fill(count <= 0, torch.inf)


@torch.no_grad()
def measured_profile(
    model: DiffusionModel,
    x: Int[Tensor, "b n"],
    condition: Condition | None = None,
    *,
    generator: torch.Generator | None = None,
) -> InformationProfile:
    r"""h(m) of a model on held-out sequences: the cross-entropy of its predictions.

    Each sequence shows the first m positions of its own random order, the others are MASK, and the
    network is asked at the level whose share of MASK is nearest. The mean of
    $-\log p_\theta(x_i \mid x_t)$ over the n - m masked tokens is an estimate without bias of a
    **cross-entropy**: that is the entropy plus the divergence of the network from the truth, so it
    is too large for an imperfect model. The standard error is that of the mean over the sequences.

    The order of a sequence is the same for all m, so that the noise of h(m) - h(m + j), of which
    costs consist, is small. What is left of it `best_schedule` fits too: ask other sequences what
    its answer costs.

    Shown tokens are clean. Where tokens are also replaced, the network expects some that are not,
    and the cross-entropy grows by what it does not know. n calls of the network with all sequences.

    Raises `TypeError` for a process without MASK, `ValueError` for sequences that do not fit and
    for fewer than two.
    """
    check_kind("the process of a profile", model.process, MaskAndReplace)
    check_sequences("x", x, model.num_positions, model.num_codes)
    check_integer("the number of sequences", len(x), 2)
    denoise, n = model.denoiser(condition), model.num_positions
    rank = uniform(x.shape, x.device, generator=generator).argsort(dim=-1)  # an order for each
    nats = []
    for num_shown in range(n):
        masked = rank >= num_shown
        level = nearest_level(model.process.schedule, torch.tensor([n - num_shown]), n)
        log_p_x0 = denoise(x.masked_fill(masked, model.process.mask), int(level))
        log_p = log_p_x0.gather(-1, x[..., None])[..., 0]  # (b, n): of the true tokens
        log_p = log_p.to(finest_float(x.device))
        nats.append(-log_p.masked_fill(~masked, 0).sum(dim=-1) / (n - num_shown))
    each = torch.stack(nats, dim=-1).cpu().double()  # (b, n)
    return InformationProfile(each.mean(dim=0), each.std(dim=0) / len(x) ** 0.5)

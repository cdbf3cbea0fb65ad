"""Schedules as answers to an information profile: the best one, and what the others cost."""

from collections.abc import Sequence
from itertools import pairwise

import torch
from jaxtyping import Float64
from torch import Tensor

from vqlearn.diffusion.reveal.counts import Binomial, FixedCount, ScheduledCounts
from vqlearn.diffusion.reveal.profile import InformationProfile, step_costs
from vqlearn.diffusion.reveal.rule import HowMany, Moment
from vqlearn.diffusion.schedule import Schedule
from vqlearn.probability.checks import check_integer, check_kind


def best_schedule(profile: InformationProfile, num_steps: int) -> tuple[int, ...]:
    r"""The tokens of each step whose sum of costs is the least, with so many steps.

    Dynamic programming over the number of shown tokens: the best way to b tokens in l steps comes
    from the best way to some a < b in l - 1. Costs $O(N n^2)$ time for N steps and n positions, and
    $O(n^2)$ memory. Of equally good schedules it is one.

    Raises `ValueError` unless 1 <= num_steps <= n.
    """
    n = len(profile.nats)
    check_integer("num_steps", num_steps, 1, n)
    costs = step_costs(profile)
    best = torch.full((n + 1,), torch.inf, dtype=torch.float64)
    best[0] = 0  # the cost of the best way to b shown tokens
    came_from = []
    for _ in range(num_steps):
        best, previous = (best[:, None] + costs).min(dim=0)  # over a: (b,) each
        came_from.append(previous.tolist())
    shown, tokens = n, []
    for previous in reversed(came_from):
        tokens.append(shown - previous[shown])
        shown = previous[shown]
    return tuple(reversed(tokens))


def mean_counts(schedule: Schedule, levels: Sequence[int], num_positions: int) -> tuple[int, ...]:
    r"""The tokens that the ancestral sampler reveals in each step on average, as whole numbers.

    From all MASK at levels[0] = t it has shown $n\,(1-\bar\gamma_s/\bar\gamma_t)$ tokens at level s
    on average; that is rounded, with one more token in each step at least and one left for each of
    the steps to come. The sampler's own numbers are random: `expected_cost` has what they cost.
    Levels as made by `sampler.levels_to_visit`.

    Raises `ValueError` for levels that do not fall to 0, and for more steps than positions.
    """
    Binomial(levels)  # refuses levels that do not fall to 0
    num_steps = len(levels) - 1
    check_integer("the number of steps", num_steps, 1, num_positions)
    shown = [0]
    for i, s in enumerate(levels[1:], start=1):
        stay = float(schedule.gamma_bar[s] / schedule.gamma_bar[levels[0]])
        wanted = max(round(num_positions * (1 - stay)), shown[-1] + 1)
        shown.append(min(wanted, num_positions - (num_steps - i)))
    return tuple(after - before for before, after in pairwise(shown))


def expected_cost(profile: InformationProfile, how_many: HowMany, schedule: Schedule) -> float:
    r"""The mean cost of a rule's numbers of tokens, from all MASK: nats per sequence.

    For fixed numbers it is `InformationProfile.cost`. For random ones (`Binomial`, the ancestral
    sampler) it is the mean over them: the divergence given the order and the numbers. That is not
    the cost of their means (`mean_counts`), which do not spread. Costs $O(N n^2)$ for N steps.

    Raises `TypeError` for numbers that depend on the predictions (`EntropyBound`).
    """
    check_kind("how_many", how_many, Binomial, FixedCount, ScheduledCounts)
    n = len(profile.nats)
    num_masked = torch.arange(n + 1)
    masked = torch.arange(n) < num_masked[:, None]  # (n + 1, n): a row for each number of MASK
    unseen = torch.zeros(n + 1, n, 1, dtype=torch.float64)  # no prediction is looked at
    costs = costs_by_count(profile)  # (n + 1, n + 1)
    p_masked = (num_masked == n).double()
    left = (num_masked[:, None] - num_masked).clamp(min=0)  # the MASK tokens after each number
    cost, step = 0.0, 0
    while (how_many.level(schedule, num_masked[p_masked > 0], n, step) > 0).any():
        p_count = how_many.log_counts(Moment(schedule, step, unseen, masked)).exp()
        p_both = p_masked[:, None] * p_count
        cost += float((p_both * costs).sum())
        p_masked = torch.zeros_like(p_masked).index_add(0, left.flatten(), p_both.flatten())
        step += 1
    return cost


def costs_by_count(profile: InformationProfile) -> Float64[Tensor, "masked counts"]:
    """The cost of revealing 0..n of 0..n MASK tokens, nats; 0 where it cannot be."""
    costs = step_costs(profile)  # by the tokens shown before and after
    n = len(profile.nats)
    shown = n - torch.arange(n + 1)[:, None]  # (masked, 1)
    after = shown + torch.arange(n + 1)
    found = costs[shown, after.clamp(max=n)]
    return found.masked_fill((after > n) | (after == shown), 0)

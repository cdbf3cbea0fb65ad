"""One step of an unmasking rule with a corrector, exactly: the twin of `reveal.correctors`."""

import math
from collections.abc import Iterator
from itertools import product
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float64, Int
from torch import Tensor

from vqlearn.diffusion.exact.reveal_step import (
    after_reveal,
    after_unmasking_step,
    of_rows,
    reachable,
)
from vqlearn.diffusion.exact.world import _joint_distribution, all_states
from vqlearn.diffusion.process import MaskAndReplace
from vqlearn.diffusion.reveal.correctors import ForwardAndBack, ReMDM, log_forward
from vqlearn.diffusion.reveal.rule import Moment, UnmaskingRule
from vqlearn.diffusion.reveal.unmasking import level_after, level_of, log_values, look
from vqlearn.diffusion.sampler import Denoise


def after_step(
    process: MaskAndReplace,
    denoise: Denoise,
    x_t: Int[Tensor, "b n"],
    weight: Float64[Tensor, " b"],
    rule: UnmaskingRule,
    step: int,
) -> Float64[Tensor, " states"]:
    """The mass of every x_s after step i of a rule, or of a corrector around it."""
    if isinstance(rule, ForwardAndBack):
        return _forward_and_back(process, denoise, x_t, weight, rule, step)
    if isinstance(rule, ReMDM):
        return _remasked(process, denoise, x_t, weight, rule, step)
    return after_unmasking_step(process, denoise, x_t, weight, rule, step)


def _forward_and_back(
    process: MaskAndReplace,
    denoise: Denoise,
    x_t: Int[Tensor, "b n"],
    weight: Float64[Tensor, " b"],
    rule: ForwardAndBack,
    step: int,
) -> Float64[Tensor, " states"]:
    """The step of the rule; then the states with equally many MASK tokens, at one level, move."""
    states = all_states(process.num_classes, x_t.shape[1])
    num_masked = (states == process.mask).sum(dim=-1)
    unfinished = level_of(process, rule, x_t, step) > 0
    finished = (x_t[~unfinished, None] == states).all(dim=-1).double()  # (rows, states)
    after = weight[~unfinished] @ finished
    if not unfinished.any():
        return after
    stepped = after_step(process, denoise, x_t[unfinished], weight[unfinished], rule.rule, step)
    for number in num_masked[stepped > 0].unique():
        there = stepped.masked_fill(num_masked != number, 0)
        after += correction(process, denoise, there, rule, step)
    return after


def correction(
    process: MaskAndReplace,
    denoise: Denoise,
    distribution: Float64[Tensor, " states"],
    rule: ForwardAndBack,
    step: int,
) -> Float64[Tensor, " states"]:
    """Forward and back after step i, from a distribution of x_s with as many MASK in each state."""
    n = round(math.log(len(distribution), process.num_classes))
    states = all_states(process.num_classes, n)
    shown = states[distribution > 0][:1]  # one for all: they have the same level
    level = level_of(process, rule, shown, step + 1)
    s, u = int(level), int(rule.level_above(process, level))
    if s == process.num_timesteps:
        return distribution
    up = torch.zeros_like(distribution)
    for x_s, weight in reachable(states, distribution):
        up += weight @ _joint_distribution(log_forward(process, x_s, s, u).exp())
    back = torch.zeros_like(distribution)
    for x_u, weight in reachable(states, up):
        moment = Moment(process.schedule, step, denoise(x_u, u), x_u == process.mask)
        levels = torch.full((len(x_u),), u), torch.full((len(x_u),), s)
        log_p = log_values(process, rule.rule, moment, x_u, levels)
        counts = moment.masked.sum(dim=-1) - (shown == process.mask).sum()
        for number in counts.unique():
            rows = counts == number
            here = of_rows(moment, rows)
            back += after_reveal(rule.rule, here, log_p[rows], int(number), weight[rows])
    return back


def _remasked(
    process: MaskAndReplace,
    denoise: Denoise,
    x_t: Int[Tensor, "b n"],
    weight: Float64[Tensor, " b"],
    rule: ReMDM,
    step: int,
) -> Float64[Tensor, " states"]:
    """The mass of every x_s: over both numbers and the positions that are masked again."""
    moment, t = look(process, denoise, x_t, rule.rule, step)
    after = torch.zeros(process.num_classes ** x_t.shape[1], dtype=torch.float64)
    for case in _cases(rule, moment):
        here = of_rows(moment, case.row)
        s = level_after(process, rule, here, case.number - case.again.sum(dim=-1))
        log_p = log_values(process, rule.rule, here, x_t[case.row], (t[case.row], s))
        mass = weight[case.row] * case.probability
        after += after_reveal(rule.rule, here, log_p, case.number, mass, case.again)
    return after


class Case(NamedTuple):
    """Rows of a batch in which so many tokens are revealed, and these positions masked again."""

    row: Int[Tensor, " r"]
    number: int
    again: Bool[Tensor, "r n"]
    probability: Float64[Tensor, " r"]


def _cases(rule: ReMDM, moment: Moment) -> Iterator[Case]:
    """All that `ReMDM` may decide before it looks for positions to reveal."""
    free, n = ~moment.masked, moment.masked.shape[1]
    every_set = all_states(2, n).bool()
    p_count = rule.log_counts(moment).exp()  # (b, n + 1)
    for number, size in product(range(n + 1), repeat=2):
        count = moment.masked.sum(dim=-1).clamp(max=number)
        p_size = rule.log_remasked(moment, free, count).exp()[:, size]
        # All sets of so many free positions are equally likely.
        ways = torch.tensor([math.comb(total, size) for total in free.sum(dim=-1).tolist()])
        probability = p_count[:, number] * p_size / ways.clamp(min=1)  # (b,)
        sets = every_set[every_set.sum(dim=-1) == size]  # (m, n)
        fits = (free[:, None] | ~sets).all(dim=-1) & (probability > 0)[:, None]  # (b, m)
        row, chosen = fits.nonzero(as_tuple=True)
        if len(row) > 0:
            total = rule.revealed(torch.tensor([number]), torch.tensor([size]))
            yield Case(row, int(total), sets[chosen], probability[row])

"""Which MASK tokens a step reveals: orders of the positions, chosen before any value is drawn."""

from dataclasses import dataclass
from functools import cache

import torch
from jaxtyping import Float
from torch import Tensor

from vqlearn.diffusion.reveal.rule import Moment, Ranking, in_order
from vqlearn.probability.checks import check_sizes


def at_random(moment: Moment) -> Ranking:
    """All sets of masked positions are equally likely, as in the reverse process."""
    score = torch.zeros_like(moment.log_p_x0[..., 0])
    return Ranking(score, torch.ones_like(score[:, :1]))


def by_purity(moment: Moment) -> Ranking:
    r"""Drawn without replacement, in proportion to the purity $\max_j p(x_0^i = j \mid x_t)$.

    Source: purity prior sampling, Tang et al. 2022, https://arxiv.org/abs/2205.16007.
    """
    score = moment.log_p_x0.amax(dim=-1)  # (b, n): its exponential is the purity
    return Ranking(score, torch.ones_like(score[:, :1]))


def surest_first(moment: Moment) -> Ranking:
    """The largest purity first, without chance."""
    return in_order(moment.log_p_x0.amax(dim=-1))


def least_entropy(moment: Moment) -> Ranking:
    """The prediction with the least entropy first, without chance."""
    return in_order(-entropy(moment.log_p_x0))


@dataclass(frozen=True)
class Halton:
    """A fixed order in which every stretch of positions is spread evenly over the grid.

    The points of the Halton sequence with the bases 2 (rows) and 3 (columns) fall into the cells of
    the grid; a cell takes the place of its first point. Positions that are revealed together lie
    far apart. Source: Besnier et al. 2025, https://arxiv.org/abs/2503.17076.

    Raises `ValueError` for a grid whose cells are not the positions of the sequence.
    """

    height: int
    width: int

    def __post_init__(self) -> None:
        check_sizes({"height": self.height, "width": self.width})

    def __call__(self, moment: Moment) -> Ranking:
        """The earlier cells first."""
        b, n = moment.masked.shape
        if self.height * self.width != n:
            raise ValueError(
                f"the grid is {self.height} x {self.width}; allowed: {n} positions in all"
            )
        ranks = torch.empty(n)
        ranks[list(halton_order(self.height, self.width))] = torch.arange(n, dtype=ranks.dtype)
        return in_order(-ranks.to(moment.log_p_x0).expand(b, n))


@cache
def halton_order(height: int, width: int) -> tuple[int, ...]:
    """The positions of a grid, row by row numbered, in the order of their first Halton points."""
    order: dict[int, None] = {}  # a dict keeps the order in which cells came
    index = 1
    while len(order) < height * width:
        row, column = (
            int(height * radical_inverse(index, 2)),
            int(width * radical_inverse(index, 3)),
        )
        order.setdefault(row * width + column)
        index += 1
    return tuple(order)


def radical_inverse(index: int, base: int) -> float:
    """The digits of a number behind the point, the last one first: 6 = 110 in base 2 is .011."""
    value, unit = 0.0, 1 / base
    while index:
        index, digit = divmod(index, base)
        value += digit * unit
        unit /= base
    return value


def entropy(log_p: Float[Tensor, "b n k"]) -> Float[Tensor, "b n"]:
    """The entropy of every position's distribution in nats; 0 log 0 is 0."""
    return -(log_p.exp() * log_p.masked_fill(log_p.isneginf(), 0)).sum(dim=-1)

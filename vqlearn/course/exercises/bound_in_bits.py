r"""An exercise of lesson 07: the bound of masks in bits, with T timesteps and in the limit.

At the masked share u, $g(u) = \frac1u \sum_m P(m \mid u)\, m\, c_m$: of n tokens m are masked, and
a masked one costs $c_m$ nats on average. A step from s to t costs $(u_t - u_s)\,g(u_t)$, and the
integral of $P(m \mid u)/u$ over u is 1/m.
"""

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from vqlearn.course.exercise import Arguments, Exercise, Mistake, Property

Results = Sequence[np.ndarray]


def masked_bits(nats: Tensor, gamma_bar: Tensor) -> Tensor:
    """Bits per token of the negative ELBO, masks only: with T timesteps, and in the limit: (2,).

    `nats` (n,): the mean NLL of one masked token if 1..n are masked; `gamma_bar` (T + 1,) from 0 to
    1. Source: Sahoo et al. 2024, section 3.3.
    """
    totals = _masked(nats) * nats  # of all masked tokens together
    both = torch.stack([_with_levels(totals, gamma_bar), (totals / _masked(nats)).sum()])
    return _in_bits(both, nats)


def _masked(nats: Tensor) -> Tensor:
    """How many tokens may be masked: 1..n."""
    return torch.arange(1, len(nats) + 1, dtype=nats.dtype)


def _sets(nats: Tensor) -> Tensor:
    """In how many ways they can be chosen."""
    n = len(nats)
    return torch.tensor([math.comb(n, m) for m in range(1, n + 1)], dtype=nats.dtype)


def _expected(totals: Tensor, share: Tensor) -> Tensor:
    """The mean total if every token is masked with the probability `share`, (T,)."""
    masked, share = _masked(totals), share[:, None]
    return (_sets(totals) * share**masked * (1 - share) ** (len(totals) - masked)) @ totals


def _with_levels(totals: Tensor, gamma_bar: Tensor) -> Tensor:
    at_s, at_t = gamma_bar[:-1], gamma_bar[1:]
    return ((at_t - at_s) / at_t * _expected(totals, at_t)).sum()


def _in_bits(nats_per_sequence: Tensor, nats: Tensor) -> Tensor:
    return nats_per_sequence / (len(nats) * math.log(2))


def _in_nats(nats: Tensor, gamma_bar: Tensor) -> Tensor:
    return masked_bits(nats, gamma_bar) * math.log(2)


def _per_sequence(nats: Tensor, gamma_bar: Tensor) -> Tensor:
    return masked_bits(nats, gamma_bar) * len(nats)


def _masked_as_at_s(nats: Tensor, gamma_bar: Tensor) -> Tensor:
    at_s, at_t = gamma_bar[:-1], gamma_bar[1:]
    per_level = (at_t - at_s) / at_t * _expected(_masked(nats) * nats, at_s)
    return torch.stack([_in_bits(per_level.sum(), nats), masked_bits(nats, gamma_bar)[1]])


def _sets_not_counted(nats: Tensor, gamma_bar: Tensor) -> Tensor:
    return masked_bits(nats / _sets(nats), gamma_bar)


def _one_token(nats: Tensor, gamma_bar: Tensor) -> Tensor:
    return masked_bits(nats / _masked(nats), gamma_bar)


def _no_division(nats: Tensor, gamma_bar: Tensor) -> Tensor:
    totals = _masked(nats) * nats
    levels = (gamma_bar.diff() * _expected(totals, gamma_bar[1:])).sum()
    return _in_bits(torch.stack([levels, totals.sum() / (len(nats) + 1)]), nats)


def _first_order(nats: Tensor, gamma_bar: Tensor) -> Tensor:
    bits = masked_bits(nats, gamma_bar)[0]
    ends = (nats[-1] - nats[0]) / math.log(2)  # (g(1) - g(0)) per token
    return torch.stack([bits, bits - ends / (2 * (len(gamma_bar) - 1))])


def _probes(generator: torch.Generator) -> list[Arguments]:
    """The more tokens are masked, the more a masked one costs. Once T = 1."""

    def probe(n: int, num_timesteps: int) -> Arguments:
        def rising(length: int) -> Tensor:
            parts = torch.rand(length, generator=generator, dtype=torch.float64)
            return (0.2 + parts).cumsum(dim=0)

        ends = rising(num_timesteps)
        gamma_bar = torch.cat([torch.zeros(1, dtype=torch.float64), ends / ends[-1]])
        return rising(n), gamma_bar

    return [probe(4, 3), probe(6, 5), probe(3, 1), probe(5, 8)]


def _between(arguments: Arguments, results: Results) -> bool:
    least, most = (float(arguments[0][end]) / math.log(2) for end in (0, -1))
    return bool(((results[0] > least - 1e-6) & (results[0] < most + 1e-6)).all())


def _levels_cost(_: Arguments, results: Results) -> bool:
    return bool(results[0][0] >= results[0][1] - 1e-6)


MASKED_BITS = Exercise(
    id="masked_bits",
    lesson=7,
    points=4,
    reference=masked_bits,
    probes=_probes,
    mistakes=(
        Mistake("in_nats", "the results are in nats and not in bits", _in_nats),
        Mistake("per_sequence", "the results are per sequence and not per token", _per_sequence),
        Mistake(
            "masked_as_at_s",
            "in a step from s to t the tokens were masked as at s",
            _masked_as_at_s,
        ),
        Mistake(
            "sets_not_counted",
            "it was left out in how many ways m of n positions can be masked",
            _sets_not_counted,
            "right for sums over all sets, as in lesson 07, g(u)",
        ),
        Mistake(
            "one_token",
            "one masked token was counted and not all m of them",
            _one_token,
        ),
        Mistake(
            "no_division",
            "the cross-entropy was not divided by the masked share",
            _no_division,
        ),
        Mistake(
            "first_order",
            "the limit was estimated from T timesteps by (g(1) - g(0)) / 2T",
            _first_order,
            "lesson 07, Maths: exact only up to terms of 1/T², and for equal strides",
        ),
    ),
    properties=(
        Property("both lie between the least and the largest of `nats`, in bits", _between),
        Property("T timesteps cost no less than the limit", _levels_cost),
    ),
)

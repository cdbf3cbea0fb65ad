"""Exercises of lesson 12: a purity step, and what random numbers of tokens cost.

The one about guidance is in `guided_step.py`. Sources: Tang et al. 2022, section 3.2, for the
purity prior; Lavenant and Zanella 2025 for the information profile.
"""

from collections.abc import Sequence
from itertools import pairwise
from math import comb
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vqlearn.course.exercise import Arguments, Exercise, Mistake, Property
from vqlearn.course.exercises.guided_step import MASKED_UNDER_GUIDANCE

Shares = tuple[float, ...]
Results = Sequence[np.ndarray]


def purity_step(log_p_x0: Tensor, masked: Tensor, k: int, r: float, uniform: Tensor) -> Tensor:
    """What a purity step draws the values of revealed tokens from, (n, K); other rows are 0.

    Of the masked positions (n,) the k that win an exponential race are revealed: the time of a
    position is -log(uniform) over its purity. Values have p^(1 + r * purity), normalised. Source:
    Tang et al. 2022, section 3.2.
    """
    purity = _purity(log_p_x0)
    return _revealed(log_p_x0, _first(-uniform.log() / purity, masked, k), 1 + r * purity)


def _purity(log_p_x0: Tensor) -> Tensor:
    return log_p_x0.amax(dim=-1).exp()


def _first(times: Tensor, candidates: Tensor, k: int) -> Tensor:
    """Which of the candidates have the k smallest times, (n,)."""
    order = times.masked_fill(~candidates, torch.inf).argsort()
    return torch.zeros_like(candidates).scatter(0, order[:k], True) & candidates


def _revealed(log_p_x0: Tensor, chosen: Tensor, power: Tensor) -> Tensor:
    return (power[:, None] * log_p_x0).softmax(dim=-1) * chosen[:, None]


def _top_purity(log_p_x0: Tensor, masked: Tensor, k: int, r: float, uniform: Tensor) -> Tensor:
    purity = _purity(log_p_x0)
    return _revealed(log_p_x0, _first(-purity, masked, k), 1 + r * purity)


def _unmasked_compete(
    log_p_x0: Tensor, masked: Tensor, k: int, r: float, uniform: Tensor
) -> Tensor:
    return purity_step(log_p_x0, torch.ones_like(masked), k, r, uniform)


def _rate_as_mean(log_p_x0: Tensor, masked: Tensor, k: int, r: float, uniform: Tensor) -> Tensor:
    purity = _purity(log_p_x0)
    return _revealed(log_p_x0, _first(-uniform.log() * purity, masked, k), 1 + r * purity)


def _relative_score(log_p_x0: Tensor, masked: Tensor, k: int, r: float, uniform: Tensor) -> Tensor:
    purity = _purity(log_p_x0)
    chosen = _first(-uniform.log() / purity, masked, k)
    return _revealed(log_p_x0, chosen, 1 + r * purity / purity.max())


def _one_missing(log_p_x0: Tensor, masked: Tensor, k: int, r: float, uniform: Tensor) -> Tensor:
    purity = _purity(log_p_x0)
    return _revealed(log_p_x0, _first(-uniform.log() / purity, masked, k), r * purity)


def _not_renormalised(
    log_p_x0: Tensor, masked: Tensor, k: int, r: float, uniform: Tensor
) -> Tensor:
    purity = _purity(log_p_x0)
    chosen = _first(-uniform.log() / purity, masked, k)
    return ((1 + r * purity)[:, None] * log_p_x0).exp() * chosen[:, None]


def _purity_not_log(log_p_x0: Tensor, masked: Tensor, k: int, r: float, uniform: Tensor) -> Tensor:
    purity = _purity(log_p_x0)
    return _revealed(log_p_x0, _first(-uniform.log() / purity.exp(), masked, k), 1 + r * purity)


def random_counts_cost(h: Tensor, gamma_bar: Shares) -> float:
    """The mean cost of the reverse process's random numbers of tokens, in the unit of h (n,).

    h(m) belongs to m shown tokens. A token that is revealed in a step pays h(m), and m counts those
    of the n - 1 others that came before: binomial. One token at a time would pay the sum of h.
    """
    steps = pairwise(gamma_bar)
    paid = sum((before - after) * _mean_h(h, len(h) - 1, 1 - before) for before, after in steps)
    return len(h) * paid - float(h.sum())


def _mean_h(h: Tensor, others: int, share: float) -> float:
    """The mean of h(m) for a binomial m; behind its end h is 0."""
    m = range(others + 1)
    p = [comb(others, i) * share**i * (1 - share) ** (others - i) for i in m]
    return sum(q * float(h[i]) for i, q in zip(m, p, strict=True) if i < len(h))


def _own_token_counted(h: Tensor, gamma_bar: Shares) -> float:
    steps = pairwise(gamma_bar)
    paid = sum((before - after) * _mean_h(h, len(h), 1 - before) for before, after in steps)
    return len(h) * paid - float(h.sum())


def _after_the_step(h: Tensor, gamma_bar: Shares) -> float:
    steps = pairwise(gamma_bar)
    paid = sum((before - after) * _mean_h(h, len(h) - 1, 1 - after) for before, after in steps)
    return len(h) * paid - float(h.sum())


def _of_the_masked(h: Tensor, gamma_bar: Shares) -> float:
    steps = pairwise(gamma_bar)
    shares = [(1 - after / before, 1 - before) for before, after in steps]
    paid = sum(revealed * _mean_h(h, len(h) - 1, shown) for revealed, shown in shares)
    return len(h) * paid - float(h.sum())


def _mean_numbers(h: Tensor, gamma_bar: Shares) -> float:
    n, paid = len(h), 0.0
    for before, after in pairwise(gamma_bar):
        shown = n * (1 - before)  # between two whole numbers: a straight line
        paid += (before - after) * float(np.interp(shown, np.arange(n), h.numpy()))
    return n * paid - float(h.sum())


def _entropy_left(h: Tensor, gamma_bar: Shares) -> float:
    return random_counts_cost(h, gamma_bar) + float(h.sum())


def _turned_round(h: Tensor, gamma_bar: Shares) -> float:
    return random_counts_cost(h, tuple(1 - share for share in reversed(gamma_bar)))


def _grids(generator: torch.Generator) -> list[Arguments]:
    """In call 2 purity alone decides, in 3 codes are cut, in 4 all come, in 5 times nearly tie."""

    def probe(sizes: tuple[int, int, int], k: int, r: float, *, equal: bool = False) -> list[Any]:
        n, num_codes, num_masked = sizes
        scores = 1.5 * torch.randn(n, num_codes, generator=generator, dtype=torch.float64)
        masked = torch.randperm(n, generator=generator) < num_masked
        uniform = 0.05 + 0.9 * torch.rand(n, generator=generator, dtype=torch.float64)
        log_p_x0 = scores.log_softmax(dim=-1)
        purest = _purity(log_p_x0).masked_fill(~masked, 0).argmax()
        uniform[purest], uniform[~masked] = 1e-6, 0.999  # the last of all, and before all
        return [log_p_x0, masked, k, r, torch.full_like(uniform, 0.5) if equal else uniform]

    plain, fair = probe((8, 4, 6), 3, 1.0), probe((6, 3, 4), 2, 2.0, equal=True)
    cut, every = probe((10, 5, 7), 4, 0.7), probe((5, 4, 3), 4, 0.0)
    least = cut[0].argsort(dim=-1)[:, :2]
    cut[0] = cut[0].scatter(-1, least, -torch.inf).log_softmax(dim=-1)
    close, between = probe((24, 3, 18), 9, 0.5), torch.rand(24, generator=generator)
    close[4] = (-_purity(close[0]) * (0.95 + 0.1 * between)).exp()
    return [tuple(plain), tuple(fair), tuple(cut), tuple(every), tuple(close)]


def _unmasked_stay(arguments: Arguments, results: Results) -> bool:
    return bool(np.allclose(results[0][~arguments[1].numpy()], 0, atol=1e-6))


def _k_distributions(arguments: Arguments, results: Results) -> bool:
    _, masked, k, *_ = arguments
    sums = np.sort(results[0].sum(axis=-1))[::-1]
    count = min(k, int(masked.sum()))
    return bool(np.allclose(sums, np.arange(len(sums)) < count, atol=1e-4))


def _cut_stays_cut(arguments: Arguments, results: Results) -> bool:
    return bool(np.allclose(results[0][arguments[0].isneginf().numpy()], 0, atol=1e-6))


def _profiles(generator: torch.Generator) -> list[Arguments]:
    """h falls; the schedule is no image of itself; the last call has one step."""
    calls: list[Arguments] = []
    for n, num_steps in ((4, 3), (6, 4), (9, 5)):
        h = 2 * torch.rand(n, generator=generator, dtype=torch.float64)
        h[0] += 1  # the first token is the most expensive
        strides = 0.5 + torch.rand(num_steps, generator=generator, dtype=torch.float64)
        strides[0] /= 4
        left = 1 - strides.cumsum(dim=0) / strides.sum()
        calls.append((h.sort(descending=True).values, (1.0, *left[:-1].tolist(), 0.0)))
    return [*calls, (calls[0][0], (1.0, 0.0))]


def _not_negative(_: Arguments, results: Results) -> bool:
    return bool(results[0] > -1e-6)


def _at_most_one_step(arguments: Arguments, results: Results) -> bool:
    h = arguments[0]
    return bool(results[0] < float(len(h) * h[0] - h.sum()) + 1e-5)


PURITY_STEP = Exercise(
    id="purity_step",
    lesson=12,
    points=3,
    reference=purity_step,
    probes=_grids,
    mistakes=(
        Mistake("top_purity", "the k highest purities were taken, without chance", _top_purity),
        Mistake(
            "unmasked_compete",
            "positions that are not masked take part in the race",
            _unmasked_compete,
        ),
        Mistake(
            "rate_as_mean",
            "a large purity makes the time of a position longer, not shorter",
            _rate_as_mean,
        ),
        Mistake(
            "relative_score",
            "the purity was divided by the largest one of all positions",
            _relative_score,
            "the released code of Tang et al. 2022",
        ),
        Mistake("one_missing", "the power is r times the purity, without the 1", _one_missing),
        Mistake("not_renormalised", "the power of p was not normalised again", _not_renormalised),
        Mistake(
            "purity_not_log",
            "the rate is exp(purity): Gumbel noise was added to the purity, not to its logarithm",
            _purity_not_log,
        ),
    ),
    properties=(
        Property("rows of positions that are not masked are 0", _unmasked_stay),
        Property("k rows (or all masked ones) sum to 1, all others to 0", _k_distributions),
        Property("a code with probability 0 keeps it", _cut_stays_cut),
    ),
)

RANDOM_COUNTS_COST = Exercise(
    id="random_counts_cost",
    lesson=12,
    points=4,
    reference=random_counts_cost,
    probes=_profiles,
    mistakes=(
        Mistake(
            "own_token_counted",
            "m counts n tokens, the revealed one among them, not the n - 1 others",
            _own_token_counted,
        ),
        Mistake("after_the_step", "m was counted after the step, not before it", _after_the_step),
        Mistake(
            "of_the_masked",
            "a step reveals the same share of all tokens as it does of the masked ones",
            _of_the_masked,
        ),
        Mistake(
            "mean_numbers",
            "every step revealed its mean number of tokens, without chance",
            _mean_numbers,
        ),
        Mistake("entropy_left", "the sum of h was not taken off", _entropy_left),
        Mistake("turned_round", "the steps run in the order of the forward process", _turned_round),
    ),
    properties=(
        Property("no cost is negative", _not_negative),
        Property("nothing costs more than a single step", _at_most_one_step),
    ),
)

EXERCISES: tuple[Exercise, ...] = (PURITY_STEP, RANDOM_COUNTS_COST, MASKED_UNDER_GUIDANCE)

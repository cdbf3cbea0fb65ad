"""Two exercises of lesson 03 about masks only: the reverse step in logarithms, and many tokens."""

from collections.abc import Sequence
from itertools import pairwise, product
from math import prod
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vqlearn.course.exercise import Arguments, Exercise, Mistake, Property


def log_unmask(log_p_x0: Tensor, x_t: Tensor, gamma_bar: Tensor, s: int, t: int) -> Tensor:
    """log p(x_s | x_t), (n, K + 1), from log p(x_0 | x_t) (n, K) and the masked shares of 1..T.

    Source: Sahoo et al. 2024, eq. 6 and 7.
    """
    masked_s = _share(gamma_bar, s)
    reveal, stay = (gamma_bar[t - 1] - masked_s) / gamma_bar[t - 1], masked_s / gamma_bar[t - 1]
    return _by_token(log_p_x0 + reveal.log(), stay.log(), x_t)


def _share(gamma_bar: Tensor, t: int) -> Tensor:
    """The masked share at timestep t, also at 0."""
    return gamma_bar[t - 1] if t > 0 else torch.zeros_like(gamma_bar[0])


def _by_token(log_codes: Tensor, log_stay: Tensor, x_t: Tensor) -> Tensor:
    """The rows of the codes and of MASK where x_t is MASK; elsewhere x_t stays what it is."""
    return torch.where(_is_mask(log_codes, x_t), _row(log_codes, log_stay), _kept(log_codes, x_t))


def _is_mask(log_codes: Tensor, x_t: Tensor) -> Tensor:
    return x_t[:, None] == log_codes.shape[-1]


def _row(log_codes: Tensor, log_mask: Tensor) -> Tensor:
    return torch.cat([log_codes, log_mask.expand(len(log_codes), 1)], dim=-1)


def _kept(log_codes: Tensor, x_t: Tensor) -> Tensor:
    classes = torch.arange(log_codes.shape[-1] + 1)
    impossible = log_codes.new_full((len(x_t), len(classes)), -torch.inf)
    return impossible.masked_fill(x_t[:, None] == classes, 0)


def _floor(*arguments: Any) -> Tensor:
    return (log_unmask(*arguments).exp() + 1e-6).log()


def _lost_tail(*arguments: Any) -> Tensor:
    return log_unmask(*arguments).exp().log()


def _wraps(log_p_x0: Tensor, x_t: Tensor, gamma_bar: Tensor, s: int, t: int) -> Tensor:
    stay = gamma_bar[s - 1] / gamma_bar[t - 1]
    return _by_token(log_p_x0 + (1 - stay).log(), stay.log(), x_t)


def _zero_by_zero(log_p_x0: Tensor, x_t: Tensor, *others: Any) -> Tensor:
    right = log_unmask(log_p_x0, x_t, *others)
    return right.masked_fill(~_is_mask(log_p_x0, x_t), torch.nan)


def _not_divided(log_p_x0: Tensor, x_t: Tensor, gamma_bar: Tensor, s: int, t: int) -> Tensor:
    masked_s = _share(gamma_bar, s)
    stay = masked_s / gamma_bar[t - 1]
    return _by_token(log_p_x0 + (gamma_bar[t - 1] - masked_s).log(), stay.log(), x_t)


def _stay_not_divided(log_p_x0: Tensor, x_t: Tensor, gamma_bar: Tensor, s: int, t: int) -> Tensor:
    masked_s = _share(gamma_bar, s)
    reveal = 1 - masked_s / gamma_bar[t - 1]
    return _by_token(log_p_x0 + reveal.log(), masked_s.log(), x_t)


def _neither_divided(log_p_x0: Tensor, x_t: Tensor, gamma_bar: Tensor, s: int, t: int) -> Tensor:
    masked_s = _share(gamma_bar, s)
    return _by_token(log_p_x0 + (gamma_bar[t - 1] - masked_s).log(), masked_s.log(), x_t)


def _forward_step(log_p_x0: Tensor, x_t: Tensor, gamma_bar: Tensor, s: int, t: int) -> Tensor:
    stay = (1 - gamma_bar[t - 1]) / (1 - _share(gamma_bar, s))
    return _by_token(log_p_x0 + (1 - stay).log(), stay.log(), x_t)


def _redrawn(log_p_x0: Tensor, x_t: Tensor, *others: Any) -> Tensor:
    right = log_unmask(log_p_x0, x_t, *others)
    drawn = _row(log_p_x0, log_p_x0.new_tensor(-torch.inf))
    return torch.where(_is_mask(log_p_x0, x_t), right, drawn)


def equal_tokens(p: Tensor, gamma_bar: tuple[float, ...], n: int) -> Tensor:
    """The probability that all n equal tokens come out as code k, (K,), for data p (K,).

    The first m tokens are revealed together and unseen, in some step: each is k with p_k; those
    that come later follow. The binomial theorem sums over m = 1..n.
    """
    steps = pairwise(gamma_bar)
    return sum(((before - after) * p + after) ** n - after**n for before, after in steps)


def _exact_as_joint(p: Tensor, gamma_bar: tuple[float, ...], n: int) -> Tensor:
    return p.clone()


def _only_all_together(p: Tensor, gamma_bar: tuple[float, ...], n: int) -> Tensor:
    together = sum((before - after) ** n for before, after in pairwise(gamma_bar))
    return together * p**n + (1 - together) * p


def _later_blind(p: Tensor, gamma_bar: tuple[float, ...], n: int) -> Tensor:
    shares = [before - after for before, after in pairwise(gamma_bar)]
    total = torch.zeros_like(p)
    for steps in product(range(len(shares)), repeat=n):  # the step of every token
        total += prod(shares[step] for step in steps) * p ** (n - len(set(steps)) + 1)
    return total


def _turned_round(p: Tensor, gamma_bar: tuple[float, ...], n: int) -> Tensor:
    return equal_tokens(p, tuple(1 - share for share in reversed(gamma_bar)), n)


def _conditional_share(p: Tensor, gamma_bar: tuple[float, ...], n: int) -> Tensor:
    steps = pairwise(gamma_bar)
    return sum(((1 - after / before) * p + after) ** n - after**n for before, after in steps)


def _uniform(p: Tensor, gamma_bar: tuple[float, ...], n: int) -> Tensor:
    return equal_tokens(torch.full_like(p, 1 / len(p)), gamma_bar, n)


def _all_blind(p: Tensor, gamma_bar: tuple[float, ...], n: int) -> Tensor:
    return p**n


def _unmask_probes(generator: torch.Generator) -> list[Arguments]:
    def probe(num_codes: int, num_timesteps: int, s: int, t: int) -> Arguments:
        """Every class twice; in each row one code is impossible, and one nearly so."""
        x_t = torch.arange(num_codes + 1).repeat(2)
        scores = torch.randn(len(x_t), num_codes, generator=generator, dtype=torch.float64)
        cut = torch.randint(num_codes, (len(x_t), 1), generator=generator)
        scores = scores.scatter(-1, (cut + 1) % num_codes, -800).scatter(-1, cut, -torch.inf)
        strides = 0.5 + torch.rand(num_timesteps, generator=generator, dtype=torch.float64)
        gamma_bar = strides.cumsum(dim=0) / strides.sum()
        gamma_bar[-1] = 1  # without a rounding error
        return scores.log_softmax(dim=-1), x_t, gamma_bar, s, t

    return [probe(4, 6, 2, 5), probe(5, 4, 0, 3), probe(4, 5, 4, 5), probe(6, 8, 0, 1)]


def _equal_probes(generator: torch.Generator) -> list[Arguments]:
    def data(num_codes: int) -> Tensor:
        """Unequal, in an order that was drawn."""
        more = torch.rand(num_codes, generator=generator, dtype=torch.float64)
        shares = 1 + 2 * torch.arange(num_codes) + more
        return (shares / shares.sum())[torch.randperm(num_codes, generator=generator)]

    a, b, c = torch.rand(3, generator=generator, dtype=torch.float64).tolist()
    return [
        (data(3), (1.0, 0.85 + 0.1 * a, 0.5 + 0.2 * b, 0.0), 3),
        (data(2), (1.0, 0.9 + 0.05 * b, 0.7 + 0.1 * c, 0.2 + 0.2 * a, 0.0), 4),
        (data(4), (1.0, 0.0), 2),
        (data(3), (1.0, 0.2 + 0.2 * c, 0.0), 5),
        (data(3), (1.0, 0.5, 0.0), 1),
    ]


def _rows_sum_to_one(arguments: Arguments, results: Sequence[np.ndarray]) -> bool:
    with np.errstate(all="ignore"):
        return bool(np.allclose(np.logaddexp.reduce(results[0], axis=-1), 0))


def _carries_over(arguments: Arguments, results: Sequence[np.ndarray]) -> bool:
    log_p_x0, x_t = arguments[:2]
    is_code = (x_t < log_p_x0.shape[-1]).numpy()
    return bool(np.allclose(results[0][is_code], _kept(log_p_x0, x_t).numpy()[is_code]))


def _ends_unmasked(arguments: Arguments, results: Sequence[np.ndarray]) -> bool:
    return arguments[3] > 0 or bool(np.isneginf(results[0][:, -1]).all())


def _at_most_data(arguments: Arguments, results: Sequence[np.ndarray]) -> bool:
    return bool((results[0] <= arguments[0].numpy() + 1e-6).all())


def _independent_in_one_step(arguments: Arguments, results: Sequence[np.ndarray]) -> bool:
    p, gamma_bar, n = arguments
    return len(gamma_bar) > 2 or bool(np.allclose(results[0], p.numpy() ** n))


LOG_UNMASK = Exercise(
    id="log_unmask",
    lesson=3,
    points=4,
    reference=log_unmask,
    probes=_unmask_probes,
    mistakes=(
        Mistake("floor", "1e-6 was added before the logarithm", _floor, "the D3PM code, copies"),
        Mistake("lost_tail", "a log-probability became a probability on the way", _lost_tail),
        Mistake(
            "wraps",
            "timestep 0 was read at the index -1, where timestep T is",
            _wraps,
            "cloneofsimo/d3pm: q_mats[t - 2] at t = 1",
        ),
        Mistake(
            "zero_by_zero",
            "Bayes' rule divides 0 by 0 for an unmasked token",
            _zero_by_zero,
            "the official code's log_add_exp of -inf and -inf",
        ),
        Mistake("not_divided", "the revealed share is not of the masked tokens", _not_divided),
        Mistake(
            "stay_not_divided",
            "the share that stays masked is not of the masked tokens",
            _stay_not_divided,
        ),
        Mistake(
            "neither_divided",
            "neither of both shares is of the masked tokens",
            _neither_divided,
        ),
        Mistake(
            "forward_step",
            "the shares are those of the step from s to t, as the forward process takes it",
            _forward_step,
        ),
        Mistake(
            "redrawn",
            "unmasked tokens are drawn again from the prediction",
            _redrawn,
            "the official code and diffusers, where nothing is ever replaced",
        ),
    ),
    properties=(
        Property("an unmasked token stays what it is", _carries_over),
        Property("nothing is MASK at timestep 0", _ends_unmasked),
        Property("the probabilities of every row sum to 1", _rows_sum_to_one),
    ),
)

EQUAL_TOKENS = Exercise(
    id="equal_tokens",
    lesson=3,
    points=4,
    reference=equal_tokens,
    probes=_equal_probes,
    mistakes=(
        Mistake("exact_as_joint", "'exact' was read as exact for the joint", _exact_as_joint),
        Mistake(
            "only_all_together",
            "tokens can differ only if all of them are revealed in the same step",
            _only_all_together,
        ),
        Mistake(
            "later_blind",
            "tokens of the same step may differ even if another one is visible already",
            _later_blind,
        ),
        Mistake(
            "turned_round",
            "the steps were taken in the order of the forward process",
            _turned_round,
            "lesson 06: short strides first",
        ),
        Mistake(
            "conditional_share",
            "the revealed share was taken of the tokens still masked, and not of all",
            _conditional_share,
        ),
        Mistake("all_blind", "no token knows what earlier steps revealed", _all_blind),
        Mistake("uniform", "all codes were taken to be equally likely", _uniform, "lesson 06"),
    ),
    properties=(
        Property("no code is likelier than in the data", _at_most_data),
        Property("in one step all tokens are independent", _independent_in_one_step),
    ),
)

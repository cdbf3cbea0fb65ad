"""The exercises of lesson 03: the reverse step.

The posterior of any matrices is in `any_matrices.py`, the two about masks only in `masks_only.py`.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import one_hot, pad

from vqlearn.course.exercise import Arguments, Exercise, Mistake, Property
from vqlearn.course.exercises.any_matrices import POSTERIOR_FROM_MATRICES, shares, sums_to_one
from vqlearn.course.exercises.masks_only import EQUAL_TOKENS, LOG_UNMASK

Pair = tuple[float, float]  # a number at timestep s, and at timestep t


def reverse_step(log_p_x0: Tensor, x_t: Tensor, alpha_bar: Pair, gamma_bar: Pair) -> Tensor:
    """p(x_s | x_t) by posterior averaging: (n, K + 1), from a truncated log p(x_0 | x_t) (n, K).

    Source: Gu et al. 2022, eq. 11.
    """
    prior, likelihood = _tables(x_t, alpha_bar, gamma_bar, log_p_x0.shape[-1])
    return _averaged(log_p_x0.softmax(dim=-1), prior, likelihood)


def _tables(x_t: Tensor, alpha_bar: Pair, gamma_bar: Pair, num_codes: int) -> tuple[Tensor, Tensor]:
    """q(x_s | x_0), (K, K + 1); and q(x_t | x_s) of each token for every x_s, (n, K + 1)."""
    prior = _keep_replace_mask(alpha_bar[0], gamma_bar[0], num_codes)[:num_codes]
    keep, mask = alpha_bar[1] / alpha_bar[0], 1 - (1 - gamma_bar[1]) / (1 - gamma_bar[0])
    return prior, _keep_replace_mask(keep, mask, num_codes)[:, x_t].T


def _keep_replace_mask(keep: float, mask: float, num_codes: int) -> Tensor:
    """The transition matrix, (from, to)."""
    codes = keep * torch.eye(num_codes, dtype=torch.float64) + (1 - keep - mask) / num_codes
    matrix = pad(codes, (0, 1, 0, 1))
    matrix[:num_codes, num_codes] = mask
    matrix[num_codes, num_codes] = 1
    return matrix


def _averaged(p_x0: Tensor, prior: Tensor, likelihood: Tensor) -> Tensor:
    """One posterior for every x_0, then their mean."""
    posteriors = shares(prior * likelihood[:, None])  # (n, K, K + 1)
    return (p_x0[..., None] * posteriors).sum(dim=1)


def _plugged_in(log_p_x0: Tensor, *others: Any) -> Tensor:
    prior, likelihood = _tables(*others, log_p_x0.shape[-1])
    return shares(log_p_x0.softmax(dim=-1) @ prior * likelihood)


def _mask_outcome(log_p_x0: Tensor, x_t: Tensor, alpha_bar: Pair, gamma_bar: Pair) -> Tensor:
    right = reverse_step(log_p_x0, x_t, alpha_bar, gamma_bar)
    stay = gamma_bar[0] / gamma_bar[1]
    is_mask = x_t[:, None] == log_p_x0.shape[-1]
    return torch.where(is_mask, right, _with_mask(right[:, :-1] * (1 - stay), stay))


def _with_mask(codes: Tensor, mask: float) -> Tensor:
    return pad(codes, (0, 1), value=mask)


def _clean_codes(log_p_x0: Tensor, x_t: Tensor, alpha_bar: Pair, gamma_bar: Pair) -> Tensor:
    stay = gamma_bar[0] / gamma_bar[1]
    drawn = _with_mask((1 - stay) * log_p_x0.softmax(dim=-1), stay)
    is_mask = x_t[:, None] == log_p_x0.shape[-1]
    return torch.where(is_mask, drawn, reverse_step(log_p_x0, x_t, alpha_bar, gamma_bar))


def _prior_at_t(log_p_x0: Tensor, x_t: Tensor, alpha_bar: Pair, gamma_bar: Pair) -> Tensor:
    num_codes = log_p_x0.shape[-1]
    _, likelihood = _tables(x_t, alpha_bar, gamma_bar, num_codes)
    prior = _keep_replace_mask(alpha_bar[1], gamma_bar[1], num_codes)[:num_codes]
    return _averaged(log_p_x0.softmax(dim=-1), prior, likelihood)


def _not_renormalised(log_p_x0: Tensor, *others: Any) -> Tensor:
    return _averaged(log_p_x0.exp(), *_tables(*others, log_p_x0.shape[-1]))


def _formula_not_renormalised(
    log_p_x0: Tensor, x_t: Tensor, alpha_bar: Pair, gamma_bar: Pair
) -> Tensor:
    num_codes, (gamma_s, gamma_t) = log_p_x0.shape[-1], gamma_bar
    unmask = (gamma_t - gamma_s) / (1 - gamma_s) / gamma_t
    beta_s = (1 - alpha_bar[0] - gamma_s) / num_codes
    masked = _with_mask(unmask * (alpha_bar[0] * log_p_x0.exp() + beta_s), gamma_s / gamma_t)
    averaged = _not_renormalised(log_p_x0, x_t, alpha_bar, gamma_bar)
    return torch.where(x_t[:, None] == num_codes, masked, averaged)


def _over_positions(log_p_x0: Tensor, *others: Any) -> Tensor:
    return _averaged(log_p_x0.softmax(dim=0), *_tables(*others, log_p_x0.shape[-1]))


def _seen_kept(log_p_x0: Tensor, x_t: Tensor, *others: Pair) -> Tensor:
    right = reverse_step(log_p_x0, x_t, *others)
    kept = one_hot(x_t, right.shape[-1]).to(right)
    return torch.where(x_t[:, None] == log_p_x0.shape[-1], right, kept)


def _step_probes(generator: torch.Generator) -> list[Arguments]:
    def probe(num_codes: int, keep: float, *, cut: bool, begins: bool = False) -> Arguments:
        """From s to t so many tokens are kept; s = 0 if `begins`; truncated if `cut`."""
        alpha, gamma, mask = torch.rand(3, generator=generator, dtype=torch.float64).tolist()
        alpha_s, gamma_s = (1.0, 0.0) if begins else (0.5 + 0.3 * alpha, 0.1 + 0.08 * gamma)
        gamma_t = 1 - (1 - gamma_s) * (0.9 - 0.1 * mask)
        some = torch.randint(num_codes + 1, (2,), generator=generator)
        x_t = torch.cat([torch.arange(num_codes + 1), some])
        scores = torch.randn(len(x_t), num_codes, generator=generator, dtype=torch.float64)
        log_p_x0 = scores.log_softmax(dim=-1)
        if cut:  # one code of each row, never its likeliest
            away = 1 + torch.arange(len(x_t)) % (num_codes - 1)
            lost = (scores.argmax(dim=-1) + away) % num_codes
            log_p_x0 = log_p_x0.scatter(-1, lost[:, None], -torch.inf)
        return log_p_x0, x_t, (alpha_s, alpha_s * keep), (gamma_s, gamma_t)

    return [
        probe(3, 0.6, cut=False),
        probe(4, 0.4, cut=True),
        probe(5, 0.7, cut=True, begins=True),
        probe(3, 0.0, cut=True),
    ]


def _never_was_mask(arguments: Arguments, results: Sequence[np.ndarray]) -> bool:
    log_p_x0, x_t = arguments[:2]
    is_code = (x_t < log_p_x0.shape[-1]).numpy()
    return bool(np.allclose(results[0][is_code, -1], 0))


def _stays_masked(arguments: Arguments, results: Sequence[np.ndarray]) -> bool:
    log_p_x0, x_t, _, (gamma_s, gamma_t) = arguments
    is_mask = (x_t == log_p_x0.shape[-1]).numpy()
    return bool(np.allclose(results[0][is_mask, -1], gamma_s / gamma_t))


REVERSE_STEP = Exercise(
    id="reverse_step",
    lesson=3,
    points=5,
    reference=reverse_step,
    probes=_step_probes,
    mistakes=(
        Mistake(
            "plugged_in",
            "the prediction was plugged into Bayes' rule, and no posteriors were averaged",
            _plugged_in,
            "right for another prediction: Hoogeboom et al. 2021, Austin et al. 2021",
        ),
        Mistake("mask_outcome", "an unmasked token could have been MASK before", _mask_outcome),
        Mistake(
            "clean_codes",
            "a revealed code is drawn as if nothing were replaced at timestep s",
            _clean_codes,
            "right for masks only: Sahoo et al. 2024",
        ),
        Mistake("prior_at_t", "the prior of x_s is made of the numbers of t", _prior_at_t),
        Mistake(
            "not_renormalised",
            "the truncated prediction was not normalised before the posteriors are averaged",
            _not_renormalised,
        ),
        Mistake(
            "formula_not_renormalised",
            "a formula that needs a normalised prediction was given the truncated one",
            _formula_not_renormalised,
        ),
        Mistake(
            "over_positions",
            "the prediction was normalised over the positions and not over the codes",
            _over_positions,
        ),
        Mistake(
            "seen_kept",
            "a token that is not masked stays what it is, as if nothing were ever replaced",
            _seen_kept,
            "right for masks only: Sahoo et al. 2024",
        ),
    ),
    properties=(
        Property("a token that is a code at t was a code at s", _never_was_mask),
        Property("a masked token stays MASK with the right probability", _stays_masked),
        Property("every row of the result sums to 1", sums_to_one),
    ),
)

EXERCISES: tuple[Exercise, ...] = (
    POSTERIOR_FROM_MATRICES,
    REVERSE_STEP,
    LOG_UNMASK,
    EQUAL_TOKENS,
)

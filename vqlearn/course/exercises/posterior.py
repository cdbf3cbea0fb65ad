"""The exercises of lesson 03: the posterior of any matrices, and the reverse step.

The two about masks only are in `masks_only.py`.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

from vqlearn.course.exercise import Arguments, Exercise, Mistake, Property
from vqlearn.course.exercises.masks_only import EQUAL_TOKENS, LOG_UNMASK

Pair = tuple[float, float]  # a number at timestep s, and at timestep t


def posterior_from_matrices(steps: Tensor, x_0: Tensor, x_t: Tensor, s: int, t: int) -> Tensor:
    """q(x_s | x_t, x_0): (b, classes), from the `steps` (T, to, from) and tokens (b,).

    Source of the convention: Gu et al. 2022, whose matrices have "from" in the columns.
    """
    return _shares(_joint(_product(steps[:s]), _product(steps[s:t]), x_0, x_t))


def _product(steps: Tensor) -> Tensor:
    """All steps one after the other, (to, from): the first stands on the right."""
    result = torch.eye(steps.shape[-1], dtype=steps.dtype)
    for step in steps:
        result = step @ result
    return result


def _joint(to_s: Tensor, to_t: Tensor, x_0: Tensor, x_t: Tensor) -> Tensor:
    """Prior times likelihood of every class, (b, classes): a column times a row."""
    return to_s[:, x_0].T * to_t[x_t]


def _shares(joint: Tensor) -> Tensor:
    return joint / joint.sum(dim=-1, keepdim=True)


def _transposed(steps: Tensor, *others: Any) -> Tensor:
    return posterior_from_matrices(steps.mT, *others)


def _order_reversed(steps: Tensor, x_0: Tensor, x_t: Tensor, s: int, t: int) -> Tensor:
    to_s, to_t = _product(steps[:s].flip(0)), _product(steps[s:t].flip(0))
    return _shares(_joint(to_s, to_t, x_0, x_t))


def _unnormalised(steps: Tensor, x_0: Tensor, x_t: Tensor, s: int, t: int) -> Tensor:
    return _joint(_product(steps[:s]), _product(steps[s:t]), x_0, x_t)


def _over_batch(*arguments: Any) -> Tensor:
    joint = _unnormalised(*arguments)
    return joint / joint.sum(dim=0)


def _cumulative_likelihood(steps: Tensor, x_0: Tensor, x_t: Tensor, s: int, t: int) -> Tensor:
    return _shares(_joint(_product(steps[:s]), _product(steps[:t]), x_0, x_t))


def _one_step(steps: Tensor, x_0: Tensor, x_t: Tensor, s: int, t: int) -> Tensor:
    return _shares(_joint(_product(steps[:s]), steps[t - 1], x_0, x_t))


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
    posteriors = _shares(prior * likelihood[:, None])  # (n, K, K + 1)
    return (p_x0[..., None] * posteriors).sum(dim=1)


def _plugged_in(log_p_x0: Tensor, *others: Any) -> Tensor:
    prior, likelihood = _tables(*others, log_p_x0.shape[-1])
    return _shares(log_p_x0.softmax(dim=-1) @ prior * likelihood)


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


def _matrix_probes(generator: torch.Generator) -> list[Arguments]:
    def steps(number: int, classes: int, reach: int) -> Tensor:
        """Columns that sum to 1; no class moves further than `reach` in one step."""
        scores = torch.randn(number, classes, classes, generator=generator, dtype=torch.float64)
        far = (torch.arange(classes)[:, None] - torch.arange(classes)).abs() > reach
        return (1.5 * scores).masked_fill(far, -torch.inf).softmax(dim=1)

    def tokens(classes: int, number: int) -> Tensor:
        return torch.randint(classes, (number,), generator=generator)

    permuted = torch.randperm(5, generator=generator)
    return [
        (steps(5, 4, reach=3), tokens(4, 6), tokens(4, 6), 2, 5),
        (steps(4, 3, reach=2), tokens(3, 5), tokens(3, 5), 3, 4),
        (steps(6, 5, reach=4), permuted, tokens(5, 5), 0, 3),
        (steps(3, 4, reach=1), torch.arange(4), torch.arange(4), 1, 3),
    ]


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


def _sums_to_one(arguments: Arguments, results: Sequence[np.ndarray]) -> bool:
    return bool(np.allclose(results[0].sum(axis=-1), 1))


def _begins_at_x_0(arguments: Arguments, results: Sequence[np.ndarray]) -> bool:
    _, x_0, _, s, _ = arguments
    return s > 0 or bool(np.allclose(results[0], np.eye(results[0].shape[-1])[x_0.numpy()]))


def _never_was_mask(arguments: Arguments, results: Sequence[np.ndarray]) -> bool:
    log_p_x0, x_t = arguments[:2]
    is_code = (x_t < log_p_x0.shape[-1]).numpy()
    return bool(np.allclose(results[0][is_code, -1], 0))


def _stays_masked(arguments: Arguments, results: Sequence[np.ndarray]) -> bool:
    log_p_x0, x_t, _, (gamma_s, gamma_t) = arguments
    is_mask = (x_t == log_p_x0.shape[-1]).numpy()
    return bool(np.allclose(results[0][is_mask, -1], gamma_s / gamma_t))


POSTERIOR_FROM_MATRICES = Exercise(
    id="posterior_from_matrices",
    lesson=3,
    points=3,
    reference=posterior_from_matrices,
    probes=_matrix_probes,
    mistakes=(
        Mistake("transposed", "a matrix was used where its transpose belongs", _transposed),
        Mistake("order_reversed", "matrices were multiplied in the wrong order", _order_reversed),
        Mistake("unnormalised", "prior times likelihood was not normalised", _unnormalised),
        Mistake("over_batch", "the sum runs over the batch and not over the classes", _over_batch),
        Mistake(
            "cumulative_likelihood",
            "the likelihood starts at the data and not at timestep s",
            _cumulative_likelihood,
        ),
        Mistake(
            "one_step",
            "the likelihood is that of the last step alone, however long the stride is",
            _one_step,
            "akin to the official code's sample_fast, a one-step posterior in a long stride",
        ),
    ),
    properties=(
        Property("every row of the result sums to 1", _sums_to_one),
        Property("x_s is x_0 where s = 0", _begins_at_x_0),
    ),
)

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
    ),
    properties=(
        Property("a token that is a code at t was a code at s", _never_was_mask),
        Property("a masked token stays MASK with the right probability", _stays_masked),
        Property("every row of the result sums to 1", _sums_to_one),
    ),
)

EXERCISES: tuple[Exercise, ...] = (
    POSTERIOR_FROM_MATRICES,
    REVERSE_STEP,
    LOG_UNMASK,
    EQUAL_TOKENS,
)

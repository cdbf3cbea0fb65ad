"""An exercise of lesson 03: the posterior of any Markov chain, from its matrices."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vqlearn.course.exercise import Arguments, Exercise, Mistake, Property


def posterior_from_matrices(steps: Tensor, x_0: Tensor, x_t: Tensor, s: int, t: int) -> Tensor:
    """q(x_s | x_t, x_0): (b, classes), from the `steps` (T, to, from) and tokens (b,).

    Source of the convention: Gu et al. 2022, whose matrices have "from" in the columns.
    """
    return shares(_joint(_product(steps[:s]), _product(steps[s:t]), x_0, x_t))


def _product(steps: Tensor) -> Tensor:
    """All steps one after the other, (to, from): the first stands on the right."""
    result = torch.eye(steps.shape[-1], dtype=steps.dtype)
    for step in steps:
        result = step @ result
    return result


def _joint(to_s: Tensor, to_t: Tensor, x_0: Tensor, x_t: Tensor) -> Tensor:
    """Prior times likelihood of every class, (b, classes): a column times a row."""
    return to_s[:, x_0].T * to_t[x_t]


def shares(joint: Tensor) -> Tensor:
    """The distribution over the last axis that is proportional to the joint."""
    return joint / joint.sum(dim=-1, keepdim=True)


def _transposed(steps: Tensor, *others: Any) -> Tensor:
    return posterior_from_matrices(steps.mT, *others)


def _order_reversed(steps: Tensor, x_0: Tensor, x_t: Tensor, s: int, t: int) -> Tensor:
    to_s, to_t = _product(steps[:s].flip(0)), _product(steps[s:t].flip(0))
    return shares(_joint(to_s, to_t, x_0, x_t))


def _unnormalised(steps: Tensor, x_0: Tensor, x_t: Tensor, s: int, t: int) -> Tensor:
    return _joint(_product(steps[:s]), _product(steps[s:t]), x_0, x_t)


def _over_batch(*arguments: Any) -> Tensor:
    joint = _unnormalised(*arguments)
    return joint / joint.sum(dim=0)


def _cumulative_likelihood(steps: Tensor, x_0: Tensor, x_t: Tensor, s: int, t: int) -> Tensor:
    return shares(_joint(_product(steps[:s]), _product(steps[:t]), x_0, x_t))


def _one_step(steps: Tensor, x_0: Tensor, x_t: Tensor, s: int, t: int) -> Tensor:
    return shares(_joint(_product(steps[:s]), steps[t - 1], x_0, x_t))


def _prior_transposed(steps: Tensor, x_0: Tensor, x_t: Tensor, s: int, t: int) -> Tensor:
    return shares(_product(steps[:s])[x_0] * _product(steps[s:t])[x_t])


def _likelihood_transposed(steps: Tensor, x_0: Tensor, x_t: Tensor, s: int, t: int) -> Tensor:
    return shares(_product(steps[:s])[:, x_0].T * _product(steps[s:t])[:, x_t].T)


def _first_step_missing(steps: Tensor, x_0: Tensor, x_t: Tensor, s: int, t: int) -> Tensor:
    return shares(_joint(_product(steps[:s]), _product(steps[s + 1 : t]), x_0, x_t))


def _last_step_missing(steps: Tensor, x_0: Tensor, x_t: Tensor, s: int, t: int) -> Tensor:
    return shares(_joint(_product(steps[:s]), _product(steps[s : t - 1]), x_0, x_t))


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


def sums_to_one(arguments: Arguments, results: Sequence[np.ndarray]) -> bool:
    """Every row of the result."""
    return bool(np.allclose(results[0].sum(axis=-1), 1))


def _begins_at_x_0(arguments: Arguments, results: Sequence[np.ndarray]) -> bool:
    _, x_0, _, s, _ = arguments
    return s > 0 or bool(np.allclose(results[0], np.eye(results[0].shape[-1])[x_0.numpy()]))


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
        Mistake(
            "prior_transposed",
            "the prior is a row of the product up to s, and not a column",
            _prior_transposed,
        ),
        Mistake(
            "likelihood_transposed",
            "the likelihood is a column of the product after s, and not a row",
            _likelihood_transposed,
        ),
        Mistake(
            "first_step_missing",
            "the likelihood leaves out the first step after s",
            _first_step_missing,
        ),
        Mistake(
            "last_step_missing",
            "the likelihood leaves out the last step, the one to t",
            _last_step_missing,
        ),
    ),
    properties=(
        Property("every row of the result sums to 1", sums_to_one),
        Property("x_s is x_0 where s = 0", _begins_at_x_0),
    ),
)

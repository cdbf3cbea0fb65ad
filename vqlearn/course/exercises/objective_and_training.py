r"""The exercises of lesson 05: the loss for masks only, and importance-sampled timesteps.

The one about the auxiliary loss is in `auxiliary_loss.py`.
"""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from vqlearn.course.exercise import Arguments, Exercise, Mistake, Property
from vqlearn.course.exercises.auxiliary_loss import AUXILIARY_SHARE

OLD = 0.9  # share of the old mean square in the new one
Estimate = tuple[Tensor, Tensor]  # of the sum over all levels; the history


def masked_elbo_term(
    logits: Tensor, x_0: Tensor, x_t: Tensor, gamma_bar_s: Tensor, gamma_bar_t: Tensor
) -> Tensor:
    """KL(q(x_s | x_t, x_0) || p(x_s | x_t)) of a stride, masks only: nats a sequence, (b,).

    Logits (b, n, K), tokens (b, n) with MASK = K in x_t, masked shares (b,). Source: Sahoo et al.
    2024, section 3.3.
    """
    weight = (gamma_bar_t - gamma_bar_s) / gamma_bar_t
    return weight * _masked_nll(logits.log_softmax(dim=-1), x_0, x_t)


def _nll(log_p: Tensor, x_0: Tensor) -> Tensor:
    """-log p of the clean codes, (b, n)."""
    return -log_p.gather(-1, x_0[..., None])[..., 0]


def _masked_nll(log_p: Tensor, x_0: Tensor, x_t: Tensor) -> Tensor:
    """Its sum over the masked positions, (b,)."""
    return (_nll(log_p, x_0) * (x_t == log_p.shape[-1])).sum(dim=1)


def _unmasked_too(logits: Tensor, x_0: Tensor, x_t: Tensor, s: Tensor, t: Tensor) -> Tensor:
    return (t - s) / t * _nll(logits.log_softmax(dim=-1), x_0).sum(dim=1)


def _mean_over_positions(logits: Tensor, x_0: Tensor, *others: Any) -> Tensor:
    return masked_elbo_term(logits, x_0, *others) / x_0.shape[1]


def _no_division(logits: Tensor, x_0: Tensor, x_t: Tensor, s: Tensor, t: Tensor) -> Tensor:
    return (t - s) * _masked_nll(logits.log_softmax(dim=-1), x_0, x_t)


def _stay_weight(logits: Tensor, x_0: Tensor, x_t: Tensor, s: Tensor, t: Tensor) -> Tensor:
    return s / t * _masked_nll(logits.log_softmax(dim=-1), x_0, x_t)


def _forward_weight(logits: Tensor, x_0: Tensor, x_t: Tensor, s: Tensor, t: Tensor) -> Tensor:
    return (t - s) / (1 - s) * _masked_nll(logits.log_softmax(dim=-1), x_0, x_t)


def _over_positions(logits: Tensor, x_0: Tensor, x_t: Tensor, s: Tensor, t: Tensor) -> Tensor:
    return (t - s) / t * _masked_nll(logits.log_softmax(dim=1), x_0, x_t)


def _not_normalised(logits: Tensor, x_0: Tensor, x_t: Tensor, s: Tensor, t: Tensor) -> Tensor:
    return (t - s) / t * _masked_nll(logits, x_0, x_t)


def importance_estimate(
    losses: Tensor, t: Tensor, probabilities: Tensor, squares: Tensor
) -> Estimate:
    """An unbiased estimate of the sum of the losses of all T levels, and the new mean squares (T,).

    Losses and levels (b,); level t has index t - 1 in the others, (T,). A level that the batch has
    more than once adds the mean of its squares.
    """
    new = squares.clone()
    for level in t.unique():
        mean_square = losses[t == level].square().mean()
        new[level - 1] = OLD * squares[level - 1] + (1 - OLD) * mean_square
    return (losses / probabilities[t - 1]).mean(), new


def _no_weight(losses: Tensor, *others: Tensor) -> Estimate:
    return losses.mean(), importance_estimate(losses, *others)[1]


def _off_by_one(losses: Tensor, t: Tensor, *others: Tensor) -> Estimate:
    return importance_estimate(losses, t + 1, *others)


def _mean_over_levels(*arguments: Tensor) -> Estimate:
    estimate, new = importance_estimate(*arguments)
    return estimate / len(new), new


def _not_squared(losses: Tensor, *others: Tensor) -> Estimate:
    estimate, _ = importance_estimate(losses, *others)
    return estimate, importance_estimate(losses.sqrt(), *others)[1]


def _unseen_decay(losses: Tensor, t: Tensor, probabilities: Tensor, squares: Tensor) -> Estimate:
    estimate, new = importance_estimate(losses, t, probabilities, squares)
    seen = torch.isin(torch.arange(1, len(squares) + 1), t)
    return estimate, torch.where(seen, new, OLD * squares)


def _last_wins(losses: Tensor, t: Tensor, probabilities: Tensor, squares: Tensor) -> Estimate:
    new = squares.clone()
    for level, loss in zip(t - 1, losses, strict=True):
        new[level] = OLD * squares[level] + (1 - OLD) * loss**2
    return importance_estimate(losses, t, probabilities, squares)[0], new


def _one_after_the_other(
    losses: Tensor, t: Tensor, probabilities: Tensor, squares: Tensor
) -> Estimate:
    new = squares.clone()
    for level, loss in zip(t - 1, losses, strict=True):
        new[level] = OLD * new[level] + (1 - OLD) * loss**2
    return importance_estimate(losses, t, probabilities, squares)[0], new


def _random(generator: torch.Generator, *shape: int) -> Tensor:
    return torch.rand(shape, generator=generator, dtype=torch.float64)


def _elbo_probes(generator: torch.Generator) -> list[Arguments]:
    """A plain stride; one to s = 0; and all MASK at t = T, beside a sequence without MASK."""

    def probe(b: int, n: int, num_codes: int) -> Arguments:
        logits = 4 * _random(generator, b, n, num_codes) - 2
        x_0 = torch.randint(num_codes, (b, n), generator=generator)
        gamma_bar_s = 0.1 + 0.3 * _random(generator, b)
        gamma_bar_t = 0.5 + 0.4 * _random(generator, b)
        masked = _random(generator, b, n) < gamma_bar_t[:, None]
        masked[:, 0], masked[:, 1] = True, False  # at least one of each
        return logits, x_0, torch.where(masked, num_codes, x_0), gamma_bar_s, gamma_bar_t

    plain, to_zero, extreme = probe(2, 4, 3), probe(3, 6, 5), probe(2, 5, 4)
    to_zero[3].zero_()
    _, x_0, x_t, _, gamma_bar_t = extreme
    x_t[0], x_t[1], gamma_bar_t[0] = 4, x_0[1], 1
    return [plain, to_zero, extreme]


def _estimate_probes(generator: torch.Generator) -> list[Arguments]:
    """One level occurs twice; level T never, so that an index too high by one raises nothing."""

    def probe(b: int, levels: int) -> Arguments:
        t = torch.randint(1, levels, (b,), generator=generator)
        t[-1] = t[0]
        weights = 0.2 + _random(generator, levels)
        losses, squares = 0.2 + 3 * _random(generator, b), 0.5 + 5 * _random(generator, levels)
        return losses, t, weights / weights.sum(), squares

    return [probe(4, 6), probe(5, 8), probe(6, 7)]


def _not_negative(arguments: Arguments, results: list[np.ndarray]) -> bool:
    return bool((results[0] > -1e-9).all())


def _visible(arguments: Arguments) -> np.ndarray:
    return (arguments[2] < arguments[0].shape[-1]).numpy()


def _no_mask_costs_nothing(arguments: Arguments, results: list[np.ndarray]) -> bool:
    return bool(np.allclose(results[0][_visible(arguments).all(axis=1)], 0))


def _only_masked_learn(arguments: Arguments, results: list[np.ndarray]) -> bool:
    return bool(np.allclose(results[1][_visible(arguments)], 0))


def _unseen_stay(arguments: Arguments, results: list[np.ndarray]) -> bool:
    _, t, _, squares = arguments
    unseen = np.setdiff1d(np.arange(len(squares)), t.numpy() - 1)
    return bool(np.allclose(results[1][unseen], squares.numpy()[unseen]))


def _between_weighted(arguments: Arguments, results: list[np.ndarray]) -> bool:
    losses, t, probabilities, _ = arguments
    weighted = losses / probabilities[t - 1]
    return float(weighted.min()) - 1e-6 <= results[0].item() <= float(weighted.max()) + 1e-6


MASKED_ELBO_TERM = Exercise(
    id="masked_elbo_term",
    lesson=5,
    points=3,
    reference=masked_elbo_term,
    probes=_elbo_probes,
    mistakes=(
        Mistake("unmasked_too", "tokens that are not masked were counted too", _unmasked_too),
        Mistake(
            "mean_over_positions",
            "the mean over the positions was taken and not the sum",
            _mean_over_positions,
        ),
        Mistake("no_division", "the weight was not divided by the masked share at t", _no_division),
        Mistake(
            "stay_weight",
            "the weight is the probability to stay masked, not that to be revealed",
            _stay_weight,
        ),
        Mistake(
            "forward_weight",
            "the weight is the probability to be masked in the step from s to t",
            _forward_weight,
        ),
        Mistake(
            "over_positions",
            "the softmax runs over the positions and not over the codes",
            _over_positions,
        ),
        Mistake(
            "not_normalised",
            "logits were taken for log-probabilities, without a softmax",
            _not_normalised,
        ),
    ),
    properties=(
        Property("no result is negative", _not_negative),
        Property("a sequence without MASK costs 0 nats", _no_mask_costs_nothing),
        Property("only logits of masked positions have a gradient", _only_masked_learn),
    ),
    differentiable=(0,),
)

IMPORTANCE_ESTIMATE = Exercise(
    id="importance_estimate",
    lesson=5,
    points=2,
    reference=importance_estimate,
    probes=_estimate_probes,
    mistakes=(
        Mistake("no_weight", "the losses were not divided by a probability", _no_weight),
        Mistake("off_by_one", "timestep t was looked up at index t, not at t - 1", _off_by_one),
        Mistake(
            "mean_over_levels",
            "the estimate is that of the mean over the timesteps, not of their sum",
            _mean_over_levels,
            "the weight 1 / (T p_t) of lesson 05 and of vqlearn/diffusion/level_sampling.py",
        ),
        Mistake("not_squared", "the history was given losses, not their squares", _not_squared),
        Mistake(
            "unseen_decay",
            "the history of timesteps that are not in the batch was changed too",
            _unseen_decay,
        ),
        Mistake(
            "last_wins",
            "of several losses at one timestep only the last one reached the history",
            _last_wins,
            "the official code, which writes the history by scatter_",
        ),
        Mistake(
            "one_after_the_other",
            "several losses at one timestep entered the history one after the other",
            _one_after_the_other,
        ),
    ),
    properties=(
        Property("timesteps that are not in the batch keep their history", _unseen_stay),
        Property(
            "the estimate lies between the least and the largest weighted loss", _between_weighted
        ),
    ),
)

EXERCISES: tuple[Exercise, ...] = (MASKED_ELBO_TERM, IMPORTANCE_ESTIMATE, AUXILIARY_SHARE)

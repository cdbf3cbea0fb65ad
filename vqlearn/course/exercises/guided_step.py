"""An exercise of lesson 12: what guidance of the reverse step does to the share of MASK.

Source: Tang et al. 2022, section 3.1, who print guidance for the step; their code guides x_0.
"""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from vqlearn.course.exercise import Arguments, Exercise, Mistake, Property

Shares = tuple[float, ...]
Results = Sequence[np.ndarray]


def masked_under_guidance(conditional: Tensor, null: Tensor, gamma_bar: Shares, s: float) -> Tensor:
    """The share of MASK after each step, guided on x_0 and guided on the step, (N, 2).

    Masks alone; p(x_0) with and without the prompt (K,), the same in every step; `s` is 0 without
    guidance. Guided on the step, all codes together get a factor, and MASK none.
    """
    total, stays = _total(conditional, null, 1 + s), _stays(gamma_bar)
    return _cumulative(stays, [_guided(stay, total) for stay in stays])


def _total(conditional: Tensor, null: Tensor, w: float) -> float:
    """By which factor guidance multiplies the codes together, before anything is normalised."""
    return float((conditional**w * null ** (1 - w)).sum())


def _stays(gamma_bar: Shares) -> list[float]:
    return [after / before for before, after in pairwise(gamma_bar)]


def _guided(stay: float, total: float) -> float:
    return stay / (stay + (1 - stay) * total)


def _cumulative(on_x_0: list[float], on_step: list[float]) -> Tensor:
    return torch.tensor([on_x_0, on_step], dtype=torch.float64).cumprod(dim=1).T


def _exchanged(conditional: Tensor, null: Tensor, gamma_bar: Shares, s: float) -> Tensor:
    return masked_under_guidance(conditional, null, gamma_bar, s).flip(1)


def _other_scale(conditional: Tensor, null: Tensor, gamma_bar: Shares, s: float) -> Tensor:
    return masked_under_guidance(conditional, null, gamma_bar, s - 1)


def _null_favoured(conditional: Tensor, null: Tensor, gamma_bar: Shares, s: float) -> Tensor:
    return masked_under_guidance(null, conditional, gamma_bar, s)


def _mask_not_divided(conditional: Tensor, null: Tensor, gamma_bar: Shares, s: float) -> Tensor:
    return _cumulative(_stays(gamma_bar), _stays(gamma_bar))


def _one_long_step(conditional: Tensor, null: Tensor, gamma_bar: Shares, s: float) -> Tensor:
    total = _total(conditional, null, 1 + s)
    rows = [[stay, _guided(stay, total)] for stay in gamma_bar[1:]]
    return torch.tensor(rows, dtype=torch.float64)


def _each_step_alone(conditional: Tensor, null: Tensor, gamma_bar: Shares, s: float) -> Tensor:
    total = _total(conditional, null, 1 + s)
    rows = [[stay, _guided(stay, total)] for stay in _stays(gamma_bar)]
    return torch.tensor(rows, dtype=torch.float64)


def _predictions(generator: torch.Generator) -> list[Arguments]:
    """Several steps to 0, or not so far; the last call is without guidance."""
    calls = []
    for num_codes, num_steps, s, ends_at in ((3, 4, 2.0, 0.0), (5, 3, 0.5, 0.2), (4, 6, 4.0, 0.0)):
        scores = torch.randn(2, num_codes, generator=generator, dtype=torch.float64)
        spread = torch.linspace(-0.7, 0.7, num_codes, dtype=torch.float64)
        scores = 0.3 * scores + torch.stack([spread, -spread])  # the prompt changes something
        strides = 0.5 + torch.rand(num_steps, generator=generator, dtype=torch.float64)
        gone = (1 - ends_at) * strides.cumsum(dim=0) / strides.sum()
        gamma_bar = (1.0, *(1 - gone[:-1]).tolist(), ends_at)
        calls.append((*scores.softmax(dim=-1), gamma_bar, s))
    return [*calls, (*calls[0][:3], 0.0)]


def _first_is_schedule(arguments: Arguments, results: Results) -> bool:
    return bool(np.allclose(results[0][:, 0], arguments[2][1:], atol=1e-5))


def _never_rises(_: Arguments, results: Results) -> bool:
    shares = np.concatenate([np.ones((1, 2)), results[0], np.zeros((1, 2))])
    return bool((np.diff(shares, axis=0) < 1e-6).all())


def _unmasks_too_early(_: Arguments, results: Results) -> bool:
    return bool((results[0][:, 1] < results[0][:, 0] + 1e-6).all())


MASKED_UNDER_GUIDANCE = Exercise(
    id="masked_under_guidance",
    lesson=12,
    points=3,
    reference=masked_under_guidance,
    probes=_predictions,
    mistakes=(
        Mistake("exchanged", "guidance of x_0 and of the step changed places", _exchanged),
        Mistake(
            "other_scale",
            "the exponent of the prediction with the prompt were s and not s + 1",
            _other_scale,
            "the scales of Tang et al. and of diffusers differ by 1",
        ),
        Mistake("null_favoured", "the null and the prompt changed places", _null_favoured),
        Mistake(
            "mask_not_divided",
            "the guided step was normalised over the codes alone, or not at all",
            _mask_not_divided,
        ),
        Mistake(
            "one_long_step",
            "each share was reached in one long step from all MASK",
            _one_long_step,
        ),
        Mistake(
            "each_step_alone",
            "a step begins with all tokens masked, whatever was unmasked before",
            _each_step_alone,
        ),
    ),
    properties=(
        Property("guided on x_0, the share of MASK is gamma_bar", _first_is_schedule),
        Property("the share of MASK lies between 0 and 1 and never rises", _never_rises),
        Property("guidance of the step unmasks no later than that of x_0", _unmasks_too_early),
    ),
)

r"""An exercise of lesson 05: how much of the training loss is the auxiliary loss, for masks only.

A token is masked at timestep t with probability $\bar\gamma_t$; then its KL is
$(\bar\gamma_t - \bar\gamma_{t-1})/\bar\gamma_t$ times its cross-entropy. With t uniform, the factor
T of both parts and the 1/T of the mean cancel.
"""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from vqlearn.course.exercise import Arguments, Exercise, Mistake, Property


def auxiliary_share(gamma_bar: Tensor, nll: Tensor, weight: float) -> float:
    """The auxiliary part of the expected training loss of a token, over all timesteps.

    Masked shares `gamma_bar` (T + 1,), from 0 on; `nll` (T,): nats of a masked token at t = 1..T.
    The factor 2 - (t - 1)/T is that of the official code, whose t begins at 0.
    """
    bound = gamma_bar.diff() * nll
    auxiliary = weight * _factor(len(nll)) * gamma_bar[1:] * nll
    return float(auxiliary.sum() / (auxiliary + bound).sum())


def _factor(levels: int, first: int = 0) -> Tensor:
    """2 - (t - 1)/T for t = 1..T, if the first one counts as 0."""
    return 2 - torch.arange(first, first + levels, dtype=torch.float64) / levels


def _masked_tokens_only(gamma_bar: Tensor, nll: Tensor, weight: float) -> float:
    return auxiliary_share(gamma_bar, nll / gamma_bar[1:], weight)


def _visible_tokens_pay(gamma_bar: Tensor, nll: Tensor, weight: float) -> float:
    bound, auxiliary = gamma_bar.diff() * nll, weight * _factor(len(nll)) * nll
    return float(auxiliary.sum() / (auxiliary + bound).sum())


def _no_factor_t(gamma_bar: Tensor, nll: Tensor, weight: float) -> float:
    return auxiliary_share(gamma_bar, nll, weight / len(nll))


def _factor_from_zero(gamma_bar: Tensor, nll: Tensor, weight: float) -> float:
    bound = gamma_bar.diff() * nll
    auxiliary = weight * _factor(len(nll), first=1) * gamma_bar[1:] * nll
    return float(auxiliary.sum() / (auxiliary + bound).sum())


def _to_the_rest(*arguments: Any) -> float:
    share = auxiliary_share(*arguments)
    return share / (1 - share)


def _shares(gamma_bar: Tensor, nll: Tensor, weight: float) -> Tensor:
    """The auxiliary part at every timestep, (T,), whatever the loss there is."""
    auxiliary = weight * _factor(len(nll)) * gamma_bar[1:]
    return auxiliary / (auxiliary + gamma_bar.diff())


def _mean_of_shares(*arguments: Any) -> float:
    return float(_shares(*arguments).mean())


def _probes(generator: torch.Generator) -> list[Arguments]:
    def probe(levels: int, weight: float) -> Arguments:
        """Shares that rise unevenly to 1, and losses that mostly rise with them."""
        strides, noise = torch.rand(2, levels, generator=generator, dtype=torch.float64)
        total = torch.cat([torch.zeros(1, dtype=torch.float64), (0.2 + strides).cumsum(dim=0)])
        gamma_bar = (total / total[-1]) ** 2
        return gamma_bar, 0.1 + 0.5 * noise + 5 * gamma_bar[1:], weight

    return [probe(5, 0.05), probe(8, 0.3), probe(4, 1.0), probe(6, 5e-4)]


def _is_share(arguments: Arguments, results: list[np.ndarray]) -> bool:
    return bool(((results[0] >= 0) & (results[0] <= 1)).all())


def _between_shares(arguments: Arguments, results: list[np.ndarray]) -> bool:
    shares = _shares(*arguments).numpy()
    return bool(((results[0] > shares.min() - 1e-6) & (results[0] < shares.max() + 1e-6)).all())


AUXILIARY_SHARE = Exercise(
    id="auxiliary_share",
    lesson=5,
    points=3,
    reference=auxiliary_share,
    probes=_probes,
    mistakes=(
        Mistake(
            "masked_tokens_only",
            "it is the share of a masked token, as if as many were masked at every timestep",
            _masked_tokens_only,
        ),
        Mistake(
            "visible_tokens_pay",
            "visible tokens were given the auxiliary loss of masked ones",
            _visible_tokens_pay,
        ),
        Mistake("no_factor_t", "the auxiliary loss lost its factor T", _no_factor_t, "lesson 05"),
        Mistake(
            "factor_from_zero",
            "the adaptive factor is 2 - t/T for a t that begins at 1",
            _factor_from_zero,
            "the official code, whose t begins at 0, read with a t that begins at 1",
        ),
        Mistake(
            "to_the_rest",
            "the auxiliary loss was divided by the bound and not by the whole loss",
            _to_the_rest,
        ),
        Mistake(
            "mean_of_shares",
            "the shares of the timesteps were averaged, whatever the loss at each is",
            _mean_of_shares,
        ),
    ),
    properties=(
        Property("the result lies between 0 and 1", _is_share),
        Property(
            "the result lies between the least and the largest share of one timestep",
            _between_shares,
        ),
    ),
)

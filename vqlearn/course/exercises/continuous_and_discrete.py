"""Exercises of lesson 08: a DDIM step from a predicted v, and the ELBO from any target's errors."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vqlearn.course.exercise import Arguments, Exercise, Mistake, Property

Results = Sequence[np.ndarray]
Pair = tuple[float, float]  # alpha_bar at timestep s, and at timestep t


def ddim_step_from_v(x_t: Tensor, v: Tensor, noise: Tensor, alpha_bar: Pair, eta: float) -> Tensor:
    """x_s from x_t and the predicted v, of the same shape; eta is 0 for DDIM, 1 for the posterior.

    Sources: Song et al. 2021, eq. 12 (their alpha is our alpha_bar); v of Salimans & Ho
    2022, which stays finite at alpha_bar_t = 0.
    """
    x_0, epsilon = _predicted(x_t, v, alpha_bar[1])
    return _step(x_0, epsilon, noise, alpha_bar[0], eta**2 * _variance(alpha_bar))


def _predicted(x_t: Tensor, v: Tensor, share: float) -> tuple[Tensor, Tensor]:
    """x_0 and epsilon: a rotation takes them to x_t and v, and this one takes those back."""
    keep, add = share**0.5, (1 - share) ** 0.5
    return keep * x_t - add * v, add * x_t + keep * v


def _variance(alpha_bar: Pair) -> float:
    """That of the posterior q(x_s | x_t, x_0)."""
    share_s, share_t = alpha_bar
    return (1 - share_s) / (1 - share_t) * (1 - share_t / share_s)


def _step(x_0: Tensor, epsilon: Tensor, noise: Tensor, share_s: float, variance: float) -> Tensor:
    old = (1 - share_s - variance) ** 0.5 * epsilon
    return share_s**0.5 * x_0 + old + variance**0.5 * noise


def _sign_of_v(x_t: Tensor, v: Tensor, *others: Any) -> Tensor:
    return ddim_step_from_v(x_t, -v, *others)


def _v_as_epsilon(x_t: Tensor, v: Tensor, noise: Tensor, alpha_bar: Pair, eta: float) -> Tensor:
    x_0 = _x_0_from_epsilon(x_t, v, alpha_bar[1])
    return _step(x_0, v, noise, alpha_bar[0], eta**2 * _variance(alpha_bar))


def _x_0_from_epsilon(x_t: Tensor, epsilon: Tensor, share: float) -> Tensor:
    return (x_t - (1 - share) ** 0.5 * epsilon) / share**0.5


def _through_epsilon(x_t: Tensor, v: Tensor, noise: Tensor, alpha_bar: Pair, eta: float) -> Tensor:
    _, epsilon = _predicted(x_t, v, alpha_bar[1])
    x_0 = _x_0_from_epsilon(x_t, epsilon, alpha_bar[1])
    return _step(x_0, epsilon, noise, alpha_bar[0], eta**2 * _variance(alpha_bar))


def _noise_on_top(x_t: Tensor, v: Tensor, noise: Tensor, alpha_bar: Pair, eta: float) -> Tensor:
    without = ddim_step_from_v(x_t, v, noise, alpha_bar, 0.0)
    return without + eta * _variance(alpha_bar) ** 0.5 * noise


def _eta_not_squared(x_t: Tensor, v: Tensor, noise: Tensor, alpha_bar: Pair, eta: float) -> Tensor:
    return ddim_step_from_v(x_t, v, noise, alpha_bar, eta**0.5)


def _root_missing(x_t: Tensor, v: Tensor, noise: Tensor, alpha_bar: Pair, eta: float) -> Tensor:
    x_0, epsilon = _predicted(x_t, v, alpha_bar[1])
    shrunk = alpha_bar[0] ** 0.5 * x_0
    return _step(shrunk, epsilon, noise, alpha_bar[0], eta**2 * _variance(alpha_bar))


def bound_from_errors(errors: Tensor, alpha_bar: Tensor, target: str) -> Tensor:
    """The terms of t = 2..T of the negative ELBO in nats, from a network's squared errors.

    `errors` and `alpha_bar` (T + 1,), by timestep; `target` is "x_0", "epsilon", "v" or "score".
    Source: Kingma et al. 2021, whose loss of T timesteps has the same differences of the SNR.
    """
    of_x_0 = errors / _per_error_of_x_0(_snr(alpha_bar), alpha_bar, target)
    return _terms(of_x_0[2:], _snr(alpha_bar)).sum()


def _snr(alpha_bar: Tensor) -> Tensor:
    return alpha_bar / (1 - alpha_bar)  # infinite at timestep 0, which no term needs


def _per_error_of_x_0(snr: Tensor, alpha_bar: Tensor, target: str) -> Tensor:
    """The squared error of the target if that of x_0 is 1, at every timestep."""
    of_targets = {
        "x_0": torch.ones_like(snr),
        "epsilon": snr,
        "v": snr + 1,
        "score": snr / (1 - alpha_bar),
    }
    return of_targets[target]


def _terms(of_x_0: Tensor, snr: Tensor) -> Tensor:
    return (snr[1:-1] - snr[2:]) / 2 * of_x_0


def _ratio_reversed(errors: Tensor, alpha_bar: Tensor, target: str) -> Tensor:
    snr = _snr(alpha_bar)
    return _terms((errors * _per_error_of_x_0(snr, alpha_bar, target))[2:], snr).sum()


def _not_squared(errors: Tensor, alpha_bar: Tensor, target: str) -> Tensor:
    snr = _snr(alpha_bar)
    return _terms((errors / _per_error_of_x_0(snr, alpha_bar, target).sqrt())[2:], snr).sum()


def _as_x_0(errors: Tensor, alpha_bar: Tensor, target: str) -> Tensor:
    return bound_from_errors(errors, alpha_bar, "x_0")


def _error_at_s(errors: Tensor, alpha_bar: Tensor, target: str) -> Tensor:
    snr = _snr(alpha_bar)
    return _terms((errors / _per_error_of_x_0(snr, alpha_bar, target))[1:-1], snr).sum()


def _half_missing(*arguments: Any) -> Tensor:
    return 2 * bound_from_errors(*arguments)


def _snr_of_roots(errors: Tensor, alpha_bar: Tensor, target: str) -> Tensor:
    snr = _snr(alpha_bar).sqrt()
    return _terms((errors / _per_error_of_x_0(snr, alpha_bar, target))[2:], snr).sum()


def _step_probes(generator: torch.Generator) -> list[Arguments]:
    """A stride; the posterior's variance; the step to timestep 0; from pure noise; and DDIM."""

    def probe(shape: tuple[int, ...], alpha_bar: Pair, eta: float) -> Arguments:
        x_t, v, noise = torch.randn(3, *shape, generator=generator, dtype=torch.float64)
        return x_t, v, noise, alpha_bar, eta

    a, b, c, d = torch.rand(4, generator=generator, dtype=torch.float64).tolist()
    return [
        probe((3, 4), (0.6 + 0.2 * a, 0.2 + 0.2 * b), 0.3 + 0.3 * c),
        probe((2, 1, 3, 3), (0.5 + 0.2 * b, 0.1 + 0.2 * c), 1.0),
        probe((5,), (1.0, 0.4 + 0.3 * d), 0.7),
        probe((2, 3), (0.1 + 0.3 * c, 0.0), 0.4 + 0.2 * a),
        probe((4,), (0.9 - 0.2 * d, 0.3 + 0.2 * a), 0.0),
    ]


def _bound_probes(generator: torch.Generator) -> list[Arguments]:
    """Each target once, and once the same error of x_0 at every timestep."""

    def probe(last: int, target: str, *, equal: bool = False) -> Arguments:
        strides = 0.5 + torch.rand(last + 1, generator=generator, dtype=torch.float64)
        alpha_bar = 1 - torch.cat([strides.new_zeros(1), strides[:-1].cumsum(0)]) / strides.sum()
        errors = 0.1 + torch.rand(last + 1, generator=generator, dtype=torch.float64)
        errors = errors[:1].expand(last + 1).clone() if equal else errors
        errors[0] = 0
        return errors, alpha_bar, target

    calls = [probe(5, "epsilon"), probe(6, "v"), probe(4, "score"), probe(2, "x_0")]
    return [*calls, probe(7, "x_0", equal=True)]


def _is_finite(_: Arguments, results: Results) -> bool:
    return bool(np.isfinite(results[0]).all())


def _ends_at_x_0(arguments: Arguments, results: Results) -> bool:
    x_t, v, _, alpha_bar, _ = arguments
    x_0, _ = _predicted(x_t, v, alpha_bar[1])
    return alpha_bar[0] < 1 or bool(np.allclose(results[0], x_0.numpy(), atol=1e-5))


def _keeps_epsilon(arguments: Arguments, results: Results) -> bool:
    x_t, v, _, (share_s, share_t), eta = arguments
    x_0, epsilon = _predicted(x_t, v, share_t)
    old = share_s**0.5 * x_0 + (1 - share_s) ** 0.5 * epsilon
    return eta > 0 or bool(np.allclose(results[0], old.numpy(), atol=1e-5))


def _is_not_negative(_: Arguments, results: Results) -> bool:
    return bool((results[0] >= 0).all())


def _only_ends_count(arguments: Arguments, results: Results) -> bool:
    errors, alpha_bar, target = arguments
    if target != "x_0" or not torch.equal(errors[1:], errors[1:2].expand(len(errors) - 1)):
        return True
    snr = _snr(alpha_bar)
    return bool(np.allclose(results[0], float(errors[1] * (snr[1] - snr[-1]) / 2), rtol=1e-4))


EXERCISES: tuple[Exercise, ...] = (
    Exercise(
        "ddim_step_from_v",
        lesson=8,
        points=4,
        reference=ddim_step_from_v,
        probes=_step_probes,
        mistakes=(
            Mistake("sign_of_v", "v has the wrong sign", _sign_of_v),
            Mistake("v_as_epsilon", "v was taken for the noise epsilon", _v_as_epsilon),
            Mistake(
                "through_epsilon",
                "x_0 was computed from epsilon, which divides by 0 if nothing of the image is kept",
                _through_epsilon,
            ),
            Mistake(
                "noise_on_top",
                "the new noise came on top of the old, whose share was not reduced for it",
                _noise_on_top,
            ),
            Mistake(
                "eta_not_squared",
                "eta scales the variance of the new noise and not its standard deviation",
                _eta_not_squared,
            ),
            Mistake(
                "root_missing",
                "x_0 was multiplied by the share kept and not by its root",
                _root_missing,
            ),
        ),
        properties=(
            Property("every number is finite", _is_finite),
            Property("the step to timestep 0 returns the predicted x_0", _ends_at_x_0),
            Property("with eta = 0 only the predicted noise remains", _keeps_epsilon),
        ),
    ),
    Exercise(
        "bound_from_errors",
        lesson=8,
        points=3,
        reference=bound_from_errors,
        probes=_bound_probes,
        mistakes=(
            Mistake(
                "ratio_reversed",
                "the ratio of two squared errors was turned round",
                _ratio_reversed,
            ),
            Mistake(
                "not_squared",
                "the factor of an error was used for a squared error",
                _not_squared,
            ),
            Mistake("as_x_0", "every error was taken as one of x_0", _as_x_0),
            Mistake(
                "error_at_s",
                "a term from t to s has the error of timestep s and not that of t",
                _error_at_s,
            ),
            Mistake("half_missing", "the factor 1/2 of a term is missing", _half_missing),
            Mistake(
                "snr_of_roots",
                "the signal-to-noise ratio was made of standard deviations, not of variances",
                _snr_of_roots,
            ),
        ),
        properties=(
            Property("the sum is a finite number", _is_finite),
            Property("the sum is 0 or more", _is_not_negative),
            Property(
                "with the same error of x_0 at every timestep only the schedule's ends count",
                _only_ends_count,
            ),
        ),
    ),
)

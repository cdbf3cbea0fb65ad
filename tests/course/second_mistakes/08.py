"""Lesson 08: mistakes written a second time, from their descriptions alone."""

import math

import numpy as np
import torch


def _sigma(alpha_bar, eta):
    s, t = alpha_bar
    return eta * math.sqrt((1 - s) / (1 - t) * (1 - t / s))


def _assembled(x_0, eps, noise, alpha_bar, eta):
    """The last formula, right."""
    sigma = _sigma(alpha_bar, eta)
    left = max(0.0, 1 - alpha_bar[0] - sigma**2)
    return math.sqrt(alpha_bar[0]) * x_0 + math.sqrt(left) * eps + sigma * noise


def ddim_step_from_v__sign_of_v(x_t, v, noise, alpha_bar, eta):
    angle = math.acos(math.sqrt(alpha_bar[1]))
    x_0 = math.cos(angle) * x_t + math.sin(angle) * v
    eps = math.sin(angle) * x_t - math.cos(angle) * v
    return _assembled(x_0, eps, noise, alpha_bar, eta)


def ddim_step_from_v__v_as_epsilon(x_t, v, noise, alpha_bar, eta):
    _, a_t = alpha_bar
    x_0 = (x_t - (1 - a_t) ** 0.5 * v) / a_t**0.5
    return _assembled(x_0, v, noise, alpha_bar, eta)


def ddim_step_from_v__through_epsilon(x_t, v, noise, alpha_bar, eta):
    a_s, a_t = torch.tensor(alpha_bar, dtype=x_t.dtype)
    eps = (1 - a_t).sqrt() * x_t + a_t.sqrt() * v
    x_0 = (x_t - (1 - a_t).sqrt() * eps) / a_t.sqrt()
    sigma = eta * ((1 - a_s) / (1 - a_t)).sqrt() * (1 - a_t / a_s).sqrt()
    return a_s.sqrt() * x_0 + (1 - a_s - sigma**2).clamp(min=0).sqrt() * eps + sigma * noise


def ddim_step_from_v__noise_on_top(x_t, v, noise, alpha_bar, eta):
    a_s, a_t = alpha_bar
    x_0 = np.sqrt(a_t) * x_t - np.sqrt(1 - a_t) * v
    eps = np.sqrt(1 - a_t) * x_t + np.sqrt(a_t) * v
    return np.sqrt(a_s) * x_0 + np.sqrt(1 - a_s) * eps + _sigma(alpha_bar, eta) * noise


def ddim_step_from_v__eta_not_squared(x_t, v, noise, alpha_bar, eta):
    a_s, a_t = alpha_bar
    x_0 = a_t**0.5 * x_t - (1 - a_t) ** 0.5 * v
    eps = (1 - a_t) ** 0.5 * x_t + a_t**0.5 * v
    variance = eta * (1 - a_s) / (1 - a_t) * (1 - a_t / a_s)
    result = a_s**0.5 * x_0
    result += max(1 - a_s - variance, 0.0) ** 0.5 * eps
    result += variance**0.5 * noise
    return result


def ddim_step_from_v__root_missing(x_t, v, noise, alpha_bar, eta):
    a_s, a_t = alpha_bar
    cos, sin = math.sqrt(a_t), math.sqrt(1 - a_t)
    turned = torch.tensor([[cos, -sin], [sin, cos]], dtype=x_t.dtype)
    x_0, eps = torch.einsum("ij,j...->i...", turned, torch.stack([x_t, v]))
    sigma = _sigma(alpha_bar, eta)
    return a_s * x_0 + math.sqrt(max(1 - a_s - sigma**2, 0)) * eps + sigma * noise


def _snr(a):
    return a / (1 - a)


def _ratio(a, target):
    """The squared error of a target over that of x_0."""
    if target == "x_0":
        return 1.0
    if target == "epsilon":
        return _snr(a)
    if target == "v":
        return 1 / (1 - a)
    return a / (1 - a) ** 2


def bound_from_errors__ratio_reversed(errors, alpha_bar, target):
    total = 0.0
    for t in range(2, len(errors)):
        s_a, t_a = alpha_bar[t - 1], alpha_bar[t]
        total = total + (_snr(s_a) - _snr(t_a)) / 2 * errors[t] * _ratio(t_a, target)
    return total


def bound_from_errors__not_squared(errors, alpha_bar, target):
    a = alpha_bar[1:].numpy()
    roots = {
        "x_0": np.ones_like(a),
        "epsilon": np.sqrt(1 - a) / np.sqrt(a),
        "v": np.sqrt(1 - a),
        "score": (1 - a) / np.sqrt(a),
    }
    x_0_errors = errors[1:].numpy() * roots[target]
    drops = -np.diff(a / (1 - a))
    return float(0.5 * drops @ x_0_errors[1:])


def bound_from_errors__as_x_0(errors, alpha_bar, target):
    snr = _snr(alpha_bar[1:])
    return torch.dot(snr[:-1] - snr[1:], errors[2:]) / 2


def bound_from_errors__error_at_s(errors, alpha_bar, target):
    a = alpha_bar.tolist()
    total = 0.0
    for t in range(2, len(a)):
        s = t - 1
        total += 0.5 * (_snr(a[s]) - _snr(a[t])) * errors[s].item() / _ratio(a[s], target)
    return total


def bound_from_errors__half_missing(errors, alpha_bar, target):
    a = alpha_bar[1:]
    factor = {"x_0": a * 0 + 1, "epsilon": (1 - a) / a, "v": 1 - a, "score": (1 - a) ** 2 / a}
    x_0_errors = (errors[1:] * factor[target])[1:]
    snr = _snr(a)
    return ((snr[:-1] - snr[1:]) * x_0_errors).sum()


def bound_from_errors__snr_of_roots(errors, alpha_bar, target):
    clean, noisy = alpha_bar.sqrt(), (1 - alpha_bar).sqrt()
    total = torch.zeros((), dtype=errors.dtype)
    for t in range(2, len(errors)):
        here, before = clean[t] / noisy[t], clean[t - 1] / noisy[t - 1]
        ratio = {
            "x_0": torch.ones(()),
            "epsilon": here,
            "v": here + 1,
            "score": here / (1 - alpha_bar[t]),
        }[target]
        total += 0.5 * (before - here) * errors[t] / ratio
    return total

"""Lesson 08: other right solutions, as students could hand them in."""

import math

import numpy as np
import torch


def ddim_step_from_v__complex_rotation(x_t, v, noise, alpha_bar, eta):
    """x_t + i v is x_0 + i epsilon, turned by an angle."""
    a_s, a_t = alpha_bar
    turned = torch.complex(x_t, v) * complex(math.sqrt(a_t), math.sqrt(1 - a_t))
    variance = eta**2 * (1 - a_s) * (a_s - a_t) / (a_s * (1 - a_t))
    back = complex(math.sqrt(a_s), -math.sqrt(max(1 - a_s - variance, 0)))
    return (turned * back).real + math.sqrt(variance) * noise


def ddim_step_from_v__float32_in_place(x_t, v, noise, alpha_bar, eta):
    a_s, a_t = torch.tensor(alpha_bar)
    x_0 = a_t.sqrt() * x_t.float() - (1 - a_t).sqrt() * v.float()
    eps = v.float().mul_(a_t.sqrt()).add_((1 - a_t).sqrt() * x_t.float())
    sigma = eta * torch.sqrt((1 - a_s) / (1 - a_t) * (1 - a_t / a_s))
    x_0.mul_(a_s.sqrt()).add_(torch.relu(1 - a_s - sigma**2).sqrt() * eps)
    return x_0.add_(sigma * noise.float())


def ddim_step_from_v__equations_solved(x_t, v, noise, alpha_bar, eta):
    a_s, a_t = alpha_bar
    system = np.array([[np.sqrt(a_t), np.sqrt(1 - a_t)], [-np.sqrt(1 - a_t), np.sqrt(a_t)]])
    known = np.stack([x_t.numpy().ravel(), v.numpy().ravel()])
    x_0, eps = np.linalg.solve(system, known)
    sigma = eta * np.sqrt((1 - a_s) / (1 - a_t)) * np.sqrt(1 - a_t / a_s)
    left = np.sqrt(np.clip(1 - a_s - sigma**2, 0, None))
    flat = np.sqrt(a_s) * x_0 + left * eps + sigma * noise.numpy().ravel()
    return flat.reshape(tuple(x_t.shape))


def bound_from_errors__loops(errors, alpha_bar, target):
    a, total = alpha_bar.tolist(), 0.0
    for t in range(2, len(a)):
        error = errors[t].item()
        if target == "epsilon":
            error *= (1 - a[t]) / a[t]
        elif target == "v":
            error *= 1 - a[t]
        elif target == "score":
            error *= (1 - a[t]) ** 2 / a[t]
        total += 0.5 * (a[t - 1] / (1 - a[t - 1]) - a[t] / (1 - a[t])) * error
    return total


def bound_from_errors__slopes_by_autograd(errors, alpha_bar, target):
    """x_0 as a function of the target, its slope squared."""
    a = alpha_bar[1:].detach()
    value = torch.zeros_like(a, requires_grad=True)
    x_t = torch.ones_like(a)
    with torch.enable_grad():
        x_0 = {
            "x_0": value,
            "epsilon": (x_t - (1 - a).sqrt() * value) / a.sqrt(),
            "v": a.sqrt() * x_t - (1 - a).sqrt() * value,
            "score": (x_t + (1 - a) * value) / a.sqrt(),
        }[target]
        (slope,) = torch.autograd.grad(x_0.sum(), value)
    snr = 1 / (1 - a) - 1
    return -0.5 * torch.einsum("t,t,t->", snr.diff(), slope[1:] ** 2, errors[2:])


def bound_from_errors__numpy_over_all(errors, alpha_bar, target):
    """With the infinite ratio at timestep 0, which is cut away at the end."""
    a, e = alpha_bar.numpy(), errors.numpy()
    with np.errstate(divide="ignore", invalid="ignore"):
        snr = a / (1 - a)
        ratio = {"x_0": 1 + 0 * a, "epsilon": snr, "v": 1 / (1 - a), "score": snr / (1 - a)}
        terms = (snr[:-1] - snr[1:]) / 2 * (e / ratio[target])[1:]
    return terms[1:].sum()

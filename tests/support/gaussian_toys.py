"""Pixels whose distribution is known: a rough schedule, and normal data with its true denoiser."""

import math

import numpy as np
import torch

ROUGH = torch.tensor([1, 0.8, 0.5, 0.3, 0.1, 0.02], dtype=torch.float64)
T = len(ROUGH) - 1
STRIDES = [(s, t) for t in range(1, T + 1) for s in range(t)]
GRID = np.linspace(-9, 9, 361)  # for smooth distributions the sum over it is the integral
SPACING = GRID[1] - GRID[0]
VARIANCES = ("small", "large")
TARGETS = ("epsilon", "x_0")
MEAN, DEVIATION = 0.4, 0.5


def numbers(*values):
    """A batch of images of one number."""
    return torch.tensor(values, dtype=torch.float64)[:, None]


def random_images(count, shape=(2, 3), seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, *shape, generator=generator, dtype=dtype)


def density(x, mean, variance):
    return np.exp(-((x - mean) ** 2) / (2 * variance)) / math.sqrt(2 * math.pi * variance)


def true_x_0(process, mean=MEAN, deviation=DEVIATION):
    r"""$E[x_0|x_t]$ by the regression of one normal number on another."""

    def predict(x_t, t):
        alpha_bar = process.alpha_bar[t].reshape(-1, 1)
        slope = alpha_bar.sqrt() * deviation**2 / (alpha_bar * deviation**2 + 1 - alpha_bar)
        return mean + slope * (x_t - alpha_bar.sqrt() * mean)

    return predict


def true_epsilon(process, mean=MEAN, deviation=DEVIATION):
    r"""$E[\epsilon|x_t]$, from the slope of $\log q(x_t)$."""

    def predict(x_t, t):
        alpha_bar = process.alpha_bar[t].reshape(-1, 1)
        variance = alpha_bar * deviation**2 + 1 - alpha_bar
        return (1 - alpha_bar).sqrt() * (x_t - alpha_bar.sqrt() * mean) / variance

    return predict


TRUE = {"epsilon": true_epsilon, "x_0": true_x_0}


def from_greys(greys):
    """The grey values 0..255 as the 256 numbers from -1 to 1."""
    return greys.float() * 2 / 255 - 1

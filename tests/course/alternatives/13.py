"""Lesson 13: right solutions written in other ways."""

import numpy as np
import torch
from torch import nn


def denoiser_weights__modules(layers, width, text_width, num_codes, side, num_timesteps):
    """The network itself, on a device that stores nothing; its parameters are counted."""
    with torch.device("meta"):
        ends = nn.ModuleList(
            [
                nn.Embedding(num_codes + 1, width),
                nn.Embedding(side, width),
                nn.Embedding(side, width),
                nn.LayerNorm(width),
                nn.Linear(width, num_codes),
            ]
        )
        block = nn.ModuleList(
            [
                nn.Embedding(num_timesteps, width),
                nn.Linear(width, 2 * width),
                nn.MultiheadAttention(width, 1),
                nn.Embedding(num_timesteps, width),
                nn.Linear(width, 2 * width),
                *(nn.Linear(width, width) for _ in "qo"),
                *(nn.Linear(text_width, width) for _ in "kv"),
                nn.LayerNorm(width),
                nn.Linear(width, 4 * width),
                nn.Linear(4 * width, width),
            ]
        )
    once, each = (sum(p.numel() for p in part.parameters()) for part in (ends, block))
    return once + layers * each


def denoiser_weights__shapes(layers, width, text_width, num_codes, side, num_timesteps):
    shapes = [(num_codes + 1, width), (side, width), (side, width), (2, width)]
    linear = [(width, num_codes)]
    for _ in range(layers):
        shapes += [(num_timesteps, width)] * 2 + [(2, width)]
        linear += [(width, 2 * width)] * 2 + [(width, width)] * 6 + [(text_width, width)] * 2
        linear += [(width, 4 * width), (4 * width, width)]
    shapes += linear + [(1, out) for _, out in linear]
    return torch.tensor(shapes).prod(1).sum()


def denoiser_weights__polynomial(layers, width, text_width, num_codes, side, num_timesteps):
    block = 18 * width**2 + (2 * text_width + 2 * num_timesteps + 19) * width
    return float(layers * block + (2 * num_codes + 2 * side + 3) * width + num_codes)


def coarse_tokens__thresholds_of_u(p, bits, num_timesteps):
    """g < x holds if u < exp(-exp(-x)); the numbers of the grid below that are counted."""
    size = 2**bits
    u = torch.arange(size, dtype=torch.float64) / size
    g = -torch.log(-torch.log(torch.where(u > 0, u, 1e-30)))
    out, masked = torch.zeros_like(p), 1.0
    for t in range(num_timesteps, 0, -1):
        q = torch.cat([p / t, torch.tensor([(t - 1) / t], dtype=p.dtype)])
        limit = q.log()[:, None, None] + g[:, None] - q.log()  # winner, its noise, other class
        below = torch.exp(-torch.exp(-limit))
        count = (below * size).ceil().clamp(min=1) - 1 + (below > 1e-30)
        share = torch.nan_to_num(count / size)
        own = torch.eye(len(q), dtype=torch.bool)[:, None, :]
        win = torch.where(own, 1.0, share).prod(-1).mean(-1)
        out += masked * win[:-1]
        masked = masked * (win[-1] if t > 1 else 0.0)
    return out


def coarse_tokens__sweep_of_scores(p, bits, num_timesteps):
    """All scores of all classes from the lowest up; each class counts how many of its own lie
    below."""
    size = 2**bits
    u = np.arange(size) / size
    u[0] = 1e-30
    noise = -np.log(-np.log(u))
    result, still = [0.0] * len(p), 1.0
    for t in range(num_timesteps, 0, -1):
        weights = [*(p.numpy() / t), *([(t - 1) / t] if t > 1 else [])]
        scores = (np.log(weights)[:, None] + noise).ravel()
        owner = np.repeat(np.arange(len(weights)), size)
        below, wins = np.zeros(len(weights)), np.zeros(len(weights))
        for k in owner[np.argsort(scores)]:
            wins[k] += np.prod(np.delete(below, k)) / size
            below[k] += 1 / size
        for k in range(len(p)):
            result[k] += still * wins[k]
        still *= wins[-1]
    return result

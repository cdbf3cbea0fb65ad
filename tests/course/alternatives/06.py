"""Lesson 06: right solutions written in other ways, as students could hand them in."""

from bisect import bisect_left
from math import cos, pi

import numpy as np
import torch


def guided_nucleus__pairs_of_codes(conditional, null, w, r):
    guided = torch.softmax((1 + w) * conditional - w * null, dim=1)
    likelier = guided[:, None] > guided[:, :, None]  # (b, k, j, n): is j likelier than k?
    before = torch.einsum("bkjn,bjn->bkn", likelier.to(guided.dtype), guided)
    kept = guided * (before < r)
    return kept / kept.sum(dim=1, keepdim=True)


def guided_nucleus__float32_sorted(conditional, null, w, r):
    conditional, null = conditional.float(), null.float()
    scores = (conditional + w * (conditional - null)).movedim(1, -1)
    values, codes = scores.log_softmax(-1).exp().sort(dim=-1, descending=True)
    values[values.cumsum(-1) - values >= r] = 0
    values /= values.sum(-1, keepdim=True)
    return torch.empty_like(values).scatter_(-1, codes, values).movedim(-1, 1)


def guided_nucleus__numpy(conditional, null, w, r):
    c, u = conditional.numpy(), null.numpy()
    result = np.zeros_like(c)
    for b, n in np.ndindex(c.shape[0], c.shape[2]):
        p = np.exp(c[b, :, n]) ** (1 + w) / np.exp(u[b, :, n]) ** w
        p /= p.sum()
        order = np.argsort(p)[::-1]
        count = np.searchsorted(np.cumsum(p[order]), r) + 1
        kept = order[:count]
        result[b, kept, n] = p[kept] / p[kept].sum()
    return result


def levels_by_share__key(gamma_bar, steps):
    shares = gamma_bar.tolist()
    levels = [len(shares) - 1]
    for i in range(1, steps + 1):
        wanted = shares[-1] * cos(pi / 2 * i / steps)
        level = min(range(len(shares)), key=lambda t, share=wanted: (abs(shares[t] - share), t))
        levels.append(max(steps - i, min(level, levels[-1] - 1)))
    return tuple(levels)


def levels_by_share__bisect(gamma_bar, steps):
    shares = [float(share) for share in gamma_bar]
    result = np.empty(steps + 1, dtype=int)
    result[0] = len(shares) - 1
    for i, fraction in enumerate(np.cos(np.linspace(0, np.pi / 2, steps + 1))[1:], start=1):
        wanted = fraction * shares[-1]
        above = min(bisect_left(shares, wanted), len(shares) - 1)
        if above > 0 and wanted - shares[above - 1] <= shares[above] - wanted:
            above -= 1
        result[i] = max(min(above, result[i - 1] - 1), steps - i)
    return result


def levels_by_share__tensors_in_a_list(gamma_bar, steps):
    T = len(gamma_bar) - 1
    levels = [T]
    for i in range(1, steps + 1):
        angle = torch.tensor(torch.pi / 2 * i / steps, dtype=torch.float64)
        nearest = (gamma_bar - gamma_bar[T] * torch.cos(angle)).abs().argmin()
        levels.append(max(min(nearest, levels[-1] - 1), steps - i))
    return levels


def inpainting_step__searchsorted(x_t, log_p_x0, x_0, known, gamma_bar, uniform):
    s, t = gamma_bar
    K = log_p_x0.shape[-1]
    cumulative = log_p_x0.exp().cumsum(dim=-1)
    code = torch.searchsorted(cumulative, uniform[1][..., None].contiguous(), right=True)[..., 0]
    new = torch.where(uniform[0] * t < s, K, code.clamp(max=K - 1))
    return torch.where(known, x_0, torch.where(x_t == K, new, x_t))


def inpainting_step__in_place(x_t, log_p_x0, x_0, known, gamma_bar, uniform):
    K = log_p_x0.shape[-1]
    revealed = (x_t == K) & (uniform[0] >= gamma_bar[0] / gamma_bar[1]) & ~known
    below = torch.exp(torch.logcumsumexp(log_p_x0, dim=-1)) <= uniform[1].unsqueeze(-1)
    x_t[revealed] = below.sum(-1)[revealed]
    x_t[known] = x_0[known]
    return x_t


def inpainting_step__lists(x_t, log_p_x0, x_0, known, gamma_bar, uniform):
    stay = gamma_bar[0] / gamma_bar[1]
    K = log_p_x0.shape[-1]
    rows = x_t.tolist()
    for b, row in enumerate(rows):
        for i, token in enumerate(row):
            if known[b, i]:
                row[i] = int(x_0[b, i])
            elif token == K and uniform[0, b, i] >= stay:
                sums = np.cumsum(np.exp(log_p_x0[b, i].numpy()))
                row[i] = int(np.argmax(sums > float(uniform[1, b, i])))
    return rows

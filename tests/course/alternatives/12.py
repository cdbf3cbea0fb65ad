"""Lesson 12: right solutions written in other ways."""

import itertools
import math

import numpy as np
import torch
from torch.distributions import Binomial


def purity_step__gumbel_top_k(log_p_x0, masked, k, r, uniform):
    """The shortest time -log(u) / purity is the largest log purity - log(-log u)."""
    log_purity = log_p_x0.amax(-1)
    score = log_purity - torch.log(-torch.log(uniform))
    score = score.masked_fill(~masked, -torch.inf)
    rank = score.argsort(descending=True).argsort()
    chosen = masked & (rank < k)
    power = 1 + r * log_purity.exp()
    return torch.softmax(power[:, None] * log_p_x0, -1) * chosen[:, None]


def purity_step__numpy_loop(log_p_x0, masked, k, r, uniform):
    p, out = np.exp(log_p_x0.numpy()), np.zeros(tuple(log_p_x0.shape))
    race = [
        (-math.log(u) / p[i].max(), i)
        for i, (hidden, u) in enumerate(zip(masked.tolist(), uniform.tolist(), strict=True))
        if hidden
    ]
    for _, i in sorted(race)[:k]:
        sharp = p[i] ** (1 + r * p[i].max())
        out[i] = sharp / sharp.sum()
    return out.tolist()


def purity_step__float32_in_place(log_p_x0, masked, k, r, uniform):
    p = log_p_x0.exp_().float()
    purity, _ = p.max(1, keepdim=True)
    times = -uniform.log_() / purity.squeeze(1)
    times[~masked] = torch.inf
    limit = min(k, int(masked.sum()))
    losers = times.argsort()[limit:]
    p.pow_(1 + r * purity)
    p /= p.sum(1, keepdim=True)
    p[losers] = 0
    return p


def random_counts_cost__number_shown(h, gamma_bar):
    """The number of shown tokens as a Markov chain, with every number revealed from each state."""
    n, values = len(h), h.tolist()
    shown = [1.0] + [0.0] * n
    cost = 0.0
    for before, after in itertools.pairwise(gamma_bar):
        if before == after:
            continue
        reveal = 1 - after / before
        following = [0.0] * (n + 1)
        for m, weight in enumerate(shown):
            loss = 0.0
            for number in range(n - m + 1):
                chance = math.comb(n - m, number) * reveal**number
                chance *= (1 - reveal) ** (n - m - number)
                following[m + number] += weight * chance
                cost += weight * chance * loss
                if m + number < n:
                    loss += values[m] - values[m + number]
        shown = following
    return cost


def random_counts_cost__torch_binomial(h, gamma_bar):
    shares = torch.tensor(gamma_bar, dtype=h.dtype)
    before, after = shares[:-1], shares[1:]
    others = Binomial(len(h) - 1, probs=(1 - before)[:, None], validate_args=False)
    weights = others.log_prob(torch.arange(len(h), dtype=h.dtype)).exp()
    return len(h) * torch.einsum("l,lm,m->", before - after, weights, h) - h.sum()


def random_counts_cost__differences(h, gamma_bar):
    """Abel's sum: each fall of h counts with the chance that fewer others are shown."""
    n, h = len(h), h.numpy()
    falls = h[:-1] - h[1:]
    total = np.zeros(1)
    for before, after in itertools.pairwise(gamma_bar):
        table = np.ones(1)
        for _ in range(n - 1):
            table = np.convolve(table, [before, 1 - before])
        fewer = np.cumsum(table)[:-1]
        mean = h[-1] + (falls * fewer).sum()
        total += n * (before - after) * mean
    return (total - h.sum())[0]


def masked_under_guidance__all_classes(conditional, null, gamma_bar, s):
    """Both forms written out, with all K + 1 classes of a step."""
    guided = torch.log_softmax(null.log() + (s + 1) * (conditional / null).log(), 0)
    rows, first, second = [], 1.0, 1.0
    for before, after in itertools.pairwise(gamma_bar):
        stay = torch.tensor([after / before], dtype=conditional.dtype)
        step = torch.cat([(1 - stay) * guided.exp(), stay])
        first = first * step[-1] / step.sum()
        c, u = (torch.cat([(1 - stay) * p, stay]) for p in (conditional, null))
        seen = (c > 0) & (u > 0)
        logits = u[seen].log() + (s + 1) * (c[seen].log() - u[seen].log())
        second = second * (torch.softmax(logits, 0)[-1] if stay > 0 else 0.0)
        rows.append(torch.stack([torch.as_tensor(first), torch.as_tensor(second)]))
    return torch.stack(rows)


def masked_under_guidance__cumprod(conditional, null, gamma_bar, s):
    c, u, shares = conditional.numpy(), null.numpy(), np.array(gamma_bar)
    total = np.exp((s + 1) * np.log(c) - s * np.log(u)).sum()
    stay = shares[1:] / shares[:-1]
    return np.stack([shares[1:], np.cumprod(stay / (stay + (1 - stay) * total))], axis=-1)


def masked_under_guidance__odds(conditional, null, gamma_bar, s):
    """With the odds of leaving, in plain floats, and in float32 at the end."""
    ratio = math.fsum(
        c * math.pow(c / u, s) for c, u in zip(conditional.tolist(), null.tolist(), strict=True)
    )
    out = torch.empty(len(gamma_bar) - 1, 2)
    still = [1.0, 1.0]
    for step in range(1, len(gamma_bar)):
        stay = gamma_bar[step] / gamma_bar[step - 1]
        still[0] *= stay
        still[1] *= 1 / (1 + (1 - stay) / stay * ratio) if stay else 0.0
        out[step - 1] = torch.tensor(still)
    return out

"""Lesson 12: mistakes written a second time, from their descriptions alone."""

import itertools
import math

import numpy as np
import torch


def _purities(log_p_x0):
    return torch.tensor([max(row) for row in log_p_x0.exp().tolist()], dtype=log_p_x0.dtype)


def _winners(times, places, k):
    """The k places with the shortest times."""
    return sorted(places, key=lambda i: float(times[i]))[:k]


def _masked_places(masked):
    return [i for i, hidden in enumerate(masked.tolist()) if hidden]


def _rows(log_p_x0, chosen, powers, normalise=True):
    out = torch.zeros_like(log_p_x0)
    for i in chosen:
        row = log_p_x0[i].exp() ** powers[i]
        out[i] = row / row.sum() if normalise else row
    return out


def purity_step__top_purity(log_p_x0, masked, k, r, uniform):
    purity = log_p_x0.max(1).values.exp()
    ranked = torch.where(masked, purity, -1.0).topk(min(k, int(masked.sum()))).indices
    out = torch.zeros_like(log_p_x0)
    out[ranked] = torch.softmax(log_p_x0[ranked] * (1 + r * purity[ranked, None]), -1)
    return out


def purity_step__unmasked_compete(log_p_x0, masked, k, r, uniform):
    purity = _purities(log_p_x0)
    chosen = _winners(-uniform.log() / purity, range(len(masked)), k)
    return _rows(log_p_x0, chosen, 1 + r * purity)


def purity_step__rate_as_mean(log_p_x0, masked, k, r, uniform):
    purity = log_p_x0.exp().numpy().max(1)
    times = np.where(masked.numpy(), -np.log(uniform.numpy()) * purity, np.inf)
    chosen = np.argsort(times)[: min(k, int(masked.sum()))]
    return _rows(log_p_x0, chosen.tolist(), (1 + r * purity).tolist())


def purity_step__relative_score(log_p_x0, masked, k, r, uniform):
    purity = _purities(log_p_x0)
    chosen = _winners(-uniform.log() / purity, _masked_places(masked), k)
    return _rows(log_p_x0, chosen, 1 + r * purity / purity.max())


def purity_step__one_missing(log_p_x0, masked, k, r, uniform):
    purity = _purities(log_p_x0)
    chosen = _winners(-uniform.log() / purity, _masked_places(masked), k)
    return _rows(log_p_x0, chosen, r * purity)


def purity_step__not_renormalised(log_p_x0, masked, k, r, uniform):
    purity = _purities(log_p_x0)
    chosen = _winners(-uniform.log() / purity, _masked_places(masked), k)
    return _rows(log_p_x0, chosen, 1 + r * purity, normalise=False)


def purity_step__purity_not_log(log_p_x0, masked, k, r, uniform):
    purity = _purities(log_p_x0)
    gumbel = [-math.log(-math.log(u)) for u in uniform.tolist()]
    sums = [float(purity[i]) + gumbel[i] for i in range(len(gumbel))]
    chosen = sorted(_masked_places(masked), key=lambda i: sums[i], reverse=True)[:k]
    return _rows(log_p_x0, chosen, 1 + r * purity)


def _binomial(n, share):
    """The n + 1 probabilities, one trial after the other."""
    probabilities = np.ones(1)
    for _ in range(n):
        probabilities = np.convolve(probabilities, [1 - share, share])
    return probabilities


def random_counts_cost__own_token_counted(h, gamma_bar):
    n, padded = len(h), [*h.tolist(), 0.0]
    total = 0.0
    for before, after in itertools.pairwise(gamma_bar):
        total += n * (before - after) * float(_binomial(n, 1 - before) @ padded)
    return total - float(h.sum())


def random_counts_cost__after_the_step(h, gamma_bar):
    n = len(h)
    total = -float(h.sum())
    for step in range(len(gamma_bar) - 1):
        for m in range(n):
            hidden = gamma_bar[step + 1]
            chance = math.comb(n - 1, m) * (1 - hidden) ** m * hidden ** (n - 1 - m)
            total += n * (gamma_bar[step] - hidden) * chance * float(h[m])
    return total


def random_counts_cost__of_the_masked(h, gamma_bar):
    n = len(h)
    steps = [(b, a) for b, a in itertools.pairwise(gamma_bar) if b > a]
    means = [(_binomial(n - 1, 1 - before) * h.numpy()).sum() for before, _ in steps]
    weights = [(before - after) / before for before, after in steps]
    return n * np.dot(weights, means) - h.numpy().sum()


def random_counts_cost__mean_numbers(h, gamma_bar):
    n, values = len(h), h.tolist()
    total = 0.0
    for before, after in itertools.pairwise(gamma_bar):
        shown = min(n * (1 - before), n - 1)
        low = int(shown)
        high = min(low + 1, n - 1)
        there = values[low] + (shown - low) * (values[high] - values[low])
        total += n * (before - after) * there
    return total - sum(values)


def random_counts_cost__entropy_left(h, gamma_bar):
    shares = torch.tensor(gamma_bar, dtype=torch.float64)
    rows = np.stack([_binomial(len(h) - 1, 1 - g) for g in gamma_bar[:-1]])
    return len(h) * (-shares.diff()) @ (torch.from_numpy(rows) @ h)


def random_counts_cost__turned_round(h, gamma_bar):
    flipped = 1 - np.array(gamma_bar)[::-1]
    rows = np.stack([_binomial(len(h) - 1, 1 - g) for g in flipped[:-1]])
    return -len(h) * np.diff(flipped) @ rows @ h.numpy() - h.numpy().sum()


def _printed(conditional, null, before, after, w):
    """P(MASK) of one guided step: all K + 1 classes, raised to powers and divided by their sum."""
    stay = after / before
    codes = (1 - stay) * sum(
        c * (c / u) ** (w - 1) for c, u in zip(conditional.tolist(), null.tolist(), strict=True)
    )
    return stay / (stay + codes)


def _columns(conditional, null, gamma_bar, w):
    table, wrong = [], 1.0
    for before, after in itertools.pairwise(gamma_bar):
        wrong *= _printed(conditional, null, before, after, w)
        table.append([after, wrong])
    return table


def masked_under_guidance__exchanged(conditional, null, gamma_bar, s):
    return [row[::-1] for row in _columns(conditional, null, gamma_bar, s + 1)]


def masked_under_guidance__other_scale(conditional, null, gamma_bar, s):
    return _columns(conditional, null, gamma_bar, s)


def masked_under_guidance__null_favoured(conditional, null, gamma_bar, s):
    return _columns(null, conditional, gamma_bar, s + 1)


def masked_under_guidance__mask_not_divided(conditional, null, gamma_bar, s):
    shares = torch.tensor(gamma_bar, dtype=torch.float64)
    stays = (shares[1:] / shares[:-1]).cumprod(0)
    return torch.stack([stays, stays], 1)


def masked_under_guidance__one_long_step(conditional, null, gamma_bar, s):
    w = s + 1
    after = torch.tensor(gamma_bar[1:], dtype=torch.float64)
    codes = (1 - after) * torch.exp(w * conditional.log() + (1 - w) * null.log()).sum()
    return torch.stack([after, after / (after + codes)], dim=-1)


def masked_under_guidance__each_step_alone(conditional, null, gamma_bar, s):
    pairs = list(itertools.pairwise(gamma_bar))
    stay = np.array([after / before for before, after in pairs])
    guided = [_printed(conditional, null, before, after, s + 1) for before, after in pairs]
    return np.column_stack([stay, guided])

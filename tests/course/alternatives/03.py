"""Lesson 03: right solutions in several styles, as students could hand them in."""

import itertools
import math
from functools import cache, reduce

import numpy as np
import torch
import torch.nn.functional as F
from torch.distributions import Categorical


def posterior_from_matrices__messages_in_lists(steps, x_0, x_t, s, t):
    matrices = steps.tolist()
    classes = range(len(matrices[0]))
    result = []
    for start, end in zip(x_0.tolist(), x_t.tolist(), strict=True):
        forward = [float(j == start) for j in classes]
        for q in matrices[:s]:
            forward = [sum(q[i][j] * forward[j] for j in classes) for i in classes]
        backward = [float(j == end) for j in classes]
        for q in reversed(matrices[s:t]):
            backward = [sum(backward[i] * q[i][j] for i in classes) for j in classes]
        joint = [a * b for a, b in zip(forward, backward, strict=True)]
        result.append([value / sum(joint) for value in joint])
    return result


def posterior_from_matrices__reduce_in_float32(steps, x_0, x_t, s, t):
    eye = torch.eye(steps.shape[-1])
    to_s = reduce(lambda product, q: q @ product, steps[:s].float(), eye)
    from_s = reduce(lambda product, q: q @ product, steps[s:t].float(), eye)
    return F.normalize(to_s.T[x_0] * from_s[x_t], p=1, dim=-1)


def posterior_from_matrices__categorical(steps, x_0, x_t, s, t):
    size = steps.shape[-1]
    vectors = F.one_hot(x_0, size).to(steps)
    for u in range(s):
        vectors = torch.einsum("ij,bj->bi", steps[u], vectors)
    ends = F.one_hot(x_t, size).to(steps)
    for u in reversed(range(s, t)):
        ends = torch.einsum("ij,bi->bj", steps[u], ends)
    return Categorical(probs=vectors * ends).probs


def posterior_from_matrices__joint_table(steps, x_0, x_t, s, t):
    q = steps.numpy()
    to_s = np.linalg.multi_dot([np.eye(q.shape[-1])] * 2 + list(q[:s][::-1]))
    from_s = np.linalg.multi_dot([np.eye(q.shape[-1])] * 2 + list(q[s:t][::-1]))
    joint = np.einsum("ij,jk->kij", from_s, to_s)  # x_0, x_t, x_s
    chosen = joint[x_0.numpy(), x_t.numpy()]
    return chosen / chosen.sum(-1, keepdims=True)


def _matrix(alpha, gamma, size):
    matrix = alpha * torch.eye(size, dtype=torch.float64)
    matrix += (1 - alpha - gamma) / (size - 1)
    matrix[-1], matrix[:, -1] = gamma, 0
    matrix[-1, -1] = 1
    return matrix


def reverse_step__all_posteriors_in_logarithms(log_p_x0, x_t, alpha_bar, gamma_bar):
    size = log_p_x0.shape[1] + 1
    (a_s, a_t), (g_s, g_t) = alpha_bar, gamma_bar
    log_p = log_p_x0 - log_p_x0.logsumexp(1, keepdim=True)
    log_prior = _matrix(a_s, g_s, size)[:, :-1].T.log()
    log_stride = _matrix(a_t / a_s, 1 - (1 - g_t) / (1 - g_s), size).log()
    joint = log_prior[None] + log_stride[x_t][:, None]
    posterior = joint.log_softmax(-1)
    return torch.logsumexp(log_p[..., None] + posterior, 1).exp()


def reverse_step__closed_form_in_float32(log_p_x0, x_t, alpha_bar, gamma_bar):
    p = Categorical(logits=log_p_x0.float()).probs
    n, codes = p.shape
    (a_s, a_t), (g_s, g_t) = alpha_bar, gamma_bar
    b_s, b_t = (1 - a_s - g_s) / codes, (1 - a_t - g_t) / codes
    a, unmasked = a_t / a_s, (1 - g_t) / (1 - g_s)
    b = (unmasked - a) / codes
    out = p.new_zeros(n, codes + 1)
    masked = x_t == codes
    out[masked, :-1] = (1 - unmasked) / g_t * (a_s * p[masked] + b_s)
    out[masked, -1] = g_s / g_t
    own = F.one_hot(x_t[~masked], codes)
    ratio = p[~masked] / (a_t * own + b_t)
    out[~masked, :-1] = (a * own + b) * (a_s * ratio + b_s * ratio.sum(1, keepdim=True))
    return out


def reverse_step__loops_over_everything(log_p_x0, x_t, alpha_bar, gamma_bar):
    codes = log_p_x0.shape[1]

    def cumulative(j, k, at):
        if j == codes:
            return gamma_bar[at]
        spread = (1 - alpha_bar[at] - gamma_bar[at]) / codes
        return spread + alpha_bar[at] * (j == k)

    def stride(i, j):
        if j == codes:
            return float(i == codes)
        unmasked = (1 - gamma_bar[1]) / (1 - gamma_bar[0])
        kept = alpha_bar[1] / alpha_bar[0]
        return 1 - unmasked if i == codes else (unmasked - kept) / codes + kept * (i == j)

    rows = []
    for logs, i in zip(log_p_x0.tolist(), x_t.tolist(), strict=True):
        chances = [math.exp(value) for value in logs]
        rows.append([0.0] * (codes + 1))
        for k, j in itertools.product(range(codes), range(codes + 1)):
            posterior = stride(i, j) * cumulative(j, k, 0) / cumulative(i, k, 1)
            rows[-1][j] += posterior * chances[k] / sum(chances)
    return rows


def log_unmask__padded_and_where(log_p_x0, x_t, gamma_bar, s, t):
    g = torch.cat([gamma_bar.new_zeros(1), gamma_bar])
    ratio = g[s] / g[t]
    mask = ratio.log().expand(len(x_t), 1)
    masked = torch.hstack([log_p_x0 + torch.log1p(-ratio), mask])
    fixed = F.one_hot(x_t, masked.shape[1]).double().log()
    return fixed.where(x_t[:, None] != log_p_x0.shape[1], masked)


def log_unmask__rows_in_lists(log_p_x0, x_t, gamma_bar, s, t):
    g_t = gamma_bar[t - 1].item()
    g_s = gamma_bar[s - 1].item() if s > 0 else 0.0
    codes = log_p_x0.shape[1]
    rows = []
    for logs, token in zip(log_p_x0.tolist(), x_t.tolist(), strict=True):
        if token == codes:
            row = [value + math.log((g_t - g_s) / g_t) for value in logs]
            row.append(math.log(g_s / g_t) if g_s else -math.inf)
        else:
            row = [-math.inf] * (codes + 1)
            row[token] = 0.0
        rows.append(row)
    return rows


def log_unmask__numpy_in_float32(log_p_x0, x_t, gamma_bar, s, t):
    g = np.concatenate([[0.0], gamma_bar.numpy()])
    codes = log_p_x0.shape[1]
    out = np.full((len(x_t), codes + 1), -np.inf, dtype=np.float32)
    masked = x_t.numpy() == codes
    with np.errstate(divide="ignore"):
        out[masked, :codes] = log_p_x0.numpy()[masked] + np.log(g[t] - g[s]) - np.log(g[t])
        out[masked, codes] = np.log(g[s]) - np.log(g[t])
    out[~masked, x_t.numpy()[~masked]] = 0
    return out


def equal_tokens__difference_of_powers(p, gamma_bar, n):
    g = torch.tensor(gamma_bar, dtype=torch.float64)
    before, after = g[:-1, None], g[1:, None]
    return (((before - after) * p + after) ** n - after**n).sum(0)


def equal_tokens__every_assignment(p, gamma_bar, n):
    shares = -np.diff(gamma_bar)
    total = [0.0] * len(p)
    for steps in itertools.product(range(len(shares)), repeat=n):
        chance = math.prod(shares[step] for step in steps)
        first = steps.count(min(steps))
        total = [old + chance * float(value) ** first for old, value in zip(total, p, strict=True)]
    return total


def equal_tokens__recursion_over_states(p, gamma_bar, n):
    @cache
    def finish(place):
        """All n still masked at this place: the chance that all come out as each code."""
        if place == len(gamma_bar) - 1:
            return torch.zeros_like(p)
        stays = gamma_bar[place + 1] / gamma_bar[place]
        revealed = torch.arange(1, n + 1, dtype=torch.float64)
        binomial = torch.distributions.Binomial(n, torch.tensor(1 - stays, dtype=torch.float64))
        now = (binomial.log_prob(revealed).exp()[:, None] * p ** revealed[:, None]).sum(0)
        return now + stays**n * finish(place + 1)

    return finish(0)

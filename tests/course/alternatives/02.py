"""Lesson 02: right solutions in several styles, as students could hand them in."""

from fractions import Fraction

import numpy as np
import torch
import torch.nn.functional as F


def stride_matrix__numpy_product(alphas, gammas, num_codes, s, t):
    result = np.eye(num_codes + 1)
    for alpha, gamma in zip(alphas[s:t].tolist(), gammas[s:t].tolist(), strict=True):
        step = np.zeros_like(result)
        step[:-1, :-1] = alpha * np.eye(num_codes) + (1 - alpha - gamma) / num_codes
        step[-1, :-1] = gamma
        step[-1, -1] = 1
        result = step @ result
    return result


def stride_matrix__closed_form_by_padding(alphas, gammas, num_codes, s, t):
    alpha = alphas[s:t].prod()
    unmasked = (1 - gammas[s:t]).prod()
    codes = torch.eye(num_codes, dtype=alphas.dtype) * alpha + (unmasked - alpha) / num_codes
    matrix = F.pad(codes, (0, 1, 0, 1))
    matrix[-1] = 1 - matrix.sum(0)
    return matrix


def stride_matrix__each_class_followed_in_lists(alphas, gammas, num_codes, s, t):
    columns = []
    for start in range(num_codes + 1):
        chances = [float(k == start) for k in range(num_codes + 1)]
        for u in range(s + 1, t + 1):
            alpha, gamma = float(alphas[u - 1]), float(gammas[u - 1])
            unmasked = sum(chances[:-1])
            spread = (1 - alpha - gamma) / num_codes * unmasked
            chances = [alpha * chance + spread for chance in chances[:-1]]
            chances.append(1 - sum(chances))
        columns.append(chances)
    return [list(row) for row in zip(*columns, strict=True)]


def stride_matrix__recursion_in_float32(alphas, gammas, num_codes, s, t):
    if s == t:
        return torch.eye(num_codes + 1)
    alpha, gamma = alphas[t - 1].float(), gammas[t - 1].float()
    row_stochastic = torch.diag_embed(alpha.expand(num_codes + 1)).clone()
    row_stochastic[:, :-1] += (1 - alpha - gamma) / num_codes
    row_stochastic[:, -1] = gamma
    row_stochastic[-1] = F.one_hot(torch.tensor(num_codes), num_codes + 1)
    return row_stochastic.T @ stride_matrix__recursion_in_float32(
        alphas, gammas, num_codes, s, t - 1
    )


def corrupt_with__in_place(x_0, alpha_bar, gamma_bar, num_codes, uniform, replacement):
    changed = uniform.ge(alpha_bar.unsqueeze(-1))
    x_0[changed] = replacement.mul_(num_codes).floor_().to(x_0.dtype)[changed]
    return x_0.masked_fill_(uniform.ge(1 - gamma_bar.unsqueeze(-1)), num_codes)


def corrupt_with__searchsorted(x_0, alpha_bar, gamma_bar, num_codes, uniform, replacement):
    edges = torch.stack([alpha_bar, 1 - gamma_bar], 1)
    choice = torch.searchsorted(edges, uniform, right=True)
    fresh = torch.trunc(num_codes * replacement).long()
    options = torch.stack([x_0, fresh, torch.full_like(x_0, num_codes)])
    return options.gather(0, choice[None])[0]


def corrupt_with__loops_and_lists(x_0, alpha_bar, gamma_bar, num_codes, uniform, replacement):
    result = []
    for i, sequence in enumerate(x_0.tolist()):
        result.append([])
        for k, token in enumerate(sequence):
            u = uniform[i, k].item()
            if u >= 1 - gamma_bar[i].item():
                token = num_codes
            elif u >= alpha_bar[i].item():
                token = int(num_codes * replacement[i, k].item())
            result[-1].append(token)
    return result


def _transition(alpha, gamma, delta, num_codes):
    """Row-stochastic: "from" in the rows."""
    rows = torch.zeros(num_codes + 1, num_codes + 1, dtype=torch.float64)
    rows[:-1, :-1] = (1 - alpha - gamma) / num_codes
    rows[:-1, :-1].diagonal().add_(alpha)
    rows[:-1, -1] = gamma
    rows[-1, :-1] = delta / num_codes
    rows[-1, -1] = 1 - delta
    return rows


def stationary_distribution__linear_system(alpha, gamma, delta, num_codes):
    rows = _transition(alpha, gamma, delta, num_codes)
    equations = rows.T - torch.eye(num_codes + 1, dtype=torch.float64)
    equations[0] = 1.0
    wanted = torch.zeros(num_codes + 1, dtype=torch.float64)
    wanted[0] = 1.0
    return torch.linalg.solve(equations, wanted)


def stationary_distribution__lazy_power(alpha, gamma, delta, num_codes):
    rows = _transition(alpha, gamma, delta, num_codes)
    lazy = (rows + torch.eye(num_codes + 1, dtype=torch.float64)) / 2  # no period can remain
    return torch.linalg.matrix_power(lazy, 2**20)[0]


def stationary_distribution__eigenvector(alpha, gamma, delta, num_codes):
    values, vectors = np.linalg.eig(_transition(alpha, gamma, delta, num_codes).numpy().T)
    vector = vectors[:, np.argmin(abs(values - 1))].real
    return vector / vector.sum()


def stationary_distribution__balance_of_flows(alpha, gamma, delta, num_codes):
    gamma, delta = Fraction(gamma), Fraction(delta)
    mask = gamma / (gamma + delta)
    return [float((1 - mask) / num_codes)] * num_codes + [float(mask)]

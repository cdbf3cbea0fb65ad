"""Lesson 02: mistakes written a second time, from their descriptions alone."""

import numpy as np
import torch


def _step(alpha, gamma, num_codes):
    """One step, "from" in the columns."""
    matrix = torch.full((num_codes + 1, num_codes + 1), 0.0, dtype=torch.float64)
    matrix[:num_codes, :num_codes] = (1 - alpha - gamma) / num_codes
    for k in range(num_codes):
        matrix[k, k] += alpha
        matrix[num_codes, k] = gamma
    matrix[num_codes, num_codes] = 1
    return matrix


def stride_matrix__transposed(alphas, gammas, num_codes, s, t):
    result = np.eye(num_codes + 1)
    for place in range(s, t):
        a, g = float(alphas[place]), float(gammas[place])
        rows = np.full((num_codes + 1, num_codes + 1), (1 - a - g) / num_codes)
        rows += a * np.eye(num_codes + 1)
        rows[:, -1] = g
        rows[-1] = 0
        rows[-1, -1] = 1
        result = result @ rows
    return result


def stride_matrix__last_step_missing(alphas, gammas, num_codes, s, t):
    result = torch.eye(num_codes + 1, dtype=torch.float64)
    for u in range(s + 1, t):
        result = _step(alphas[u - 1], gammas[u - 1], num_codes) @ result
    return result


def stride_matrix__index_wraps(alphas, gammas, num_codes, s, t):
    kept = unmasked = 1.0
    for u in range(s, t):
        kept = kept * float(alphas[u - 1])
        unmasked = unmasked * (1 - float(gammas[u - 1]))
    return _step(kept, 1 - unmasked, num_codes)


def stride_matrix__mask_leaves(alphas, gammas, num_codes, s, t):
    size = num_codes + 1
    result = torch.eye(size, dtype=torch.float64)
    for alpha, gamma in zip(alphas[s:t], gammas[s:t], strict=True):
        beta = (1 - alpha - gamma) / num_codes
        every = alpha * torch.eye(size, dtype=torch.float64) + beta
        every[-1] = gamma
        every[-1, -1] = alpha + gamma
        result = every @ result
    return result


def stride_matrix__beta_not_shared(alphas, gammas, num_codes, s, t):
    def one(u):
        beta = 1 - alphas[u - 1] - gammas[u - 1]
        codes = alphas[u - 1] * torch.eye(num_codes).double() + beta
        top = torch.cat([codes, torch.zeros(num_codes, 1).double()], 1)
        below = torch.cat([gammas[u - 1].expand(num_codes), torch.ones(1).double()])
        return torch.cat([top, below[None]])

    result = torch.eye(num_codes + 1).double()
    for u in range(t, s, -1):
        result = result @ one(u)
    return result


def stride_matrix__masked_added(alphas, gammas, num_codes, s, t):
    kept, masked = alphas[s:t].prod(), gammas[s:t].sum()
    return _step(kept, masked, num_codes)


def stride_matrix__steps_as_cumulative(alphas, gammas, num_codes, s, t):
    one, zero = torch.ones(1, dtype=torch.float64), torch.zeros(1, dtype=torch.float64)
    alpha_bar, gamma_bar = torch.cat([one, alphas]), torch.cat([zero, gammas])
    alpha = alpha_bar[t] / alpha_bar[s]
    gamma = 1 - (1 - gamma_bar[t]) / (1 - gamma_bar[s])
    return _step(alpha, gamma, num_codes)


def corrupt_with__intervals_exchanged(x_0, alpha_bar, gamma_bar, num_codes, uniform, replacement):
    x_t = x_0.clone()
    replace = uniform < 1 - alpha_bar[:, None]
    x_t[replace] = (num_codes * replacement[replace]).long()
    x_t[uniform < gamma_bar[:, None]] = num_codes
    return x_t


def corrupt_with__noise_shared(x_0, alpha_bar, gamma_bar, num_codes, uniform, replacement):
    u, fresh = uniform[0], (num_codes * replacement[0]).long()
    rows = []
    for row, kept, masked in zip(x_0, alpha_bar, gamma_bar, strict=True):
        changed = torch.where(u < kept, row, fresh)
        rows.append(changed.masked_fill(u >= 1 - masked, num_codes))
    return torch.stack(rows)


def _by_loops(x_0, alpha_bar, gamma_bar, uniform, mask, fresh):
    """`fresh(i, k)` is the new code of a token."""
    x_t = x_0.tolist()
    for i, row in enumerate(x_t):
        for k in range(len(row)):
            u = float(uniform[i, k])
            if u >= 1 - float(gamma_bar[i]):
                row[k] = mask
            elif u >= float(alpha_bar[i]):
                row[k] = fresh(i, k)
    return x_t


def corrupt_with__mask_is_last_code(x_0, alpha_bar, gamma_bar, num_codes, uniform, replacement):
    return _by_loops(
        x_0,
        alpha_bar,
        gamma_bar,
        uniform,
        num_codes - 1,
        lambda i, k: int(num_codes * float(replacement[i, k])),
    )


def corrupt_with__last_code_missing(x_0, alpha_bar, gamma_bar, num_codes, uniform, replacement):
    kept = uniform < alpha_bar.view(-1, 1)
    masked = uniform >= 1 - gamma_bar.view(-1, 1)
    fresh = torch.floor(replacement * (num_codes - 1)).to(x_0.dtype)
    return kept * x_0 + masked * num_codes + (~kept & ~masked) * fresh


def corrupt_with__own_code_excluded(x_0, alpha_bar, gamma_bar, num_codes, uniform, replacement):
    def other(i, k):
        own = int(x_0[i, k])
        others = [code for code in range(num_codes) if code != own]
        return others[int((num_codes - 1) * float(replacement[i, k]))]

    return _by_loops(x_0, alpha_bar, gamma_bar, uniform, num_codes, other)


def corrupt_with__one_number_for_both(x_0, alpha_bar, gamma_bar, num_codes, uniform, replacement):
    u = uniform.numpy()
    kept, masked = alpha_bar.numpy()[:, None], gamma_bar.numpy()[:, None]
    fresh = np.floor(num_codes * u).astype(np.int64)
    return np.select([u < kept, u < 1 - masked], [x_0.numpy(), fresh], num_codes)


def _unchanged(columns):
    """The distribution that a matrix with "from" in the columns does not change."""
    size = len(columns)
    equations = np.vstack([columns - np.eye(size), np.ones(size)])
    wanted = np.append(np.zeros(size), 1.0)
    return np.linalg.lstsq(equations, wanted, rcond=None)[0]


def _columns(alpha, gamma, delta, num_codes):
    matrix = np.full((num_codes + 1, num_codes + 1), (1 - alpha - gamma) / num_codes)
    matrix[np.arange(num_codes), np.arange(num_codes)] += alpha
    matrix[-1, :] = gamma
    matrix[:, -1] = delta / num_codes
    matrix[-1, -1] = 1 - delta
    return matrix


def stationary_distribution__mask_absorbs(alpha, gamma, delta, num_codes):
    return [0.0] * num_codes + [1.0]


def stationary_distribution__wrong_side(alpha, gamma, delta, num_codes):
    rows = _columns(alpha, gamma, delta, num_codes).T
    values, vectors = np.linalg.eig(rows)
    vector = vectors[:, np.argmin(np.abs(values - 1))].real
    return torch.from_numpy(vector / vector.sum())


def stationary_distribution__delta_for_each_code(alpha, gamma, delta, num_codes):
    matrix = _columns(alpha, gamma, delta, num_codes)
    matrix[:-1, -1] = delta
    matrix[-1, -1] = 1 - num_codes * delta
    return _unchanged(matrix)


def stationary_distribution__flows_exchanged(alpha, gamma, delta, num_codes):
    codes = gamma / (gamma + delta)
    return torch.tensor([codes / num_codes] * num_codes + [1 - codes], dtype=torch.float64)


def stationary_distribution__replaced_as_masked(alpha, gamma, delta, num_codes):
    matrix = _columns(alpha, gamma, delta, num_codes)
    matrix[:-1, :-1] = alpha * np.eye(num_codes)
    matrix[-1, :-1] = 1 - alpha
    return _unchanged(matrix)

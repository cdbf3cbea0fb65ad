"""Lesson 03: mistakes written a second time, from their descriptions alone."""

import itertools
import math

import torch
import torch.nn.functional as F

# --- posterior_from_matrices ---------------------------------------------------------------


def _chain(steps, first, last):
    """Q_last … Q_first, "from" in the columns; the identity if there is none."""
    product = torch.eye(steps.shape[-1], dtype=steps.dtype)
    for u in range(first, last + 1):
        product = steps[u - 1] @ product
    return product


def _normal(weights, dim=1):
    return weights / weights.sum(dim, keepdim=True)


def posterior_from_matrices__transposed(steps, x_0, x_t, s, t):
    rows = []
    for start, end in zip(x_0.tolist(), x_t.tolist(), strict=True):
        prior = F.one_hot(torch.tensor(start), steps.shape[-1]).to(steps.dtype)
        for u in range(1, s + 1):
            prior = prior @ steps[u - 1]
        likelihood = F.one_hot(torch.tensor(end), steps.shape[-1]).to(steps.dtype)
        for u in range(t, s, -1):
            likelihood = steps[u - 1] @ likelihood
        rows.append(prior * likelihood / (prior @ likelihood))
    return torch.stack(rows)


def posterior_from_matrices__order_reversed(steps, x_0, x_t, s, t):
    to_s = torch.eye(steps.shape[-1], dtype=steps.dtype)
    from_s = to_s.clone()
    for u in range(1, t + 1):
        if u <= s:
            to_s = to_s @ steps[u - 1]
        else:
            from_s = from_s @ steps[u - 1]
    return _normal(to_s[:, x_0].T * from_s[x_t])


def posterior_from_matrices__unnormalised(steps, x_0, x_t, s, t):
    prior = _chain(steps, 1, s).T.index_select(0, x_0)
    likelihood = _chain(steps, s + 1, t).index_select(0, x_t)
    return torch.einsum("bj,bj->bj", prior, likelihood)


def posterior_from_matrices__over_batch(steps, x_0, x_t, s, t):
    weights = _chain(steps, 1, s)[:, x_0].T * _chain(steps, s + 1, t)[x_t]
    return weights / weights.sum(0)


def posterior_from_matrices__cumulative_likelihood(steps, x_0, x_t, s, t):
    bars = [torch.eye(steps.shape[-1], dtype=steps.dtype)]
    for matrix in steps:
        bars.append(matrix @ bars[-1])
    return _normal(bars[s].T[x_0] * bars[t][x_t])


def posterior_from_matrices__one_step(steps, x_0, x_t, s, t):
    prior = _chain(steps, 1, s)
    weights = [
        [float(prior[j, a] * steps[t - 1, b, j]) for j in range(len(prior))]
        for a, b in zip(x_0.tolist(), x_t.tolist(), strict=True)
    ]
    return _normal(torch.tensor(weights, dtype=torch.float64))


def posterior_from_matrices__prior_transposed(steps, x_0, x_t, s, t):
    rows = []
    for start, end in zip(x_0.tolist(), x_t.tolist(), strict=True):
        likelihood = F.one_hot(torch.tensor(end), steps.shape[-1]).to(steps.dtype)
        for u in range(t, s, -1):
            likelihood = likelihood @ steps[u - 1]
        rows.append(_chain(steps, 1, s)[start] * likelihood)
    return _normal(torch.stack(rows))


def posterior_from_matrices__likelihood_transposed(steps, x_0, x_t, s, t):
    prior = F.one_hot(x_0, steps.shape[-1]).to(steps.dtype)
    for u in range(1, s + 1):
        prior = torch.einsum("ij,bj->bi", steps[u - 1], prior)
    from_s = _chain(steps, s + 1, t)
    return _normal(torch.einsum("bj,jb->bj", prior, from_s[:, x_t]))


def posterior_from_matrices__first_step_missing(steps, x_0, x_t, s, t):
    prior = _chain(steps, 1, s)[:, x_0].T
    likelihood = F.one_hot(x_t, steps.shape[-1]).to(steps.dtype)
    for u in range(t, s + 1, -1):
        likelihood = likelihood @ steps[u - 1]
    return _normal(prior * likelihood)


def posterior_from_matrices__last_step_missing(steps, x_0, x_t, s, t):
    to_s, after = _chain(steps, 1, s), _chain(steps, s + 1, t - 1)
    weights = [
        [float(to_s[j, a] * after[b, j]) for j in range(len(to_s))]
        for a, b in zip(x_0.tolist(), x_t.tolist(), strict=True)
    ]
    return _normal(torch.tensor(weights, dtype=torch.float64))


# --- reverse_step --------------------------------------------------------------------------


def _from_code(j, k, alpha, gamma, num_codes):
    """Chance that code k becomes class j."""
    if j == num_codes:
        return gamma
    return (1 - alpha - gamma) / num_codes + (alpha if j == k else 0.0)


def _prior(alpha, gamma, num_codes):
    """[k, j] = chance of class j, from code k."""
    chances = [
        [_from_code(j, k, alpha, gamma, num_codes) for j in range(num_codes + 1)]
        for k in range(num_codes)
    ]
    return torch.tensor(chances, dtype=torch.float64)


def _stride(alpha_bar, gamma_bar, num_codes):
    """[j, i] = chance of class i at t, from class j at s."""
    alpha = alpha_bar[1] / alpha_bar[0]
    gamma = 1 - (1 - gamma_bar[1]) / (1 - gamma_bar[0])
    stays = torch.zeros(1, num_codes + 1, dtype=torch.float64)
    stays[0, num_codes] = 1
    return torch.cat([_prior(alpha, gamma, num_codes), stays])


def _average(p, x_t, prior, stride):
    """The posterior of each clean code, normalised, then the mean over the codes with p."""
    result = torch.zeros(len(x_t), p.shape[1] + 1, dtype=torch.float64)
    for row, token in enumerate(x_t.tolist()):
        for k in range(p.shape[1]):
            weights = prior[k] * stride[:, token]
            result[row] += p[row, k] * weights / weights.sum()
    return result


def _right_step(p, x_t, alpha_bar, gamma_bar):
    num_codes = p.shape[1]
    prior = _prior(alpha_bar[0], gamma_bar[0], num_codes)
    return _average(p, x_t, prior, _stride(alpha_bar, gamma_bar, num_codes))


def reverse_step__plugged_in(log_p_x0, x_t, alpha_bar, gamma_bar):
    p = log_p_x0.softmax(1)
    num_codes = p.shape[1]
    prior = p @ _prior(alpha_bar[0], gamma_bar[0], num_codes)
    return _normal(prior * _stride(alpha_bar, gamma_bar, num_codes)[:, x_t].T)


def reverse_step__mask_outcome(log_p_x0, x_t, alpha_bar, gamma_bar):
    right = _right_step(log_p_x0.softmax(1), x_t, alpha_bar, gamma_bar)
    still = gamma_bar[0] / gamma_bar[1]
    for row in range(len(x_t)):
        if x_t[row] != log_p_x0.shape[1]:
            right[row] *= 1 - still
            right[row, -1] = still
    return right


def reverse_step__clean_codes(log_p_x0, x_t, alpha_bar, gamma_bar):
    p = _normal(log_p_x0.exp())
    still = gamma_bar[0] / gamma_bar[1]
    masked = torch.cat([(1 - still) * p, torch.full((len(p), 1), still).double()], 1)
    unmasked = _right_step(p, x_t, alpha_bar, gamma_bar)
    return torch.where((x_t == p.shape[1]).unsqueeze(1), masked, unmasked)


def reverse_step__prior_at_t(log_p_x0, x_t, alpha_bar, gamma_bar):
    num_codes = log_p_x0.shape[1]
    prior = _prior(alpha_bar[1], gamma_bar[1], num_codes)
    stride = _stride(alpha_bar, gamma_bar, num_codes)
    return _average(log_p_x0.softmax(1), x_t, prior, stride)


def reverse_step__not_renormalised(log_p_x0, x_t, alpha_bar, gamma_bar):
    num_codes = log_p_x0.shape[1]
    prior = _prior(alpha_bar[0], gamma_bar[0], num_codes)
    likelihood = _stride(alpha_bar, gamma_bar, num_codes).T[x_t]
    posteriors = torch.einsum("kj,nj->nkj", prior, likelihood)
    posteriors /= posteriors.sum(-1, keepdim=True)
    return torch.einsum("nk,nkj->nj", log_p_x0.exp(), posteriors)


def reverse_step__formula_not_renormalised(log_p_x0, x_t, alpha_bar, gamma_bar):
    n, num_codes = log_p_x0.shape
    a_s, a_t = alpha_bar
    g_s, g_t = gamma_bar
    b_s, b_t = (1 - a_s - g_s) / num_codes, (1 - a_t - g_t) / num_codes
    keep, mask = a_t / a_s, 1 - (1 - g_t) / (1 - g_s)
    spread = (1 - keep - mask) / num_codes
    result = torch.zeros(n, num_codes + 1, dtype=torch.float64)
    for row, token in enumerate(x_t.tolist()):
        p = log_p_x0[row].exp()
        if token == num_codes:
            result[row, :-1] = mask / g_t * (a_s * p + b_s)
            result[row, -1] = g_s / g_t
            continue
        own = F.one_hot(x_t[row], num_codes).double()
        ratio = p / (a_t * own + b_t)
        result[row, :-1] = (keep * own + spread) * (a_s * ratio + b_s * ratio.sum())
    return result


def reverse_step__over_positions(log_p_x0, x_t, alpha_bar, gamma_bar):
    return _right_step(torch.softmax(log_p_x0, dim=0), x_t, alpha_bar, gamma_bar)


def reverse_step__seen_kept(log_p_x0, x_t, alpha_bar, gamma_bar):
    num_codes = log_p_x0.shape[1]
    result = torch.zeros(len(x_t), num_codes + 1, dtype=torch.float64)
    for row, token in enumerate(x_t.tolist()):
        if token < num_codes:
            result[row, token] = 1
        else:
            alone = log_p_x0[row : row + 1].softmax(1)
            result[row] = _right_step(alone, x_t[row : row + 1], alpha_bar, gamma_bar)[0]
    return result


# --- log_unmask ----------------------------------------------------------------------------


def _log_unmask(log_p_x0, x_t, g_s, g_t):
    """Right for two shares of masks, given as tensors without axes."""
    n, num_codes = log_p_x0.shape
    codes = log_p_x0 + ((g_t - g_s) / g_t).log()
    masked = torch.cat([codes, (g_s / g_t).log().expand(n, 1)], 1)
    certain = torch.full((n, num_codes + 1), -torch.inf, dtype=torch.float64)
    certain.scatter_(1, x_t[:, None], 0.0)
    return torch.where(x_t[:, None] == num_codes, masked, certain)


def _two(gamma_bar, s, t):
    padded = F.pad(gamma_bar, (1, 0))
    return padded[s], padded[t]


def log_unmask__floor(log_p_x0, x_t, gamma_bar, s, t):
    return (_log_unmask(log_p_x0, x_t, *_two(gamma_bar, s, t)).exp() + 1e-6).log()


def log_unmask__lost_tail(log_p_x0, x_t, gamma_bar, s, t):
    g_s, g_t = _two(gamma_bar, s, t)
    num_codes = log_p_x0.shape[1]
    result = F.one_hot(x_t, num_codes + 1).double()
    for row in range(len(x_t)):
        if x_t[row] == num_codes:
            result[row, :-1] = log_p_x0[row].exp() * (g_t - g_s) / g_t
            result[row, -1] = g_s / g_t
    return torch.log(result)


def log_unmask__wraps(log_p_x0, x_t, gamma_bar, s, t):
    return _log_unmask(log_p_x0, x_t, gamma_bar[s - 1], gamma_bar[t - 1])


def log_unmask__zero_by_zero(log_p_x0, x_t, gamma_bar, s, t):
    g_s, g_t = _two(gamma_bar, s, t)
    num_codes = log_p_x0.shape[1]
    result = _log_unmask(log_p_x0, x_t, g_s, g_t)
    prior = torch.zeros(num_codes, num_codes + 1, dtype=torch.float64)
    prior.fill_diagonal_(1 - g_s)
    prior[:, -1] = g_s
    stride = torch.zeros(num_codes + 1, num_codes + 1, dtype=torch.float64)
    stride.fill_diagonal_((1 - g_t) / (1 - g_s))
    stride[:, -1] = (g_t - g_s) / (1 - g_s)
    stride[-1, -1] = 1
    for row, token in enumerate(x_t.tolist()):
        if token < num_codes:
            posteriors = _normal(prior * stride[:, token])
            result[row] = (log_p_x0[row].exp() @ posteriors).log()
    return result


def log_unmask__not_divided(log_p_x0, x_t, gamma_bar, s, t):
    g_s, g_t = _two(gamma_bar, s, t)
    right = _log_unmask(log_p_x0, x_t, g_s, g_t)
    masked = x_t == log_p_x0.shape[1]
    right[masked, :-1] = log_p_x0[masked] + torch.log(g_t - g_s)
    return right


def log_unmask__redrawn(log_p_x0, x_t, gamma_bar, s, t):
    right = _log_unmask(log_p_x0, x_t, *_two(gamma_bar, s, t))
    unmasked = x_t < log_p_x0.shape[1]
    right[unmasked] = F.pad(log_p_x0[unmasked], (0, 1), value=-math.inf)
    return right


def _masked_rows(log_p_x0, x_t, reveal, stay):
    """Rows of a masked token, from two probabilities; the others stay what they are."""
    num_codes = log_p_x0.shape[1]
    result = torch.full((len(x_t), num_codes + 1), -math.inf, dtype=torch.float64)
    for row, token in enumerate(x_t.tolist()):
        if token < num_codes:
            result[row, token] = 0.0
            continue
        result[row, :num_codes] = log_p_x0[row] + math.log(reveal)
        result[row, num_codes] = math.log(stay) if stay > 0 else -math.inf
    return result


def log_unmask__stay_not_divided(log_p_x0, x_t, gamma_bar, s, t):
    shares = [0.0, *gamma_bar.tolist()]
    return _masked_rows(log_p_x0, x_t, (shares[t] - shares[s]) / shares[t], shares[s])


def log_unmask__neither_divided(log_p_x0, x_t, gamma_bar, s, t):
    shares = [0.0, *gamma_bar.tolist()]
    return _masked_rows(log_p_x0, x_t, shares[t] - shares[s], shares[s])


def log_unmask__forward_step(log_p_x0, x_t, gamma_bar, s, t):
    shares = [0.0, *gamma_bar.tolist()]
    becomes_mask = (shares[t] - shares[s]) / (1 - shares[s])
    return _masked_rows(log_p_x0, x_t, becomes_mask, 1 - becomes_mask)


# --- equal_tokens --------------------------------------------------------------------------


def _first_reveal(p, steps, n):
    """The sum over (w, a): the share of the step and of what comes after it."""
    total = torch.zeros_like(p)
    for w, a in steps:
        total += (w * p + a) ** n - a**n
    return total


def equal_tokens__exact_as_joint(p, gamma_bar, n):
    return p.clone()


def equal_tokens__only_all_together(p, gamma_bar, n):
    together = sum((a - b) ** n for a, b in itertools.pairwise(gamma_bar))
    return together * p**n + (1 - together) * p


def equal_tokens__later_blind(p, gamma_bar, n):
    shares = [a - b for a, b in itertools.pairwise(gamma_bar)]
    total = torch.zeros_like(p)
    for visited in itertools.product(range(len(shares)), repeat=n):
        chance = math.prod(shares[step] for step in visited)
        total += chance * p ** (n - len(set(visited)) + 1)
    return total


def equal_tokens__turned_round(p, gamma_bar, n):
    turned = [1 - g for g in reversed(gamma_bar)]
    return _first_reveal(p, [(a - b, b) for a, b in itertools.pairwise(turned)], n)


def equal_tokens__conditional_share(p, gamma_bar, n):
    total = torch.zeros_like(p)
    for before, after in itertools.pairwise(gamma_bar):
        w = 1 - after / before
        for m in range(1, n + 1):
            total += math.comb(n, m) * w**m * after ** (n - m) * p**m
    return total


def equal_tokens__all_blind(p, gamma_bar, n):
    return torch.stack([p] * n).prod(0)


def equal_tokens__uniform(p, gamma_bar, n):
    same = torch.full_like(p, 1 / len(p))
    return _first_reveal(same, [(a - b, b) for a, b in itertools.pairwise(gamma_bar)], n)

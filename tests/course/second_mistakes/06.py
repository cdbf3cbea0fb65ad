"""Lesson 06: mistakes written a second time, from their descriptions alone."""

import math

import torch

# Guidance, then truncation.


def _each_position(function, *tensors):
    """Apply a function to the K numbers of each sequence and position; result (b, K, n)."""
    b, K, n = tensors[0].shape
    result = torch.zeros(b, K, n, dtype=tensors[0].dtype)
    for i in range(b):
        for j in range(n):
            result[i, :, j] = function(*[tensor[i, :, j] for tensor in tensors])
    return result


def _top_p(p, r):
    """Codes from the likeliest on, until r is reached; p need not sum to 1."""
    kept, mass = torch.zeros_like(p), 0.0
    for code in sorted(range(len(p)), key=lambda k: -p[k]):
        if mass >= r:
            break
        kept[code] = p[code]
        mass += float(p[code])
    return kept / kept.sum()


def _normalised(log_p):
    p = (log_p - log_p.max()).exp()
    return p / p.sum()


def guided_nucleus__probability_space(conditional, null, w, r):
    def one(c, u):
        guided = ((1 + w) * c.exp() - w * u.exp()).clamp(min=0)
        return _top_p(guided / guided.sum(), r)

    return _each_position(one, conditional, null)


def guided_nucleus__reversed(conditional, null, w, r):
    def one(c, u):
        return _top_p(_normalised(u + w * (u - c)), r)

    return _each_position(one, conditional, null)


def guided_nucleus__scale_convention(conditional, null, w, r):
    def one(c, u):
        return _top_p(_normalised(u + w * (c - u)), r)

    return _each_position(one, conditional, null)


def guided_nucleus__not_renormalised(conditional, null, w, r):
    def one(c, u):
        return _top_p(torch.exp((1 + w) * c - w * u), r)

    return _each_position(one, conditional, null)


def _up_to_r(p, r):
    """Codes from the likeliest on, as long as r is not passed."""
    kept, mass = torch.zeros_like(p), 0.0
    for code in sorted(range(len(p)), key=lambda k: -p[k]):
        mass += float(p[code])
        if mass > r:
            break
        kept[code] = p[code]
    return kept


def guided_nucleus__crossing_dropped(conditional, null, w, r):
    def one(c, u):
        kept = _up_to_r(_normalised(c + w * (c - u)), r)
        return kept / kept.sum()

    return _each_position(one, conditional, null)


def guided_nucleus__only_top_saved(conditional, null, w, r):
    def one(c, u):
        p = _normalised(c + w * (c - u))
        kept = _up_to_r(p, r)
        kept[p.argmax()] = p.max()
        return kept / kept.sum()

    return _each_position(one, conditional, null)


def guided_nucleus__order_as_rank(conditional, null, w, r):
    def one(c, u):
        p = _normalised(c + w * (c - u))
        order = torch.argsort(p, descending=True).tolist()
        keep_rank, mass = [], 0.0
        for code in order:
            keep_rank.append(mass < r)
            mass += float(p[code])
        kept = torch.zeros_like(p)
        for code in range(len(p)):
            if keep_rank[order[code]]:
                kept[code] = p[code]
        return kept / kept.sum()

    return _each_position(one, conditional, null)


def guided_nucleus__truncated_first(conditional, null, w, r):
    def one(c, u):
        truncated = _top_p(c.exp(), r)
        powers = truncated ** (1 + w) / u.exp() ** w
        return powers / powers.sum()

    return _each_position(one, conditional, null)


# Few timesteps for any schedule.


def _nearest(shares, wanted):
    distances = [abs(float(share) - wanted) for share in shares]
    return distances.index(min(distances))


def _wanted(i, n):
    return math.cos(math.pi * i / (2 * n))


def _bounded(first, nearest, n):
    levels = [first]
    for i, level in enumerate(nearest, start=1):
        levels.append(max(min(level, levels[-1] - 1), n - i))
    return levels


def levels_by_share__linear(gamma_bar, steps):
    T = len(gamma_bar) - 1
    return _bounded(T, [round(T * _wanted(i, steps)) for i in range(1, steps + 1)], steps)


def levels_by_share__turned_round(gamma_bar, steps):
    nearest = []
    for i in range(1, steps + 1):
        share = 1 - math.sin(math.pi / 2 * i / steps)
        nearest.append(_nearest(gamma_bar, share * float(gamma_bar[-1])))
    return _bounded(len(gamma_bar) - 1, nearest, steps)


def levels_by_share__last_share_ignored(gamma_bar, steps):
    nearest = [_nearest(gamma_bar, _wanted(i, steps)) for i in range(1, steps + 1)]
    return _bounded(len(gamma_bar) - 1, nearest, steps)


def levels_by_share__starts_below(gamma_bar, steps):
    shares = gamma_bar[1:]
    last = float(shares[-1])
    nearest = [_nearest(shares, last * _wanted(i, steps)) for i in range(1, steps + 1)]
    return _bounded(len(shares) - 1, nearest, steps)


def levels_by_share__no_end(gamma_bar, steps):
    last, levels = float(gamma_bar[-1]), [len(gamma_bar) - 1]
    for i in range(1, steps):
        level = min(_nearest(gamma_bar, last * _wanted(i, steps)), levels[-1] - 1)
        levels.append(max(level, steps - i))
    return levels


def levels_by_share__doubles(gamma_bar, steps):
    last = float(gamma_bar[-1])
    nearest = [_nearest(gamma_bar, last * _wanted(i, steps)) for i in range(1, steps + 1)]
    return [len(gamma_bar) - 1, *nearest]


def levels_by_share__no_room(gamma_bar, steps):
    last, level, levels = float(gamma_bar[-1]), len(gamma_bar), []
    for i in range(steps + 1):
        level = min(level - 1, _nearest(gamma_bar, last * _wanted(i, steps)))
        levels.append(level)
    return levels


# One step of inpainting.


def _drawn(log_p, number, at_least=False):
    total = 0.0
    for code, value in enumerate(log_p.exp().tolist()):
        total += value
        if total > number or (at_least and total == number):
            return code
    return log_p.shape[0] - 1


def _token_by_token(x_t, uniform, token):
    """A new tensor; `token(b, i, u, v)` gives each token, u and v are its random numbers."""
    x_s = torch.empty_like(x_t)
    for b in range(x_t.shape[0]):
        for i in range(x_t.shape[1]):
            x_s[b, i] = token(b, i, float(uniform[0, b, i]), float(uniform[1, b, i]))
    return x_s


def inpainting_step__masked_again(x_t, log_p_x0, x_0, known, gamma_bar, uniform):
    low, high = gamma_bar
    K = log_p_x0.shape[-1]

    def token(b, i, u, v):
        if known[b, i]:
            return K if u < low else x_0[b, i]
        if x_t[b, i] != K:
            return x_t[b, i]
        return K if u < low / high else _drawn(log_p_x0[b, i], v)

    return _token_by_token(x_t, uniform, token)


def inpainting_step__known_inverted(x_t, log_p_x0, x_0, known, gamma_bar, uniform):
    low, high = gamma_bar
    K = log_p_x0.shape[-1]

    def token(b, i, u, v):
        if not known[b, i]:
            return x_0[b, i]
        if x_t[b, i] != K:
            return x_t[b, i]
        return K if u < low / high else _drawn(log_p_x0[b, i], v)

    return _token_by_token(x_t, uniform, token)


def _right_but(x_t, log_p_x0, x_0, known, stays, uniform, at_least=False):
    K = log_p_x0.shape[-1]

    def token(b, i, u, v):
        if known[b, i]:
            return x_0[b, i]
        if x_t[b, i] != K:
            return x_t[b, i]
        return K if u < stays else _drawn(log_p_x0[b, i], v, at_least)

    return _token_by_token(x_t, uniform, token)


def inpainting_step__share_at_s(x_t, log_p_x0, x_0, known, gamma_bar, uniform):
    return _right_but(x_t, log_p_x0, x_0, known, gamma_bar[0], uniform)


def inpainting_step__visible_redrawn(x_t, log_p_x0, x_0, known, gamma_bar, uniform):
    all_masked = torch.full_like(x_t, log_p_x0.shape[-1])
    stays = gamma_bar[0] / gamma_bar[1]
    return _right_but(all_masked, log_p_x0, x_0, known, stays, uniform)


def inpainting_step__one_number(x_t, log_p_x0, x_0, known, gamma_bar, uniform):
    twice = torch.stack([uniform[0], uniform[0]])
    return _right_but(x_t, log_p_x0, x_0, known, gamma_bar[0] / gamma_bar[1], twice)


def inpainting_step__shared_noise(x_t, log_p_x0, x_0, known, gamma_bar, uniform):
    shared = uniform[:, :1].expand(-1, len(x_t), -1)
    return _right_but(x_t, log_p_x0, x_0, known, gamma_bar[0] / gamma_bar[1], shared)


def inpainting_step__at_least(x_t, log_p_x0, x_0, known, gamma_bar, uniform):
    stays = gamma_bar[0] / gamma_bar[1]
    return _right_but(x_t, log_p_x0, x_0, known, stays, uniform, at_least=True)


def inpainting_step__revealed_below(x_t, log_p_x0, x_0, known, gamma_bar, uniform):
    reveals = 1 - gamma_bar[0] / gamma_bar[1]
    K = log_p_x0.shape[-1]

    def token(b, i, u, v):
        if known[b, i]:
            return x_0[b, i]
        if x_t[b, i] == K and u < reveals:
            return _drawn(log_p_x0[b, i], v)
        return x_t[b, i]

    return _token_by_token(x_t, uniform, token)

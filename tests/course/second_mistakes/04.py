"""Lesson 04: mistakes written a second time, from their descriptions alone."""

import math

import torch

# A branch of DiT's block: one sequence after the other.


def _three(row, weight):
    activated = row / (1 + torch.exp(-row))
    numbers = (weight * activated).sum(dim=1)
    d = row.shape[0]
    return numbers[:d], numbers[d : 2 * d], numbers[2 * d :]


def _standardised(token):
    centred = token - token.sum() / token.numel()
    return centred / ((centred * centred).mean() + 1e-5).sqrt()


def _norm_each(tokens):
    return torch.stack([_standardised(token) for token in tokens])


def adaln_zero__scale_without_one(x, t, table, weight, attention):
    out = []
    for i in range(len(x)):
        shift, scale, gate = _three(table[t[i] - 1], weight)
        y = scale * _norm_each(x[i]) + shift
        out.append(x[i] + gate * (attention[i] @ y))
    return torch.stack(out)


def adaln_zero__scale_first(x, t, table, weight, attention):
    out = []
    for i in range(len(x)):
        scale, shift, gate = _three(table[t[i] - 1], weight)
        y = _norm_each(x[i]) * (scale + 1) + shift
        out.append(x[i] + gate * (attention[i] @ y))
    return torch.stack(out)


def adaln_zero__one_timestep(x, t, table, weight, attention):
    shift, scale, gate = _three(table[int(t[0]) - 1], weight)
    out = torch.empty_like(x)
    for i in range(len(x)):
        y = _norm_each(x[i]) * (scale + 1) + shift
        out[i] = x[i] + gate * (attention[i] @ y)
    return out


def adaln_zero__row_t(x, t, table, weight, attention):
    out = []
    for tokens, step, mixing in zip(x, t.tolist(), attention, strict=True):
        shift, scale, gate = _three(table[step], weight)
        y = _norm_each(tokens) * (scale + 1) + shift
        out.append(tokens + gate * (mixing @ y))
    return torch.stack(out)


def adaln_zero__whole_image(x, t, table, weight, attention):
    out = []
    for i in range(len(x)):
        shift, scale, gate = _three(table[t[i] - 1], weight)
        y = _standardised(x[i]) * (1 + scale) + shift
        out.append(x[i] + gate * (attention[i] @ y))
    return torch.stack(out)


def adaln_zero__unbiased(x, t, table, weight, attention):
    normal = (x - x.mean(2, keepdim=True)) / torch.sqrt(x.var(2, keepdim=True) + 1e-5)
    out = []
    for i in range(len(x)):
        shift, scale, gate = _three(table[t[i] - 1], weight)
        out.append(x[i] + gate * (attention[i] @ (normal[i] * (1 + scale) + shift)))
    return torch.stack(out)


def adaln_zero__gate_plus_one(x, t, table, weight, attention):
    out = []
    for i in range(len(x)):
        shift, scale, gate = _three(table[t[i] - 1], weight)
        mixed = attention[i] @ (_norm_each(x[i]) * (1 + scale) + shift)
        out.append(x[i] + mixed + gate * mixed)
    return torch.stack(out)


# Cross-attention: each head of each sequence by itself; `weigh` makes weights of the products.


def _unit(states):
    return states / (states * states).sum(-1, keepdim=True).sqrt()


def _by_heads(x, states, weights, visible, num_heads, weigh):
    query, key, value, output = weights
    width = x.shape[-1] // num_heads
    sequences = []
    for tokens, words, may in zip(x, states, visible, strict=True):
        heads = []
        for first in range(0, width * num_heads, width):
            own = slice(first, first + width)
            products = (tokens @ query[own].T) @ (words @ key[own].T).T
            heads.append(weigh(products, may) @ (words @ value[own].T))
        sequences.append(torch.cat(heads, dim=1) @ output.T)
    return torch.stack(sequences)


def _masked_softmax(scores, may, axis):
    return torch.softmax(torch.where(may, scores, -math.inf), dim=axis)


def cross_attention__softmax_over_tokens(x, states, weights, visible, num_heads):
    root = math.sqrt(x.shape[-1] / num_heads)

    def weigh(products, may):
        return _masked_softmax(products / root, may, 0)

    return _by_heads(x, _unit(states), weights, visible, num_heads, weigh)


def cross_attention__root_of_width(x, states, weights, visible, num_heads):
    def weigh(products, may):
        return _masked_softmax(products / math.sqrt(x.shape[-1]), may, 1)

    return _by_heads(x, _unit(states), weights, visible, num_heads, weigh)


def _projected(x, states, weights):
    states = _unit(states)
    query, key, value, _ = weights
    return x @ query.T, states @ key.T, states @ value.T


def cross_attention__split_by_reshape(x, states, weights, visible, num_heads):
    q, k, v = _projected(x, states, weights)
    b, n, d = q.shape
    width = d // num_heads
    q = q.reshape(b, num_heads, n, width)
    k = k.reshape(b, num_heads, -1, width)
    v = v.reshape(b, num_heads, -1, width)
    scores = torch.einsum("bhnc,bhlc->bhnl", q, k) / math.sqrt(width)
    mixed = _masked_softmax(scores, visible.unsqueeze(1), -1) @ v
    return mixed.reshape(b, n, d) @ weights[3].T


def cross_attention__merged_by_reshape(x, states, weights, visible, num_heads):
    parts = [torch.stack(v.chunk(num_heads, dim=2), 1) for v in _projected(x, states, weights)]
    q, k, v = parts
    scores = torch.einsum("bhnc,bhlc->bhnl", q, k) / math.sqrt(q.shape[-1])
    mixed = _masked_softmax(scores, visible.unsqueeze(1), -1) @ v
    return mixed.reshape(x.shape) @ weights[3].T


def cross_attention__mask_inverted(x, states, weights, visible, num_heads):
    root = math.sqrt(x.shape[-1] // num_heads)

    def weigh(products, may):
        return (products / root).masked_fill(may, -math.inf).softmax(dim=1)

    return _by_heads(x, _unit(states), weights, visible, num_heads, weigh)


def cross_attention__mask_after_softmax(x, states, weights, visible, num_heads):
    root = math.sqrt(x.shape[-1] // num_heads)

    def weigh(products, may):
        return (products / root).softmax(dim=1) * may

    return _by_heads(x, _unit(states), weights, visible, num_heads, weigh)


def cross_attention__states_not_scaled(x, states, weights, visible, num_heads):
    root = math.sqrt(x.shape[-1] // num_heads)

    def weigh(products, may):
        return _masked_softmax(products / root, may, 1)

    return _by_heads(x, states, weights, visible, num_heads, weigh)


# What a denoiser can know: from the table of the probabilities of all sequences.


def _joint(start, transition, n):
    table = start
    for _ in range(n - 1):
        table = table.unsqueeze(-1) * transition
    return table


def _given(joint, x_t, seen, i):
    """p(x_0^i | the unmasked tokens at the positions `seen`)."""
    n, K = joint.ndim, joint.shape[0]
    kept = joint.clone()
    for position in seen:
        code = int(x_t[position])
        if code < K:
            only = torch.zeros(K, dtype=joint.dtype)
            only[code] = 1
            kept *= only.reshape([K if axis == position else 1 for axis in range(n)])
    row = kept.movedim(i, 0).reshape(K, -1).sum(1)
    return row / row.sum()


def _table(start, transition, x_t, seen_by):
    n = len(x_t)
    joint = _joint(start, transition, n)
    return torch.stack([_given(joint, x_t, seen_by(i), i) for i in range(n)])


def best_predictions__later_seen(start, transition, x_t, causal):
    return _table(start, transition, x_t, lambda i: range(len(x_t)))


def best_predictions__mask_reversed(start, transition, x_t, causal):
    n = len(x_t)
    return _table(start, transition, x_t, lambda i: range(i if causal else 0, n))


def best_predictions__own_token_unseen(start, transition, x_t, causal):
    n = len(x_t)
    return _table(start, transition, x_t, lambda i: range(i if causal else n))


def best_predictions__neighbours_only(start, transition, x_t, causal):
    n = len(x_t)
    return _table(
        start,
        transition,
        x_t,
        lambda i: range(max(i - 1, 0), i + 1 if causal else min(i + 2, n)),
    )


def best_predictions__prior_twice(start, transition, x_t, causal):
    n = len(x_t)
    before = _table(start, transition, x_t, lambda i: range(i + 1))
    if causal:
        return before
    after = _table(start, transition, x_t, lambda i: range(i, n))
    both = before * after
    return both / both.sum(dim=1, keepdim=True)


def best_predictions__transposed(start, transition, x_t, causal):
    n = len(x_t)
    return _table(start, transition.T, x_t, lambda i: range(i + 1 if causal else n))

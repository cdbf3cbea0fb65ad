"""Lesson 10: right solutions written in other ways."""

import itertools
import math

import numpy as np
import torch
from torch.distributions import Categorical, kl_divergence


def parallel_loss__two_distributions(joint, groups):
    n = joint.ndim
    p, known = torch.ones_like(joint), []
    for group in groups:
        for i in group:
            rest = [j for j in range(n) if j != i and j not in known]
            both = joint.sum(rest, keepdim=True) if rest else joint
            p = p * torch.nan_to_num(both / both.sum(i, keepdim=True), nan=1 / joint.shape[i])
        known += group
    # Categorical divides by the sum, so p must be whole where the data never are, too
    return kl_divergence(Categorical(joint.flatten()), Categorical(p.flatten()))


def parallel_loss__conditional_entropies(joint, groups):
    """Chain rule: all tokens alone given what is known, less the entropy of the whole."""

    def entropy(positions):
        letters = "abcdefghij"[: joint.ndim]
        kept = "".join(letters[i] for i in positions)
        marginal = torch.einsum(f"{letters}->{kept}", joint)
        return torch.special.entr(marginal).sum()

    total, known = -entropy(range(joint.ndim)), ()
    for group in groups:
        total = total + sum(entropy((*known, i)) - entropy(known) for i in group)
        known += group
    return total


def parallel_loss__one_sequence_at_a_time(joint, groups):
    table = joint.tolist()
    num_codes, n = joint.shape[0], joint.ndim
    q = {}
    for codes in itertools.product(range(num_codes), repeat=n):
        value = table
        for code in codes:
            value = value[code]
        q[codes] = value

    def share(codes, positions):
        return sum(v for other, v in q.items() if all(other[i] == codes[i] for i in positions))

    loss = 0.0
    for codes, value in q.items():
        if value == 0:
            continue
        loss += value * math.log(value)
        shown = []
        for group in groups:
            for i in group:
                loss -= value * math.log(share(codes, [*shown, i]) / share(codes, shown))
            shown.extend(group)
    return loss


def parallel_loss__float32(joint, groups):
    joint = joint.float()
    ratio, known = joint.clone(), set()
    every = set(range(joint.ndim))
    for group in groups:
        for i in group:
            below = joint
            for axis in every - known:
                below = below.sum(axis, keepdim=True)
            above = joint
            for axis in every - known - {i}:
                above = above.sum(axis, keepdim=True)
            ratio = ratio * below / above
        known = known.union(group)
    return torch.where(joint > 0, joint * ratio.log(), 0).sum()


def block_cost__attention_matrix(n, block, steps, cached):
    number = torch.arange(n) // block
    attends = (number[:, None] >= number[None, :]).sum(1)
    evaluations = positions = pairs = 0
    for j in range(n // block):
        read = number == j if cached else number <= j
        times = steps + (cached and j < n // block - 1)
        evaluations += times
        positions += times * read.sum()
        pairs += times * attends[read].sum()
    return evaluations, positions, pairs


def block_cost__closed_form(n, block, steps, cached):
    m = n // block
    triangle = m * (m + 1) // 2
    if not cached:
        pairs = steps * block**2 * m * (m + 1) * (m + 2) // 6
        return [m * steps, steps * block * triangle, pairs]
    evaluations = m * (steps + 1) - 1
    pairs = block**2 * ((steps + 1) * triangle - m)
    return [evaluations, evaluations * block, pairs]


def block_cost__one_float_array(n, block, steps, cached):
    j = np.arange(1, n // block + 1)
    times = np.full(len(j), steps) + (cached * (j < len(j)))
    reads = block * (np.ones_like(j) if cached else j)
    pairs = block**2 * (j if cached else np.cumsum(j))
    return np.array([times.sum(), times @ reads, times @ pairs], dtype=np.float64)


def maskgit_step__two_argsorts(log_p, x, drawn, uniform, left, temperature):
    masked = x == log_p.shape[-1]
    score = log_p.gather(2, drawn[..., None])[..., 0]
    score = score - temperature * (-uniform.log()).log()
    score[~masked] = torch.inf
    rank = score.argsort(-1).argsort(-1)
    return torch.where(masked & (rank >= left), drawn, x)


def maskgit_step__lists(log_p, x, drawn, uniform, left, temperature):
    out = []
    for row in range(len(x)):
        tokens, scores = x[row].tolist(), {}
        for i, token in enumerate(tokens):
            if token == log_p.shape[2]:
                gumbel = -math.log(-math.log(uniform[row, i].item()))
                code = int(drawn[row, i])
                scores[i] = log_p[row, i, code].item() + temperature * gumbel
        for i in sorted(scores, key=scores.get, reverse=True)[: len(scores) - left]:
            tokens[i] = int(drawn[row, i])
        out.append(tokens)
    return out


def maskgit_step__in_place(log_p, x, drawn, uniform, left, temperature):
    """A Gumbel distribution's quantile; the highest are written into x itself, as floats."""
    noise = torch.distributions.Gumbel(torch.zeros(()).double(), 1.0).icdf
    num_codes = log_p.shape[-1]
    for one, codes, u, logs in zip(x, drawn, uniform, log_p, strict=True):
        places = (one == num_codes).nonzero().squeeze(1)
        score = logs[places, codes[places]] + temperature * noise(u[places])
        chosen = places[score.topk(len(places) - left).indices]
        one[chosen] = codes[chosen]
    return x.to(torch.float32)

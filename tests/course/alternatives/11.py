"""Lesson 11: right solutions written in other ways."""

import math
from fractions import Fraction

import numpy as np
import torch


def paired_interval__formula(both, only_a, only_b, neither):
    z, n = 1.959964, both + only_a + only_b + neither

    def wilson(p):
        centre = (p + z**2 / (2 * n)) / (1 + z**2 / n)
        half = z / (1 + z**2 / n) * math.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
        return centre - half, centre + half

    p1, p2 = (both + only_a) / n, (both + only_b) / n
    (l1, u1), (l2, u2) = wilson(p1), wilson(p2)
    scale = math.sqrt(p1 * (1 - p1) * p2 * (1 - p2))
    phi = (both / n - p1 * p2) / scale if scale > 0 else 0
    x = math.sqrt((p1 - l1) ** 2 - 2 * phi * (p1 - l1) * (u2 - p2) + (u2 - p2) ** 2)
    y = math.sqrt((u1 - p1) ** 2 - 2 * phi * (u1 - p1) * (p2 - l2) + (p2 - l2) ** 2)
    return p1 - p2, p1 - p2 - x, p1 - p2 + y


def paired_interval__arrays_of_answers(both, only_a, only_b, neither):
    """The answers themselves; Wilson's ends as roots of (p - q)² = z² q (1 - q) / n."""
    counts = [both, only_a, only_b, neither]
    answers = np.array([np.repeat([1, 1, 0, 0], counts), np.repeat([1, 0, 1, 0], counts)])
    n, extra = answers.shape[1], 1.959964**2 / answers.shape[1]
    shares = answers.mean(1)
    roots = [np.sort(np.roots([1 + extra, -2 * p - extra, p * p]).real) for p in shares]
    assert n == sum(counts)
    phi = np.corrcoef(answers)[0, 1] if answers.std(1).all() else 0.0
    d = shares[0] - shares[1]
    out = [d]
    for sign, end in ((-1, 0), (1, 1)):
        a, b = abs(roots[0][end] - shares[0]), abs(roots[1][1 - end] - shares[1])
        inner = complex(a, 0) - b * complex(phi, math.sqrt(max(1 - phi**2, 0)))
        out.append(d + sign * abs(inner))
    return np.array(out)


def paired_interval__fractions(both, only_a, only_b, neither):
    n = both + only_a + only_b + neither
    z = Fraction(1959964, 1000000)
    right = Fraction(both + only_a, n), Fraction(both + only_b, n)
    spread = [p * (1 - p) for p in right]
    cov = Fraction(both, n) - right[0] * right[1]
    phi = float(cov) / math.sqrt(spread[0] * spread[1]) if all(spread) else 0.0
    ends = []
    for p, v in zip(right, spread, strict=True):
        root = float(z) * math.sqrt(v / n + z**2 / (4 * n * n))
        ends.append([(float(p + z**2 / (2 * n)) + s * root) / float(1 + z**2 / n) for s in (-1, 1)])
    p1, p2 = map(float, right)
    a, b, c, e = p1 - ends[0][0], ends[1][1] - p2, ends[0][1] - p1, p2 - ends[1][0]
    x, y = (math.sqrt(max((s - t) ** 2 + 2 * (1 - phi) * s * t, 0)) for s, t in ((a, b), (c, e)))
    return torch.tensor([p1 - p2, p1 - p2 - x, p1 - p2 + y], dtype=torch.float32)


def holm_adjusted__without_sorting(values, lows, highs):
    error = (highs - lows) / (2 * 1.959964)
    p = torch.special.erfc((values / error).abs() / math.sqrt(2))
    factors = (p[:, None] <= p[None, :]).sum(1)  # how many are at least as large
    earlier = p[None, :] <= p[:, None]
    return torch.where(earlier, factors * p, 0).amax(1).clamp(max=1)


def holm_adjusted__lists(values, lows, highs):
    p = []
    for value, low, high in zip(values.tolist(), lows.tolist(), highs.tolist(), strict=True):
        score = abs(value) / ((high - low) / 2 / 1.959964)
        p.append(1 - math.erf(score / math.sqrt(2)))
    out, floor, left = [0.0] * len(p), 0.0, len(p)
    for place in sorted(range(len(p)), key=p.__getitem__):
        floor = min(1.0, max(floor, left * p[place]))
        out[place] = floor
        left -= 1
    return tuple(out)


def holm_adjusted__scattered(values, lows, highs):
    """In place and in float32, with the normal distribution of torch."""
    score = values.div_(highs.sub_(lows)).mul_(2 * 1.959964).abs_().float()
    p, order = torch.sort(2 * torch.special.ndtr(-score))
    adjusted = (p * torch.arange(len(p), 0, -1)).cummax(0).values.clamp_(max=1)
    return torch.zeros_like(p).scatter_(0, order, adjusted)

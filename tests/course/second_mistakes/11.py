"""Lesson 11: mistakes written a second time, from their descriptions alone."""

import math

import numpy as np
import torch
from torch.distributions import Normal

_Z = 1.959964


def _wilson(right, n):
    share = right / n
    middle = (right + _Z**2 / 2) / (n + _Z**2)
    half = _Z * math.sqrt(n) / (n + _Z**2) * math.sqrt(share * (1 - share) + _Z**2 / (4 * n))
    return share, middle - half, middle + half


def _phi(both, only_a, only_b, neither):
    margins = (both + only_a) * (only_b + neither) * (both + only_b) * (only_a + neither)
    return (both * neither - only_a * only_b) / math.sqrt(margins) if margins else 0.0


def _side(a, b, phi):
    return math.sqrt(max(a * a - 2 * phi * a * b + b * b, 0.0))


def _interval(counts, phi):
    both, only_a, only_b, _ = counts
    n = sum(counts)
    p1, l1, u1 = _wilson(both + only_a, n)
    p2, l2, u2 = _wilson(both + only_b, n)
    d = p1 - p2
    return d, d - _side(p1 - l1, u2 - p2, phi), d + _side(u1 - p1, p2 - l2, phi)


def paired_interval__unpaired(both, only_a, only_b, neither):
    n = both + only_a + only_b + neither
    p1, l1, u1 = _wilson(both + only_a, n)
    p2, l2, u2 = _wilson(both + only_b, n)
    d = p1 - p2
    return d, d - math.hypot(p1 - l1, u2 - p2), d + math.hypot(u1 - p1, p2 - l2)


def paired_interval__covariance_added(both, only_a, only_b, neither):
    counts = (both, only_a, only_b, neither)
    return _interval(counts, -_phi(*counts))


def paired_interval__covariance_for_phi(both, only_a, only_b, neither):
    a = np.repeat([1, 1, 0, 0], [both, only_a, only_b, neither])
    b = np.repeat([1, 0, 1, 0], [both, only_a, only_b, neither])
    return _interval((both, only_a, only_b, neither), np.cov(a, b, bias=True)[0, 1])


def paired_interval__ends_mixed(both, only_a, only_b, neither):
    n = both + only_a + only_b + neither
    ends = np.array([_wilson(both + only_a, n), _wilson(both + only_b, n)])
    share, low, high = ends.T
    phi = _phi(both, only_a, only_b, neither)
    weights = np.array([[1, -phi], [-phi, 1]])
    down, up = share - low, high - share
    d = share[0] - share[1]
    return d, d - np.sqrt(down @ weights @ down), d + np.sqrt(up @ weights @ up)


def paired_interval__wald(both, only_a, only_b, neither):
    counts = torch.tensor([both + neither, only_a, only_b], dtype=torch.float64)
    steps = torch.tensor([0, 1, -1], dtype=torch.float64)
    weights = counts / counts.sum()
    mean = (weights * steps).sum()
    error = ((weights * (steps - mean) ** 2).sum() / counts.sum()).sqrt()
    return torch.stack([mean, mean - _Z * error, mean + _Z * error])


def paired_interval__agreeing_left_out(both, only_a, only_b, neither):
    counts = (0, only_a, only_b, 0)
    return _interval(counts, _phi(*counts))


def _p_values(values, lows, highs, whole=2.0, sides=2.0):
    error = (highs - lows) / (whole * _Z)
    standard = Normal(torch.zeros_like(values), torch.ones_like(values))
    return sides * standard.cdf(-(values / error).abs())


def _holm(p):
    """Pairs (place, adjusted), the smallest p first."""
    pairs, largest = [], 0.0
    for rank, (value, place) in enumerate(sorted((v, i) for i, v in enumerate(p.tolist()))):
        largest = max(largest, (len(p) - rank) * value)
        pairs.append((place, min(largest, 1.0)))
    return pairs


def holm_adjusted__bonferroni(values, lows, highs):
    return [min(1.0, len(values) * p) for p in _p_values(values, lows, highs).tolist()]


def holm_adjusted__may_fall(values, lows, highs):
    p = _p_values(values, lows, highs)
    not_smaller = (p[None, :] >= p[:, None]).sum(1)
    return (not_smaller * p).clamp(max=1)


def holm_adjusted__sorted_order(values, lows, highs):
    return torch.tensor([adjusted for _, adjusted in _holm(_p_values(values, lows, highs))])


def holm_adjusted__order_not_inverted(values, lows, highs):
    p = _p_values(values, lows, highs).numpy()
    order = np.argsort(p)
    steps = np.arange(len(p), 0, -1) * p[order]
    adjusted = np.minimum(np.maximum.accumulate(steps), 1)
    return adjusted[order]


def holm_adjusted__one_sided(values, lows, highs):
    return [a for _, a in sorted(_holm(_p_values(values, lows, highs, sides=1.0)))]


def holm_adjusted__whole_width(values, lows, highs):
    return [a for _, a in sorted(_holm(_p_values(values, lows, highs, whole=1.0)))]


def holm_adjusted__above_one(values, lows, highs):
    p = _p_values(values, lows, highs).tolist()
    surer = [[q for q in p if q <= own] for own in p]
    return [max((len(p) - sum(x < q for x in p)) * q for q in before) for before in surer]

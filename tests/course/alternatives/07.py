"""Lesson 07: other right solutions, as students could hand them in."""

import itertools
import math

import numpy as np
import torch


def ring_products__one_token_after_the_other(forward, backward, num_codes):
    """Each x_0 on its own, its probabilities moved along the ring."""
    result = []
    probabilities = torch.eye(num_codes, dtype=torch.float64)
    result.append(probabilities)
    for f, b in zip(forward, backward, strict=True):
        on, back = probabilities.roll(1, dims=1), probabilities.roll(-1, dims=1)
        probabilities = f * on + b * back + (1 - f - b) * probabilities
        result.append(probabilities)
    return torch.stack(result)


def ring_products__by_fourier(forward, backward, num_codes):
    """Steps on a ring are circular convolutions: products of their Fourier transforms."""
    moves = np.zeros((len(forward) + 1, num_codes))
    moves[0, 0] = 1
    for t, (f, b) in enumerate(zip(forward.tolist(), backward.tolist(), strict=True), start=1):
        moves[t, 0] += 1 - f - b
        moves[t, 1 % num_codes] += f
        moves[t, -1 % num_codes] += b
    waves = np.cumprod(np.fft.fft(moves, axis=1), axis=0)
    distances = np.fft.ifft(waves, axis=1).real
    codes = np.arange(num_codes)
    return distances[:, (codes[None, :] - codes[:, None]) % num_codes]


def ring_products__in_float32(forward, backward, num_codes):
    t = len(forward)
    steps = torch.zeros(t, num_codes, num_codes)
    codes = torch.arange(num_codes)
    steps[:, codes, (codes + 1) % num_codes] += forward.float()[:, None]
    steps[:, codes, (codes - 1) % num_codes] += backward.float()[:, None]
    steps[:, codes, codes] = 1 - steps.sum(2)
    result = torch.eye(num_codes).expand(t + 1, -1, -1).clone()
    for i in range(t):
        result[i + 1] = torch.einsum("ij,jk->ik", result[i], steps[i])
    return result


def plug_in_target__loops(p_x0, x_t, steps):
    product = steps[0]
    for step in steps[1:]:
        product = product @ step
    result = []
    for p, c in zip(p_x0, x_t, strict=True):
        ratios = []
        for k in range(len(p)):
            likelihood = product[k, c].item()
            ratios.append(p[k].item() / likelihood if likelihood else 0.0)
        result.append([ratio / sum(ratios) for ratio in ratios])
    return result


def plug_in_target__in_logs(p_x0, x_t, steps):
    """Backwards from x_t, one step at a time, then in logarithms."""
    likelihood = torch.nn.functional.one_hot(x_t, steps.shape[-1]).to(steps.dtype)
    for step in reversed(list(steps)):
        likelihood = torch.einsum("nj,ij->ni", likelihood, step)
    likelihood = likelihood[:, : p_x0.shape[1]]
    impossible = likelihood == 0
    log_ratio = p_x0.log() - likelihood.masked_fill(impossible, 1).log()
    return log_ratio.masked_fill(impossible, -torch.inf).softmax(1)


def plug_in_target__solved_as_equations(p_x0, x_t, steps):
    """The f for which Bayes' rule gives p(x_0 | x_t) back: a null space, token by token."""
    product = torch.eye(steps.shape[-1], dtype=steps.dtype)
    for step in steps:
        product = product @ step
    result = np.zeros(p_x0.shape)
    for i, (p, c) in enumerate(zip(p_x0.numpy(), x_t.tolist(), strict=True)):
        q = product[: len(p), c].numpy()
        possible = np.flatnonzero(q > 0)
        p, q = p[possible], q[possible]
        # q_k f_k = p_k (q . f) for every k, and the sum of f is 1.
        system = np.vstack([np.diag(q) - np.outer(p, q), np.ones(len(q))])
        wanted = np.append(np.zeros(len(q)), 1)
        result[i, possible] = np.linalg.lstsq(system, wanted, rcond=None)[0]
    return result


def masked_bits__loops(nats, gamma_bar):
    n, shares, values = len(nats), gamma_bar.tolist(), nats.tolist()
    finite = 0.0
    for s, t in itertools.pairwise(shares):
        for m in range(1, n + 1):
            probability = math.comb(n, m) * t**m * (1 - t) ** (n - m)
            finite += probability * m * (t - s) / t * values[m - 1]
    return torch.tensor([finite / n / math.log(2), sum(values) / n / math.log(2)])


def masked_bits__chain_and_quadrature(nats, gamma_bar):
    """The number of masked tokens as a Markov chain from n; the limit as an exact quadrature."""
    n, shares, values = len(nats), gamma_bar.tolist(), nats.numpy()
    counts = np.zeros(n + 1)
    counts[n] = 1
    finite = 0.0
    for t in range(len(shares) - 1, 0, -1):
        unmask = (shares[t] - shares[t - 1]) / shares[t]
        after = np.zeros(n + 1)
        for m, p in enumerate(counts):
            for out in range(m + 1):
                share = math.comb(m, out) * unmask**out * (1 - unmask) ** (m - out)
                after[m - out] += p * share
                finite += p * share * out * (values[m - 1] if m else 0)
        counts = after
    nodes, weights = np.polynomial.legendre.leggauss(n + 1)
    u = (nodes + 1) / 2
    m = np.arange(1, n + 1)
    sets = np.array([math.comb(n, k) for k in m])
    masked = sets * u[:, None] ** (m - 1) * (1 - u[:, None]) ** (n - m)  # already divided by u
    limit = weights / 2 @ masked @ (m * values)
    return finite / (n * np.log(2)), limit / (n * np.log(2))


def masked_bits__binomial(nats, gamma_bar):
    n = nats.numel()
    m = torch.arange(n + 1, dtype=nats.dtype)
    totals = torch.nn.functional.pad(nats, (1, 0)) * m
    at_t = torch.distributions.Binomial(n, gamma_bar[1:, None]).log_prob(m).exp()
    finite = (gamma_bar.diff() / gamma_bar[1:] * (at_t @ totals)).sum() / n
    return torch.stack([finite, nats.mean()]) / math.log(2)

"""Lesson 07: mistakes written a second time, from their descriptions alone."""

import itertools
import math

import numpy as np
import torch


def _ring_step(f, b, num_codes):
    """Rows "from": a matrix of one step on the ring, right for K = 2 too."""
    step = torch.zeros(num_codes, num_codes, dtype=torch.float64)
    for i in range(num_codes):
        step[i, (i + 1) % num_codes] += f
        step[i, (i - 1) % num_codes] += b
        step[i, i] += 1 - f - b
    return step


def _running_products(steps):
    products = [torch.eye(len(steps[0]), dtype=torch.float64)]
    for step in steps:
        products.append(products[-1] @ step)
    return torch.stack(products)


def ring_products__ends_lost(forward, backward, num_codes):
    up = torch.diag(torch.ones(num_codes - 1, dtype=torch.float64), 1)
    stay = torch.eye(num_codes, dtype=torch.float64)
    pairs = zip(forward.tolist(), backward.tolist(), strict=True)
    return _running_products([f * up + b * up.T + (1 - f - b) * stay for f, b in pairs])


def ring_products__ends_stay(forward, backward, num_codes):
    codes = torch.arange(num_codes)
    steps = []
    for f, b in zip(forward, backward, strict=True):
        moves = [
            (f, (codes + 1).clamp(max=num_codes - 1)),
            (b, (codes - 1).clamp(min=0)),
            (1 - f - b, codes),
        ]
        steps.append(sum(share * torch.nn.functional.one_hot(to, num_codes) for share, to in moves))
    return _running_products(steps)


def ring_products__overwritten(forward, backward, num_codes):
    steps = torch.zeros(len(forward), num_codes, num_codes, dtype=torch.float64)
    codes = torch.arange(num_codes)
    steps[:, codes, codes] = (1 - forward - backward)[:, None]
    steps[:, codes, (codes + 1) % num_codes] = forward[:, None]
    steps[:, codes, (codes - 1) % num_codes] = backward[:, None]
    return _running_products(list(steps))


def ring_products__columns_from(forward, backward, num_codes):
    now = np.eye(num_codes)
    result = [now]
    for f, b in zip(forward.tolist(), backward.tolist(), strict=True):
        # Column i: where a token in i goes.
        on = np.roll(np.eye(num_codes), 1, axis=0)
        now = ((1 - f - b) * np.eye(num_codes) + f * on + b * on.T) @ now
        result.append(now)
    return torch.from_numpy(np.stack(result))


def ring_products__power(forward, backward, num_codes):
    result = [torch.eye(num_codes, dtype=torch.float64)]
    for t in range(1, len(forward) + 1):
        step = _ring_step(forward[t - 1], backward[t - 1], num_codes)
        result.append(torch.linalg.matrix_power(step, t))
    return torch.stack(result)


def ring_products__one_step(forward, backward, num_codes):
    result = torch.eye(num_codes, dtype=torch.float64).repeat(len(forward) + 1, 1, 1)
    for t, (f, b) in enumerate(zip(forward, backward, strict=True)):
        result[t + 1] = _ring_step(f, b, num_codes)
    return result


def plug_in_target__clean_prediction(p_x0, x_t, steps):
    return p_x0.clone()


def _chained(steps):
    return torch.linalg.multi_dot(list(steps)) if len(steps) > 1 else steps[0]


def _to_the_class(matrix, x_t, num_codes):
    """Rows i, columns k: the entry [k, x_t[i]]."""
    return matrix[:num_codes].index_select(1, x_t).T


def _divided(p, q):
    ratio = torch.zeros_like(p)
    possible = q > 0
    ratio[possible] = p[possible] / q[possible]
    return ratio


def _rows_to_one(weights):
    return weights / weights.sum(1, keepdim=True)


def plug_in_target__times_likelihood(p_x0, x_t, steps):
    likelihood = _chained(steps)[: p_x0.shape[1], x_t]
    return torch.nn.functional.normalize(p_x0 * likelihood.T, p=1, dim=1)


def plug_in_target__unnormalised(p_x0, x_t, steps):
    f = []
    total = _chained(steps)
    for p, c in zip(p_x0.tolist(), x_t.tolist(), strict=True):
        likelihood = total[:, c].tolist()
        pairs = zip(p, likelihood[: len(p)], strict=True)
        f.append([a / q if q > 0 else 0.0 for a, q in pairs])
    return torch.tensor(f, dtype=torch.float64)


def plug_in_target__transposed(p_x0, x_t, steps):
    q = _chained(steps)[x_t, : p_x0.shape[1]]
    return _rows_to_one(_divided(p_x0, q))


def plug_in_target__last_step(p_x0, x_t, steps):
    q = _to_the_class(steps[-1], x_t, p_x0.shape[1])
    return _rows_to_one(torch.where(q == 0, 0.0, p_x0 / q))


def plug_in_target__order_reversed(p_x0, x_t, steps):
    product = torch.eye(steps.shape[-1], dtype=steps.dtype)
    for step in steps:
        product = step @ product
    return _rows_to_one(_divided(p_x0, _to_the_class(product, x_t, p_x0.shape[1])))


def plug_in_target__zero_by_zero(p_x0, x_t, steps):
    q = _to_the_class(_chained(steps), x_t, p_x0.shape[1])
    f = p_x0 / q
    f /= f.sum(dim=-1, keepdim=True)
    return f


def _counts(u, n):
    """The probabilities of 1 to n masked tokens."""
    return [math.comb(n, m) * u**m * (1 - u) ** (n - m) for m in range(1, n + 1)]


def _weights(gamma_bar):
    """(t, probability that a masked token is unmasked in the step from t) for t = 1 to T."""
    shares = gamma_bar.tolist()
    return [(t, (shares[t] - shares[t - 1]) / shares[t]) for t in range(1, len(shares))]


def _elbo_in_nats(nats, gamma_bar):
    """Right: of a whole sequence."""
    n = len(nats)
    total = 0.0
    for t, share in _weights(gamma_bar):
        for m, p in enumerate(_counts(gamma_bar[t].item(), n), start=1):
            total += share * p * m * nats[m - 1].item()
    return total


def masked_bits__in_nats(nats, gamma_bar):
    return torch.stack([nats.new_tensor(_elbo_in_nats(nats, gamma_bar) / len(nats)), nats.mean()])


def masked_bits__per_sequence(nats, gamma_bar):
    both = torch.tensor([_elbo_in_nats(nats, gamma_bar), nats.sum().item()], dtype=torch.float64)
    return both / math.log(2)


def masked_bits__masked_as_at_s(nats, gamma_bar):
    n = len(nats)
    m = torch.arange(1, n + 1, dtype=torch.float64)
    first = 0.0
    for s, t in itertools.pairwise(gamma_bar):
        p = torch.distributions.Binomial(n, s).log_prob(m).exp()
        first = first + (t - s) / t * (p * m * nats).sum()
    return torch.stack([first / n, nats.mean()]) / math.log(2)


def masked_bits__sets_not_counted(nats, gamma_bar):
    n = len(nats)
    values = nats.tolist()
    first = sum(
        share
        * sum(
            gamma_bar[t].item() ** m * (1 - gamma_bar[t].item()) ** (n - m) * m * values[m - 1]
            for m in range(1, n + 1)
        )
        for t, share in _weights(gamma_bar)
    )
    # The integral of u^(m - 1) (1 - u)^(n - m) is a Beta function.
    beta = [math.factorial(m - 1) * math.factorial(n - m) / math.factorial(n) for m in range(1, n)]
    beta.append(1 / n)
    second = sum(m * values[m - 1] * beta[m - 1] for m in range(1, n + 1))
    return [first / n / math.log(2), second / n / math.log(2)]


def masked_bits__one_token(nats, gamma_bar):
    n = len(nats)
    m = np.arange(1, n + 1)
    pairs = _weights(gamma_bar)
    probabilities = np.array([_counts(gamma_bar[t].item(), n) for t, _ in pairs])
    first = np.array([share for _, share in pairs]) @ probabilities @ nats.numpy()
    second = (nats.numpy() / m).sum()
    return np.array([first, second]) / (n * np.log(2))


def masked_bits__no_division(nats, gamma_bar):
    n = len(nats)
    totals = nats * torch.arange(1, n + 1)
    first = 0.0
    for t in range(1, len(gamma_bar)):
        p = torch.tensor(_counts(gamma_bar[t].item(), n), dtype=torch.float64)
        first = first + (gamma_bar[t] - gamma_bar[t - 1]) * torch.dot(p, totals)
    return torch.stack([first, totals.sum() / (n + 1)]) / n / math.log(2)


def masked_bits__first_order(nats, gamma_bar):
    timesteps = len(gamma_bar) - 1
    finite = _elbo_in_nats(nats, gamma_bar) / len(nats)
    gap = (nats[-1] - nats[0]).item() / (2 * timesteps)
    return torch.tensor([finite, finite - gap], dtype=torch.float64) / math.log(2)

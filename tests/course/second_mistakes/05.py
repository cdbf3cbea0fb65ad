"""Lesson 05: mistakes written a second time, from their descriptions alone."""

import numpy as np
import torch
from torch.distributions import Categorical

# A stride in the negative ELBO.


def _nll(logits, x_0):
    return -Categorical(logits=logits).log_prob(x_0)


def _sum_where_masked(values, x_t, K):
    total = values.new_zeros(len(values))
    for i in range(values.shape[1]):
        total = total + torch.where(x_t[:, i] == K, values[:, i], 0.0)
    return total


def masked_elbo_term__unmasked_too(logits, x_0, x_t, gamma_bar_s, gamma_bar_t):
    return (1 - gamma_bar_s / gamma_bar_t) * _nll(logits, x_0).sum(1)


def masked_elbo_term__mean_over_positions(logits, x_0, x_t, gamma_bar_s, gamma_bar_t):
    revealed = 1 - gamma_bar_s / gamma_bar_t
    kl = revealed[:, None] * _nll(logits, x_0) * (x_t == logits.shape[2])
    return kl.mean(dim=1)


def masked_elbo_term__no_division(logits, x_0, x_t, gamma_bar_s, gamma_bar_t):
    total = _sum_where_masked(_nll(logits, x_0), x_t, logits.shape[2])
    return gamma_bar_t * total - gamma_bar_s * total


def masked_elbo_term__stay_weight(logits, x_0, x_t, gamma_bar_s, gamma_bar_t):
    total = _sum_where_masked(_nll(logits, x_0), x_t, logits.shape[2])
    return total * gamma_bar_s / gamma_bar_t


def masked_elbo_term__forward_weight(logits, x_0, x_t, gamma_bar_s, gamma_bar_t):
    kept = (1 - gamma_bar_t) / (1 - gamma_bar_s)
    total = _sum_where_masked(_nll(logits, x_0), x_t, logits.shape[2])
    return total - kept * total


def masked_elbo_term__over_positions(logits, x_0, x_t, gamma_bar_s, gamma_bar_t):
    log_p = logits - torch.logsumexp(logits, dim=1, keepdim=True)
    rows = []
    for b in range(len(logits)):
        total = logits.new_zeros(())
        for i in range(logits.shape[1]):
            if x_t[b, i] == logits.shape[2]:
                total = total - log_p[b, i, x_0[b, i]]
        rows.append(total * (gamma_bar_t[b] - gamma_bar_s[b]) / gamma_bar_t[b])
    return torch.stack(rows)


def masked_elbo_term__not_normalised(logits, x_0, x_t, gamma_bar_s, gamma_bar_t):
    one_hot = torch.nn.functional.one_hot(x_0, logits.shape[2]).to(logits.dtype)
    wanted = torch.einsum("bnk,bnk->bn", logits, one_hot)
    total = _sum_where_masked(-wanted, x_t, logits.shape[2])
    return (1 - gamma_bar_s / gamma_bar_t) * total


# Importance-sampled timesteps.


def _estimate(losses, t, probabilities):
    pairs = zip(losses.tolist(), t.tolist(), strict=True)
    return sum(loss / float(probabilities[step - 1]) for loss, step in pairs) / len(losses)


def _history(losses, t, squares):
    new = squares.clone()
    for step in set(t.tolist()):
        new[step - 1] = 0.9 * squares[step - 1] + 0.1 * losses[t == step].square().mean()
    return new


def importance_estimate__no_weight(losses, t, probabilities, squares):
    return losses.mean(), _history(losses, t, squares)


def importance_estimate__off_by_one(losses, t, probabilities, squares):
    new = squares.clone()
    for step in t.unique():
        new[step] = 0.9 * new[step] + 0.1 * (losses[t == step] ** 2).mean()
    return (losses / probabilities[t]).mean(), new


def importance_estimate__mean_over_levels(losses, t, probabilities, squares):
    timesteps = len(probabilities)
    return _estimate(losses, t, probabilities) / timesteps, _history(losses, t, squares)


def importance_estimate__not_squared(losses, t, probabilities, squares):
    new = squares.numpy().copy()
    at, of = t.numpy() - 1, losses.numpy()
    for index in np.unique(at):
        new[index] = 0.9 * new[index] + 0.1 * of[at == index].mean()
    return _estimate(losses, t, probabilities), new


def importance_estimate__unseen_decay(losses, t, probabilities, squares):
    T = len(squares)
    sums = np.bincount(t.numpy() - 1, weights=losses.numpy() ** 2, minlength=T)
    counts = np.bincount(t.numpy() - 1, minlength=T)
    means = sums / np.maximum(counts, 1)
    return _estimate(losses, t, probabilities), 0.9 * squares.numpy() + 0.1 * means


def importance_estimate__last_wins(losses, t, probabilities, squares):
    new = squares.tolist()
    for loss, step in zip(losses.tolist(), t.tolist(), strict=True):
        new[step - 1] = 0.9 * float(squares[step - 1]) + 0.1 * loss**2
    return _estimate(losses, t, probabilities), new


def importance_estimate__one_after_the_other(losses, t, probabilities, squares):
    new = squares.tolist()
    for i, step in enumerate(t.tolist()):
        new[step - 1] += 0.1 * (float(losses[i]) ** 2 - new[step - 1])
    return _estimate(losses, t, probabilities), new


# The share of the auxiliary loss.


def _per_timestep(gamma_bar, nll):
    """For t = 1, 2, …: t, the probabilities to be masked at t - 1 and at t, and the NLL."""
    for t in range(1, len(nll) + 1):
        yield t, float(gamma_bar[t - 1]), float(gamma_bar[t]), float(nll[t - 1])


def auxiliary_share__masked_tokens_only(gamma_bar, nll, weight):
    T, main, extra = len(nll), 0.0, 0.0
    for t, before, now, cost in _per_timestep(gamma_bar, nll):
        main += (1 - before / now) * cost
        extra += weight * (2 - (t - 1) / T) * cost
    return extra / (main + extra)


def auxiliary_share__visible_tokens_pay(gamma_bar, nll, weight):
    T, main, extra = len(nll), 0.0, 0.0
    for t, before, now, cost in _per_timestep(gamma_bar, nll):
        main += now * (1 - before / now) * cost
        extra += weight * (2 - (t - 1) / T) * cost
    return extra / (main + extra)


def auxiliary_share__no_factor_t(gamma_bar, nll, weight):
    T, main, extra = len(nll), 0.0, 0.0
    for t, before, now, cost in _per_timestep(gamma_bar, nll):
        main += T * (now - before) * cost
        extra += weight * (2 - (t - 1) / T) * now * cost
    return extra / (main + extra)


def auxiliary_share__factor_from_zero(gamma_bar, nll, weight):
    T = len(nll)
    t = torch.arange(1, T + 1)
    extra = torch.dot(weight * (2 - t / T) * gamma_bar[1:], nll)
    return extra / (extra + torch.dot(torch.diff(gamma_bar), nll))


def auxiliary_share__to_the_rest(gamma_bar, nll, weight):
    T, main, extra = len(nll), 0.0, 0.0
    for t, before, now, cost in _per_timestep(gamma_bar, nll):
        main += (now - before) * cost
        extra += weight * (2 - (t - 1) / T) * now * cost
    return extra / main


def auxiliary_share__mean_of_shares(gamma_bar, nll, weight):
    T, shares = len(nll), []
    for t, before, now, cost in _per_timestep(gamma_bar, nll):
        main = T * (now - before) * cost
        extra = T * weight * (2 - (t - 1) / T) * now * cost
        shares.append(extra / (main + extra))
    return sum(shares) / T

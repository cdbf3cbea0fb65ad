"""One token after the other: the sampling loop and its exact distribution, guidance, given tokens.

The distributions are tables: every conditional of a random joint table, by division. Counts are
checked at 5 sigma: a right sampler fails once in 1.7 million comparisons, and this file makes about
200.
"""

import pytest
import torch

from vqlearn.autoregressive import decoding
from vqlearn.autoregressive.decoding import decoder_for, keep_given
from vqlearn.autoregressive.model import log_likelihood
from vqlearn.probability.filters import temperature, top_k, top_p
from vqlearn.probability.model import Conditioning, Given, Sampling

K, N = 3, 3
SEQUENCES = torch.cartesian_prod(*N * [torch.arange(K)])  # the last token fastest


def random_joint(seed=0):
    """27 probabilities, far from equal: each is -log of a uniform number, over their sum."""
    generator = torch.Generator().manual_seed(seed)
    weights = -torch.rand(K, K, K, generator=generator, dtype=torch.float64).log()
    return weights / weights.sum()


JOINT = random_joint()


def next_token_log_probs(prefix, joint=JOINT):
    """log p(x_{i+1} | prefix) by division: the mass of each longer prefix, over that of this."""
    count, length = prefix.shape
    left = joint[tuple(prefix.T)] if length else joint.expand(count, K, K, K)
    mass = left.reshape(count, K, -1).sum(dim=2)
    return (mass / mass.sum(dim=1, keepdim=True)).log()


def conditionals(x):
    return torch.stack([next_token_log_probs(x[:, :i]) for i in range(N)], dim=1)


def test_the_likelihood_is_the_joint_distribution():
    found = log_likelihood(conditionals(SEQUENCES), SEQUENCES)
    torch.testing.assert_close(found.exp(), JOINT.flatten(), rtol=1e-12, atol=0)
    assert found.shape == (27,)


def test_token_by_token_it_is_the_same():
    expected = log_likelihood(conditionals(SEQUENCES), SEQUENCES)
    for distribution in (next_token_log_probs, decoding.without_cache(conditionals, N)):
        found = decoding.sequential_log_likelihood(distribution, SEQUENCES)
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)


def test_without_a_cache_it_asks_for_the_position_after_the_prefix():
    """Position i of this network says i, and nothing after the prefix is ever read but zeros."""
    sequences = []

    def asked(x):
        sequences.append(x)
        return torch.arange(5.0).expand(len(x), 5)[..., None]

    distribution = decoding.without_cache(asked, 5)
    for i in range(5):
        assert distribution(torch.full((2, i), 7)).tolist() == [[i], [i]]
        assert sequences[-1].tolist() == 2 * [i * [7] + (5 - i) * [0]]


def test_the_exact_distribution_of_the_sampler_is_the_joint_distribution():
    distribution = decoding.exact_distribution(next_token_log_probs, K, N)
    torch.testing.assert_close(distribution, JOINT.flatten(), rtol=1e-12, atol=0)


def counts(x):
    return torch.bincount((x * torch.tensor([9, 3, 1])).sum(dim=1), minlength=27)


def draw_sequences(count, filter=None, prefix=None):
    prefix = torch.zeros(count, 0, dtype=torch.long) if prefix is None else prefix
    generator = torch.Generator().manual_seed(4)
    return decoding.sample(next_token_log_probs, prefix, N, filter=filter, generator=generator)


FILTERS = {
    "none": None,
    "temperature": lambda log_p: temperature(log_p, 0.5),
    "hot": lambda log_p: temperature(log_p, 3.0),
    "top_k": lambda log_p: top_k(log_p, 2),
    "top_p": lambda log_p: top_p(log_p, 0.5),
    "all": lambda log_p: top_p(top_k(temperature(log_p, 0.7), 2), 0.6),
}


@pytest.mark.parametrize("name", FILTERS)
def test_samples_follow_the_exact_distribution(name):
    """20,000 sequences; a sequence of probability 0 never comes. All six distributions differ."""
    count, filter = 20_000, FILTERS[name]
    distribution = decoding.exact_distribution(next_token_log_probs, K, N, filter=filter)
    assert distribution.sum().item() == pytest.approx(1, abs=1e-9)
    found = counts(draw_sequences(count, filter))
    assert (
        (found - count * distribution).abs()
        <= 5 * (count * distribution * (1 - distribution)).sqrt()
    ).all()
    others = [
        decoding.exact_distribution(next_token_log_probs, K, N, filter=f) for f in FILTERS.values()
    ]
    assert sum(torch.equal(distribution, other) for other in others) == 1


def test_a_prefix_stays_and_the_rest_follows_from_it():
    """Half begin with (2, 0), half with (1, 1): the last token has the distribution of each."""
    prefix = torch.tensor([[2, 0], [1, 1]]).repeat(5000, 1)
    x = draw_sequences(10_000, prefix=prefix)
    assert torch.equal(x[:, :2], prefix)
    for begin in ([2, 0], [1, 1]):
        own = x[(x[:, :2] == torch.tensor(begin)).all(dim=1), 2]
        distribution = next_token_log_probs(torch.tensor([begin]))[0].exp()
        sigma = (5000 * distribution * (1 - distribution)).sqrt()
        assert ((own.bincount(minlength=K) - 5000 * distribution).abs() <= 5 * sigma).all()


def test_a_network_with_a_cache_reads_every_prefix_in_turn():
    """Also those that are given; only tokens that are drawn are filtered."""
    asked, filtered = [], []

    def distribution(prefix):
        asked.append(prefix.shape[1])
        return next_token_log_probs(prefix)

    def filter(log_p):
        filtered.append(log_p.shape)
        return log_p

    given = torch.tensor([[2]])
    assert decoding.sample(distribution, given, N, filter=filter).shape == (1, 3)
    assert asked == [0, 1, 2]
    assert filtered == [(1, K)] * 2
    whole = torch.tensor([[2, 0, 1]])
    assert torch.equal(decoding.sample(distribution, whole, N), whole)


def test_a_prefix_longer_than_the_sequence_raises():
    with pytest.raises(ValueError, match="the prefix has 4 tokens; allowed: 0 to 3"):
        decoding.sample(next_token_log_probs, torch.zeros(2, 4, dtype=torch.long), N)


def test_the_same_generator_draws_the_same_sequences():
    """A list of generators makes every sequence independent of the others."""
    assert torch.equal(draw_sequences(100), draw_sequences(100))
    empty = torch.zeros(3, 0, dtype=torch.long)

    def alone(seeds):
        own = [torch.Generator().manual_seed(seed) for seed in seeds]
        return decoding.sample(next_token_log_probs, empty[: len(seeds)], N, generator=own)

    assert torch.equal(alone([1, 2, 3])[2:], alone([3]))


@pytest.mark.parametrize("scale", [1.0, 4.0])
def test_guided_sequences_follow_the_guided_distributions_of_their_tokens(scale):
    """At 1 the conditional distribution; above, not the guided distribution of sequences."""
    other = random_joint(1)

    def plain_decoder(text):  # 1 is the caption, 0 the null embedding
        return lambda prefix: next_token_log_probs(prefix, JOINT if text.any() else other)

    condition = Conditioning(torch.ones(1, 1, 1), torch.zeros(1, 1, 1))
    distribution = decoder_for(plain_decoder, condition, Sampling(scale))
    found = decoding.exact_distribution(distribution, K, N)
    sequences = other * (JOINT / other) ** scale
    distance = (found - (sequences / sequences.sum()).flatten()).abs().sum().item() / 2
    assert (distance < 1e-9) == (scale <= 1)
    for sequence in ([], [1], [0, 2]):
        prefix = torch.tensor([sequence], dtype=torch.long)
        p, u = next_token_log_probs(prefix).exp(), next_token_log_probs(prefix, other).exp()
        product = u * (p / u) ** scale
        torch.testing.assert_close(
            distribution(prefix).exp(), product / product.sum(), rtol=1e-9, atol=0
        )


def test_a_given_token_comes_with_certainty_and_changes_nothing_before_it():
    distribution = torch.tensor([[0.2, 0.3, 0.5], [0.6, 0.3, 0.1]]).log()
    where = torch.tensor([[0, 1], [1, 0]]).bool()
    kept = keep_given(lambda prefix: distribution, Given(torch.tensor([[1, 2], [0, 2]]), where))
    first, second = (kept(torch.zeros(2, i, dtype=torch.long)).exp() for i in (0, 1))
    torch.testing.assert_close(first, torch.tensor([[0.2, 0.3, 0.5], [1, 0, 0]]))
    torch.testing.assert_close(second, torch.tensor([[0, 0, 1], [0.6, 0.3, 0.1]]))

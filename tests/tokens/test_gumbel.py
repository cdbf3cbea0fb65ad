"""The Gumbel-softmax quantizer against counts, loops and finite differences."""

import math

import pytest
import torch
from torch import nn

from vqlearn.tokens.gumbel import GumbelQuantizer, gumbel_noise, kl_to_uniform
from vqlearn.tokens.quantizer import perplexity


def make(num_codes=5, code_dim=3, seed=0):
    torch.manual_seed(seed)
    return GumbelQuantizer(num_codes, code_dim).double()


def vectors_like(*shape, seed=1):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def within_5_sigma(counts, distribution, draws):
    """Fails once in 10⁵ runs or so for a handful of codes."""
    return (
        (counts - draws * distribution).abs()
        < 5 * (draws * distribution * (1 - distribution)).sqrt()
    ).all()


def test_gumbel_noise_has_the_gumbel_distribution():
    """P(g < c) = exp(-exp(-c)), and its mean is Euler's constant."""
    noise = gumbel_noise(torch.zeros(100_000, 1, dtype=torch.float64), generator=seeded(0))
    for c in (-1.0, 0.0, 0.5, 2.0, 5.0):
        share = math.exp(-math.exp(-c))
        assert within_5_sigma((noise < c).sum(), torch.tensor(share), 100_000)
    assert abs(noise.mean() - 0.5772157) < 5 * noise.std() / 100_000**0.5


@pytest.mark.parametrize("temperature", [1e-30, 1e-3])
def test_near_temperature_0_codes_are_drawn_from_the_softmax_distribution(temperature):
    quantizer, draws = make(), 20_000
    vector = 2 * vectors_like(3)
    quantized = quantizer(vector.expand(draws, 3), temperature=temperature, generator=seeded(0))
    distribution = (quantizer.to_logits.weight @ vector + quantizer.to_logits.bias).softmax(dim=0)
    assert distribution.min() > 0.01
    assert distribution.max() > 3 * distribution.min()
    one_hot = quantized.weights.amax(dim=1) > 0.999
    assert one_hot.double().mean() > 0.99
    assert within_5_sigma(torch.bincount(quantized.indices, minlength=5), distribution, draws)
    assert within_5_sigma(quantized.weights.sum(dim=0), distribution, draws)
    gap = quantized.vectors - quantizer.codebook.weight[quantized.indices]
    assert gap[one_hot].abs().max() < 0.01


@pytest.mark.parametrize("temperature", [0.3, 1.0, 7.0])
def test_tokens_are_exact_draws_at_every_temperature(temperature):
    """The order of the scores does not change with the temperature, so neither do the tokens."""
    quantizer, vectors = make(), vectors_like(40, 3)
    low = quantizer(vectors, temperature=1e-9, generator=seeded(1))
    high = quantizer(vectors, temperature=temperature, generator=seeded(1))
    assert torch.equal(low.indices, high.indices)
    assert torch.equal(high.weights.argmax(dim=-1), high.indices)
    assert len(low.indices.unique()) > 2


def test_soft_weights_are_the_softmax_of_noisy_scores():
    quantizer, vectors = make(), vectors_like(2, 4, 3)
    quantized = quantizer(vectors, temperature=0.7, generator=seeded(2))
    noise = gumbel_noise(torch.zeros(2, 4, 5, dtype=torch.float64), generator=seeded(2))
    scores = (quantizer.to_logits(vectors) + noise) / 0.7
    expected = scores.exp() / scores.exp().sum(dim=-1, keepdim=True)
    torch.testing.assert_close(quantized.weights, expected, rtol=1e-12, atol=1e-12)
    mixed = sum(expected[..., k, None] * quantizer.codebook.weight[k] for k in range(5))
    torch.testing.assert_close(quantized.vectors, mixed, rtol=1e-12, atol=1e-12)
    assert quantized.perplexity == perplexity(quantized.indices, 5)


def test_at_the_start_mixtures_point_along_z():
    """384 codes, 48 numbers, small vectors as of a fresh encoder: the cosine of single draws."""
    torch.manual_seed(0)
    quantizer, vectors = GumbelQuantizer(384, 48), 0.2 * torch.randn(500, 48)
    mixed = quantizer(vectors, generator=seeded(0)).vectors
    assert torch.cosine_similarity(mixed, vectors, dim=-1).mean() > 0.4
    with torch.no_grad():
        quantizer.to_logits.weight.normal_(generator=seeded(1))
    mixed = quantizer(vectors, generator=seeded(0)).vectors
    assert torch.cosine_similarity(mixed, vectors, dim=-1).mean() < 0.1


@pytest.mark.parametrize("temperature", [0.5, 2.0])
def test_gradients_of_soft_draws(temperature):
    """Against finite differences, for the vectors and every weight."""
    quantizer, vectors = make(), vectors_like(2, 3, 3).requires_grad_()

    def outputs(vectors, weight, bias, codes):
        weights = {"to_logits.weight": weight, "to_logits.bias": bias, "codebook.weight": codes}
        options = {"temperature": temperature, "generator": seeded(3)}
        quantized = torch.func.functional_call(quantizer, weights, (vectors,), options)
        return quantized.vectors, quantized.weights, quantized.kl

    inputs = (vectors, *quantizer.to_logits.parameters(), quantizer.codebook.weight)
    assert torch.autograd.gradcheck(outputs, inputs)


def test_hard_draws_borrow_the_gradient_of_soft_ones():
    quantizer, arriving = make(), vectors_like(6, 3, seed=4)
    gradients = []
    for hard in (False, True):
        quantizer.zero_grad()
        vectors = vectors_like(6, 3).requires_grad_()
        quantized = quantizer(vectors, temperature=0.8, hard=hard, generator=seeded(5))
        quantized.vectors.backward(arriving)
        gradients.append((vectors.grad, quantizer.to_logits.weight.grad.clone()))
    assert torch.equal(quantized.vectors, quantizer.codebook.weight[quantized.indices])
    assert torch.equal(quantized.weights.sum(dim=-1), torch.ones(6, dtype=torch.float64))
    for soft, borrowed in zip(*gradients, strict=True):
        assert soft.abs().min() > 0
        torch.testing.assert_close(borrowed, soft, rtol=1e-12, atol=1e-14)
    expected = torch.zeros(5, 3, dtype=torch.float64).index_add(0, quantized.indices, arriving)
    torch.testing.assert_close(quantizer.codebook.weight.grad, expected)


def test_kl_equals_a_loop_and_has_both_ends():
    quantizer, vectors = make().requires_grad_(False), vectors_like(2, 4, 3)
    total = 0.0
    for vector in vectors.reshape(-1, 3):
        q = (quantizer.to_logits.weight @ vector + quantizer.to_logits.bias).softmax(dim=0)
        total += sum(float(p) * math.log(5 * float(p)) for p in q)
    found = quantizer(vectors, temperature=3.0, generator=seeded(0)).kl
    assert found.item() == pytest.approx(total / 8, rel=1e-12)
    assert quantizer.eval()(vectors).kl == found  # no noise and no temperature in it
    ends = torch.tensor([[0.0, 0, 0, 0, 0], [900.0, 0, 0, 0, 0]]).log_softmax(dim=-1)
    assert kl_to_uniform(ends).tolist() == pytest.approx([0, math.log(5)], abs=1e-6)


def test_evaluation_takes_the_likeliest_code_without_generator():
    quantizer, vectors = make().eval(), vectors_like(2, 4, 3)
    state, generator = torch.get_rng_state(), seeded(0)
    before = generator.get_state()
    quantized = quantizer(vectors, temperature=5.0, generator=generator)
    assert torch.equal(generator.get_state(), before)
    assert torch.equal(quantizer(vectors).vectors, quantized.vectors)
    assert torch.equal(torch.get_rng_state(), state)
    best = quantizer.to_logits(vectors).argmax(dim=-1)
    assert torch.equal(quantized.indices, best)
    assert torch.equal(quantizer.encode(vectors), best)
    assert torch.equal(quantizer.train().encode(vectors), best)
    assert torch.equal(quantized.vectors, quantizer.lookup(best))
    assert quantized.weights.sum(dim=-1).eq(1).all()
    assert len(best.unique()) > 2


def test_draws_are_those_of_the_generator():
    quantizer, vectors = make(), vectors_like(50, 3)
    state = torch.get_rng_state()
    first, second, other = (quantizer(vectors, generator=seeded(s)).weights for s in (0, 0, 1))
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(first, second)
    assert not torch.equal(first, other)


@pytest.mark.parametrize("temperature", [0.0, -1.0, math.inf, math.nan])
def test_bad_temperatures_raise(temperature):
    for quantizer in (make(), make().eval()):
        with pytest.raises(ValueError, match=f"temperature is {temperature}; allowed: finite"):
            quantizer(vectors_like(2, 3), temperature=temperature)


def test_wrong_widths_and_wrong_sizes_raise():
    with pytest.raises(ValueError, match="width 4; allowed: 3"):
        make()(vectors_like(2, 4))
    with pytest.raises(ValueError, match="num_codes is 0; allowed: whole numbers of 1 or more"):
        GumbelQuantizer(0, 3)


def test_lookup_gives_the_rows_of_the_codebook_and_refuses_other_tokens():
    quantizer, indices = make(), torch.tensor([[4, 0], [2, 2]])
    assert torch.equal(quantizer.lookup(indices), quantizer.codebook.weight[indices])
    for token in (-1, 5):
        with pytest.raises(ValueError, match=f"a token is {token}; allowed: codes, 0 to 4"):
            quantizer.lookup(torch.tensor([[0, token]]))


def test_mixed_precision_does_not_change_the_tokens():
    quantizer, vectors = make().float(), vectors_like(300, 3).float()
    plain = quantizer(vectors, generator=seeded(0))
    exact = make().log_probabilities(vectors.double()).float()
    torch.testing.assert_close(quantizer.log_probabilities(vectors), exact, rtol=0, atol=1e-5)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        quantized = quantizer(vectors, generator=seeded(0))
        assert torch.equal(quantizer.encode(vectors), quantizer.eval()(vectors).indices)
    assert torch.equal(quantized.weights, plain.weights)
    assert torch.equal(quantized.indices, plain.indices)
    half = make().bfloat16()
    quantized = half(vectors_like(30, 3).bfloat16(), generator=seeded(0))
    assert quantized.vectors.dtype == torch.bfloat16
    assert quantized.weights.dtype == torch.float32
    torch.testing.assert_close(quantized.weights.sum(dim=-1), torch.ones(30))


CORNERS = torch.tensor([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]])


def corners(count, generator):
    """Vectors at the corners of a square, a little off: four things to say about them."""
    which = torch.randint(4, (count,), generator=generator)
    return CORNERS[which] + 0.05 * torch.randn(count, 2, generator=generator)


@pytest.mark.parametrize("hard", [False, True])
def test_a_tiny_autoencoder_learns_four_corners(hard):
    """Squared errors of a vector: 2 without tokens, 0.005 if nothing but the noise is lost.

    Two corners with one code would cost 0.5: each of them, half of all, is then off by 1.
    """
    torch.manual_seed(0)
    encoder, quantizer, decoder = nn.Linear(2, 8), GumbelQuantizer(8, 8), nn.Linear(8, 2)
    model = nn.Sequential(encoder, quantizer, decoder)
    optimizer, generator = torch.optim.Adam(model.parameters(), 2e-2), seeded(0)
    for step in range(300):
        vectors = corners(64, generator)
        quantized = quantizer(
            encoder(vectors), temperature=16 ** (-step / 300), hard=hard, generator=generator
        )
        error = (decoder(quantized.vectors) - vectors).square().sum(dim=-1).mean()
        optimizer.zero_grad()
        (error + 0.02 * quantized.kl).backward()
        optimizer.step()
    model.eval()
    vectors = corners(500, generator)
    quantized = quantizer(encoder(vectors))
    error = (decoder(quantized.vectors) - vectors).square().sum(dim=-1).mean()
    assert error < 0.05
    assert quantized.perplexity > 3.5

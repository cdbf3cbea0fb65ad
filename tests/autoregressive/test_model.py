"""What all autoregressive networks can do: one of them with a cache and text, one without."""

from dataclasses import replace

import pytest
import torch
from support.imagebart_toys import seeded, spread_weights

from vqlearn.autoregressive.decoding import exact_distribution, without_cache
from vqlearn.autoregressive.model import dependence
from vqlearn.autoregressive.pixelcnn import PixelCNN, PixelCNNConfig
from vqlearn.autoregressive.raster_transformer import RasterTransformer, RasterTransformerConfig
from vqlearn.diffusion.exact.world import all_states
from vqlearn.probability.model import Conditioning, Given, Sampling, TokenModel

PIXELS = PixelCNNConfig(side=2, channels=1, num_codes=2, width=4, num_layers=2, kernel_size=3)
TEXT = RasterTransformerConfig(
    num_codes=2, num_positions=4, text_width=3, text_length=2, width=8, num_layers=1, num_heads=2
)


def pixels():
    return spread_weights(PixelCNN(PIXELS).double())


def after_text(count=1):
    """A network, and one caption for each sequence, with a null embedding."""
    text = torch.randn(1, 2, 3, generator=seeded(0)).double()
    null = torch.randn(1, 2, 3, generator=seeded(1)).double()
    network = spread_weights(RasterTransformer(TEXT).double())
    return network, Conditioning(text.expand(count, -1, -1), null)


def both(count=1):
    return [(pixels(), None), after_text(count)]


def test_loss_and_nll_are_the_exact_negative_log_likelihood():
    for model, condition in both(16):
        assert isinstance(model, TokenModel)
        assert model.exact
        x = all_states(2, 4)
        nll, loss = model.nll(x, condition), model.loss(x, condition)
        one = None if condition is None else replace(condition, text=condition.text[:1])
        p = exact_distribution(
            without_cache(lambda x, model=model, one=one: model.log_probs(x, one), 4), 2, 4
        )
        torch.testing.assert_close((-nll).exp(), p)
        torch.testing.assert_close(4 * loss, nll)
        assert loss.requires_grad
        assert not nll.requires_grad
        assert p.max() > 2 * p.min()


@pytest.mark.parametrize("length", [0, 1, 3, 4])
def test_a_given_prefix_yields_the_conditional_distribution(length):
    """8,000 sequences with each of two prefixes in turn, within 5 sigma (and 3)."""
    count, states = 8000, all_states(2, 4)
    tokens = torch.tensor([[1, 0, 0, 1], [0, 0, 1, 0]]).repeat(count, 1)
    where = torch.zeros_like(tokens, dtype=torch.bool)
    where[:, :length] = True
    for model, condition in both(2 * count):
        x = model.sample(2 * count, condition, given=Given(tokens, where), generator=seeded(0))
        assert torch.equal(x[:, :length], tokens[:, :length])
        one = None if condition is None else replace(condition, text=condition.text[:16])
        p = (-model.nll(states, one)).exp()
        for first in (0, 1):
            fits = (states[:, :length] == tokens[first, :length]).all(dim=1)
            expected = count * (p * fits) / (p * fits).sum()
            index = (x[first::2] * torch.tensor([8, 4, 2, 1])).sum(dim=1)
            found = torch.bincount(index, minlength=16)
            assert ((found - expected).abs() <= 5 * expected.sqrt() + 3).all()


def test_a_token_given_further_on_changes_nothing_before_it():
    for model, condition in both(50):
        where = torch.tensor([[False, False, True, False]]).expand(50, -1)
        plain = model.sample(50, condition, generator=seeded(2))
        given = Given(1 - plain, where)
        x = model.sample(50, condition, given=given, generator=seeded(2))
        assert torch.equal(x[:, :2], plain[:, :2])
        assert torch.equal(x[:, 2], 1 - plain[:, 2])


def test_guidance_and_truncation_are_those_of_every_token():
    """At every position; only codes that are left are ever drawn."""
    model, condition = after_text(200)
    sampling = Sampling(guidance_scale=3.0, truncation_rate=0.9)
    x = model.sample(200, condition, sampling=sampling, generator=seeded(1))
    guided = model.decoder(condition, sampling)
    for i in range(4):
        log_c, log_u = (
            model.log_probs(x, Conditioning(text))[:, i]
            for text in (condition.text, condition.null)
        )
        p = (3 * log_c - 2 * log_u).softmax(dim=-1)  # K = 2: the likelier code, and perhaps both
        p = torch.where((p.amax(dim=-1) >= 0.9)[:, None], (p > 0.5).double(), p)
        found = guided(x[:, :i]).exp()
        torch.testing.assert_close(found, p)
        assert (found.gather(1, x[:, i : i + 1]) > 0).all()
    other = model.sample(200, condition, generator=seeded(1))
    assert not torch.equal(x, other)


def test_what_does_not_fit_is_refused():
    model, condition = after_text(2)
    x = torch.zeros(2, 4, dtype=torch.long)
    for ask in (
        lambda model, y: model.loss(x, y),
        lambda model, y: model.nll(x, y),
        lambda model, y: model.sample(2, y),
    ):
        with pytest.raises(ValueError, match="condition is a Conditioning; allowed: None"):
            ask(pixels(), condition)
        with pytest.raises(ValueError, match="condition is None; allowed: a Conditioning"):
            ask(model, None)
    with pytest.raises(ValueError, match="null is None; allowed with guidance"):
        model.sample(2, Conditioning(condition.text), sampling=Sampling(2.0))
    with pytest.raises(ValueError, match="the number of captions is 2; allowed: 3, the count"):
        model.sample(3, condition)


def test_dependence_finds_leaks_and_blind_spots():
    """Output 0 sees nothing, 1 sees 0, 2 sees itself (a leak) and 1 but not 0 (a blind spot)."""

    def output(h):
        nothing = torch.zeros(2, dtype=h.dtype)
        second = torch.stack([h[0, 1] ** 2, nothing[0]])
        third = torch.stack([h[2, 0], h[1, 0] * h[2, 1]])
        return torch.stack([nothing, second, third])

    inputs = torch.randn(3, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    expected = torch.tensor([[0, 0, 0], [1, 0, 0], [0, 1, 1]]).bool()
    assert torch.equal(dependence(output, inputs), expected)

"""What all autoregressive networks can do: one of them with a cache and text, one without."""

import pytest
import torch
from support.imagebart_toys import seeded, spread_weights

from vqlearn.autoregressive.model import dependence
from vqlearn.autoregressive.pixelcnn import PixelCNN, PixelCNNConfig
from vqlearn.autoregressive.raster_transformer import RasterTransformer, RasterTransformerConfig
from vqlearn.probability.model import Conditioning, Given, Sampling

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


def test_each_sequence_may_have_a_null_of_its_own():
    model, condition = after_text(2)
    nulls, sampling = torch.randn(2, 2, 3, generator=seeded(5)).double(), Sampling(3.0)
    both = model.decoder(Conditioning(condition.text, nulls), sampling)(torch.zeros(2, 0).long())
    for i in range(2):
        alone = Conditioning(condition.text[i : i + 1], nulls[i : i + 1])
        found = model.decoder(alone, sampling)(torch.zeros(1, 0).long())
        torch.testing.assert_close(both[i : i + 1], found)
    assert not torch.allclose(both[0], both[1])


def test_a_scale_by_level_is_refused_where_there_is_no_level():
    model, condition = after_text(2)
    with pytest.raises(TypeError, match=r"guidance_scale is .*function.*; allowed: a number"):
        model.sample(2, condition, sampling=Sampling(lambda t: 2.0), generator=seeded(0))


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

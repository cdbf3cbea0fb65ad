"""What all networks of pixels share, in grey and in colour; `tests/contracts` asks the rest."""

import copy
import math
from dataclasses import asdict, replace

import pytest
import torch
from einops import rearrange
from scipy.stats import binom
from support.imagebart_toys import spread_weights
from support.pixel_models import fresh, random_sequences

from vqlearn.autoregressive.decoding import exact_distribution, sequential_log_likelihood
from vqlearn.autoregressive.image_transformer import ImageTransformer, ImageTransformerConfig
from vqlearn.autoregressive.pixelcnn import GatedPixelCNN, PixelCNN, PixelCNNConfig
from vqlearn.autoregressive.pixelcnnpp import PixelCNNPlusPlus, PixelCNNPlusPlusConfig
from vqlearn.autoregressive.pixelrnn import PixelRNN, PixelRNNConfig

RGB = {"side": 3, "channels": 3, "num_codes": 3}
KINDS = {
    "pixelcnn": (PixelCNN, PixelCNNConfig(**RGB, width=12, num_layers=2, kernel_size=3)),
    "gated": (GatedPixelCNN, PixelCNNConfig(**RGB, width=24, num_layers=2, kernel_size=3)),
    "pixelcnn++": (
        PixelCNNPlusPlus,
        PixelCNNPlusPlusConfig(**RGB, width=12, num_blocks=1, num_mixtures=6),
    ),
    "pixelrnn": (PixelRNN, PixelRNNConfig(**RGB, width=12, num_layers=1)),
    "image transformer": (
        ImageTransformer,
        ImageTransformerConfig(
            **RGB, width=16, num_layers=2, num_heads=2, block_length=9, memory_length=6
        ),
    ),
}
EVERY = pytest.mark.parametrize(("kind", "config"), KINDS.values(), ids=KINDS)


@EVERY
def test_one_call_agrees_with_token_by_token(kind, config):
    model, x = spread_weights(fresh(kind, config)), random_sequences(config, 3)
    one_by_one = sequential_log_likelihood(model.decoder(), x)
    torch.testing.assert_close(model.log_likelihood(x), one_by_one, rtol=1e-12, atol=1e-9)
    assert one_by_one.std() > 0.01


@EVERY
def test_two_colours_have_probability_one_and_are_drawn_as_often(kind, config):
    """5,000 samples of 256 sequences. No count is further out in its binomial distribution than 5
    sigma in a normal distribution, 3e-7 on either side: one seed in 3,000 fails; it is fixed."""
    small = {"block_length": 4, "memory_length": 2} if kind is ImageTransformer else {}
    model = spread_weights(fresh(kind, replace(config, side=2, channels=2, num_codes=2, **small)))
    p = exact_distribution(model.decoder(), 2, 8)
    assert abs(p.sum().item() - 1) < 1e-9
    assert p.max() > 3 * p.mean()
    x = model.sample(5_000, generator=torch.Generator().manual_seed(0))
    counts = torch.bincount(x @ 2 ** torch.arange(7, -1, -1), minlength=256)
    too_many, too_few = binom.sf(counts - 1, 5_000, p), binom.cdf(counts, 5_000, p)
    assert min(too_many.min(), too_few.min()) > 2.87e-7


def paint(config, generator):
    """32 images of two random numbers each, a start and a step of 1 or 2: pixel p has the value
    start + step · p mod K, and the last of three colours one more."""
    start = torch.randint(config.num_codes, (32, 1, 1), generator=generator)
    step = torch.randint(1, 3, (32, 1, 1), generator=generator)
    pixel, colour = torch.arange(config.side**2)[:, None], torch.tensor([0, 0, 1])
    values = start + step * pixel + colour[: config.channels]
    return rearrange(values % config.num_codes, "b p c -> b (p c)")


@EVERY
@pytest.mark.parametrize("channels", [1, 3])
def test_it_learns_what_hangs_together(kind, config, channels):
    """Independent positions need n log 3 nats, 9.9 or 29.7; no network is below log 6, 1.8 nats."""
    small = {"block_length": 3, "memory_length": 3} if kind is ImageTransformer else {}
    config = replace(config, channels=channels, **(small if channels == 1 else {}))
    model, generator = fresh(kind, config), torch.Generator().manual_seed(0)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(150):
        loss = config.num_positions * model.loss(paint(config, generator)).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert math.log(6) - 0.1 < model.nll(paint(config, generator)).mean() < math.log(6) + 0.6


@EVERY
def test_wrong_sequences_raise(kind, config):
    model, x = fresh(kind, config), random_sequences(config, 2)
    with pytest.raises(ValueError, match="x has 26 positions; allowed: 27"):
        model(x[:, :-1])
    for token in (-1, 3):
        x[1, 4] = token
        with pytest.raises(ValueError, match=r"holds .* allowed: 0 to 2"):
            model(x)
    assert model(x[:0]).shape == (0, 27, 3)
    with torch.device("meta"):  # shapes without values: reading one would raise
        assert kind(config)(torch.zeros(2, 27, dtype=torch.long)).shape == (2, 27, 3)


@EVERY
def test_the_seed_decides_the_weights_and_they_decide_the_output(kind, config):
    x, model, other = random_sequences(config, 2), fresh(kind, config), fresh(kind, config, seed=1)
    assert torch.equal(fresh(kind, config)(x), model(x))
    assert not torch.equal(other(x), model(x))
    other.load_state_dict(model.state_dict())
    assert torch.equal(other(x), model(x))
    assert torch.equal(copy.deepcopy(model)(x), model(x))


@EVERY
def test_config_is_validated(kind, config):
    for name in asdict(config):
        smallest = {"num_codes": 2, "kernel_size": 3, "memory_length": 0}.get(name, 1)
        for value in (smallest - 1, -3, True):
            with pytest.raises(ValueError, match=f"{name} is {value}; allowed: whole numbers of "):
                replace(config, **{name: value})

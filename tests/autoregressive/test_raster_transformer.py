"""The raster transformer: what a position sees, the cache, guidance, and that it learns.

Claims about what is seen are checked by gradients in double precision. Counts are checked at 5
sigma: a right sampler fails once in 1.7 million comparisons, and all of this file makes about 100.
"""

import math
from dataclasses import replace

import pytest
import torch

from vqlearn.autoregressive import decoding
from vqlearn.autoregressive import model as raster
from vqlearn.autoregressive.decoding import CachedDecoder, decoder_for, without_cache
from vqlearn.autoregressive.raster_transformer import RasterTransformer, RasterTransformerConfig
from vqlearn.probability.filters import temperature, top_k
from vqlearn.probability.model import Conditioning, Sampling
from vqlearn.training.optimizers import build_optimizers, muon_weights
from vqlearn.training.recipes import Recipe

PLAIN = RasterTransformerConfig(
    num_codes=3,
    num_positions=9,
    text_width=None,
    text_length=0,
    width=16,
    num_layers=2,
    num_heads=2,
)
WITH_TEXT = replace(PLAIN, text_width=5, text_length=4)
BOTH = pytest.mark.parametrize("config", [PLAIN, WITH_TEXT], ids=["plain", "text"])


def fresh(config, seed=0):
    """Large random weights everywhere, biases and norms included, so that no term is hidden."""
    generator = torch.Generator().manual_seed(seed)
    network = RasterTransformer(config).double()
    with torch.no_grad():
        for weight in network.parameters():
            noise = torch.randn(weight.shape, generator=generator, dtype=weight.dtype)
            weight.copy_(0.5 * noise + 0.1)
    return network


def random_sequences(config, count, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(config.num_codes, (count, config.num_positions), generator=generator)


def random_text(config, count, seed=0):
    if config.text_width is None:
        return None
    generator = torch.Generator().manual_seed(seed)
    size = (count, config.text_length, config.text_width)
    return torch.randn(size, generator=generator, dtype=torch.float64)


def captions(text):
    return None if text is None else Conditioning(text)


def slow_decoder(network, text):
    return without_cache(lambda x: network.log_probs(x, captions(text)), network.num_positions)


@BOTH
@pytest.mark.parametrize("num_positions", [9, 7])
def test_a_position_sees_all_earlier_tokens_and_no_other(config, num_positions):
    """At every one of three networks and inputs, with one layer as with two."""
    config = replace(config, num_positions=num_positions)
    earlier = torch.ones(num_positions, num_positions).tril(-1).bool()
    for seed, num_layers in ((0, 1), (1, 2), (2, 2)):
        network, text = fresh(replace(config, num_layers=num_layers), seed), random_text(config, 1)
        h = network.embed(random_sequences(config, 1, seed))[0].detach()
        seen = raster.dependence(lambda h: network.from_embedding(h[None], text)[0], h)  # noqa: B023
        assert torch.equal(seen, earlier)


def test_every_position_sees_all_of_the_text():
    """Also the first position, also with one layer; another sequence of the batch sees nothing."""
    for num_layers in (1, 2):
        network = fresh(replace(WITH_TEXT, num_layers=num_layers))
        x, text = random_sequences(WITH_TEXT, 2), random_text(WITH_TEXT, 2)
        jacobian = torch.autograd.functional.jacobian(lambda y: network(x, y), text)  # noqa: B023
        seen = (jacobian != 0).any(dim=-1).any(dim=2)  # (b, n, k, b, l, c) -> (b, n, b, l)
        own = torch.eye(2, dtype=torch.bool)[:, None, :, None].expand_as(seen)
        assert torch.equal(seen, own)


def test_another_text_changes_every_position():
    network, x = fresh(WITH_TEXT), random_sequences(WITH_TEXT, 1)
    one, other = (network(x, random_text(WITH_TEXT, 1, seed)) for seed in (0, 1))
    assert ((one - other).abs().amax(dim=-1) > 1e-3).all()


def test_the_order_of_the_text_states_matters():
    network, x, text = fresh(WITH_TEXT), random_sequences(WITH_TEXT, 1), random_text(WITH_TEXT, 1)
    moved = network(x, text.flip(1)) - network(x, text)
    assert (moved.abs().amax(dim=-1) > 1e-3).all()


def test_text_looks_to_both_sides():
    """What a layer keeps of the first text state depends on the last one, and on no token."""
    network, text = fresh(WITH_TEXT), random_text(WITH_TEXT, 1).requires_grad_()
    keys = network.prefill(1, text)[1].keys
    assert keys.shape == (1, 2, 4, 8)
    (gradient,) = torch.autograd.grad(keys[:, :, 0].sum(), text)
    assert (gradient.abs().amax(dim=-1) > 0).all()


def test_one_caption_serves_all_sequences():
    network, x, text = fresh(WITH_TEXT), random_sequences(WITH_TEXT, 3), random_text(WITH_TEXT, 1)
    many = network(x, text.expand(3, -1, -1))
    torch.testing.assert_close(network(x, text), many, rtol=1e-12, atol=1e-12)


def test_rows_and_columns_are_told_apart():
    """A square number of positions has rows and columns, another number one vector for each."""
    assert PLAIN.grid == (3, 3)
    assert replace(PLAIN, num_positions=8).grid == (1, 8)
    network, x = fresh(PLAIN), torch.zeros(1, 9, dtype=torch.long)
    before = network(x)[0]
    with torch.no_grad():
        network.row_embedding.weight[1] += torch.randn(16, dtype=torch.float64)
    moved = (network(x)[0] - before).abs().amax(dim=-1) > 1e-6
    assert moved.tolist() == 3 * [False] + 6 * [True]
    before = network(x)[0]
    with torch.no_grad():
        network.column_embedding.weight[2] += torch.randn(16, dtype=torch.float64)
    moved = (network(x)[0] - before).abs().amax(dim=-1) > 1e-6
    assert moved.tolist() == 2 * [False] + 7 * [True]


def by_hand(network, x, text):
    """One layer, one sequence, one head at a time, no cache: the whole network in loops."""
    block, config = network.blocks[0], network.config
    inputs = [network.start_embedding.weight[0], *network.token_embedding(x[:-1])]
    side = config.grid[1]
    line = [network.text_to_width(s) + network.text_position_embedding.weight[i]
            for i, s in enumerate(text)]  # fmt: skip
    for i, vector in enumerate(inputs):
        positions = (
            network.row_embedding.weight[i // side],
            network.column_embedding.weight[i % side],
        )
        line.append(vector + sum(positions))
    normed = [block.attention_norm(vector) for vector in line]
    attention, size, scores = block.attention, config.width // config.num_heads, []
    for i in range(len(text), len(line)):
        heads = []
        for head in range(config.num_heads):
            own = slice(head * size, (head + 1) * size)
            query = attention.query(normed[i])[own]
            keys = torch.stack([attention.key(each)[own] for each in normed[: i + 1]])
            values = torch.stack([attention.value(each)[own] for each in normed[: i + 1]])
            heads.append((keys @ query / math.sqrt(size)).softmax(dim=0) @ values)
        h = line[i] + attention.output(torch.cat(heads))
        h = h + block.feed_forward(block.feed_forward_norm(h)[None, None])[0, 0]
        scores.append(network.to_logits(network.output_norm(h)))
    return torch.stack(scores)


def test_the_scores_are_those_of_the_formula():
    config = replace(WITH_TEXT, num_layers=1)
    network, x, text = fresh(config), random_sequences(config, 2), random_text(config, 2)
    for sequence in range(2):
        expected = by_hand(network, x[sequence], text[sequence])
        torch.testing.assert_close(network(x, text)[sequence], expected, rtol=1e-10, atol=1e-10)


@BOTH
def test_the_decoder_knows_the_same_distributions(config):
    """Every distribution of every turn, and the likelihood that they add up to, within 1e-9."""
    network, x, text = fresh(config), random_sequences(config, 4), random_text(config, 4)
    condition, decoder = captions(text), CachedDecoder(network, text)
    distributions = network.log_probs(x, condition)
    for i in range(9):
        torch.testing.assert_close(decoder(x[:, :i]), distributions[:, i], rtol=1e-9, atol=1e-9)
    at_once = network.log_likelihood(x, condition)
    for slow in (slow_decoder(network, text), network.decoder(condition)):
        one_by_one = decoding.sequential_log_likelihood(slow, x)
        torch.testing.assert_close(one_by_one, at_once, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("given", [0, 4, 9])
def test_the_decoder_draws_the_same_tokens(given):
    """With text, guidance, a prefix, a temperature, top-k, and the same random numbers."""
    network, text, null = fresh(WITH_TEXT), random_text(WITH_TEXT, 16), random_text(WITH_TEXT, 1, 5)
    prefix = random_sequences(WITH_TEXT, 16)[:, :given]

    def draw(distribution_of):
        distribution = decoder_for(distribution_of, Conditioning(text, null), Sampling(2.5))
        generator = torch.Generator().manual_seed(3)
        return decoding.sample(
            distribution,
            prefix,
            9,
            filter=lambda p: top_k(temperature(p, 2.0), 2),
            generator=generator,
        )

    cached = draw(lambda y: CachedDecoder(network, y))
    slow = draw(lambda y: slow_decoder(network, y))
    assert torch.equal(cached, slow)
    assert torch.equal(cached[:, :given], prefix)
    assert given == 9 or len(cached.unique(dim=0)) > 3


def test_each_input_is_read_once():
    """Text, start, then token after token: 4 + 9 inputs in all, the last token is never read."""
    network, text, seen = fresh(WITH_TEXT), random_text(WITH_TEXT, 2), []
    network.blocks[0].register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].shape[1]))
    decoding.sample(CachedDecoder(network, text), random_sequences(WITH_TEXT, 2)[:, :0], 9)
    assert seen == [4] + 9 * [1]


def test_the_decoder_wants_its_turn():
    network, x = fresh(PLAIN), random_sequences(PLAIN, 2)
    x[:, 1] = 0
    decoder = CachedDecoder(network)
    with pytest.raises(ValueError, match="the prefix has 3 tokens; allowed: 0, in turn"):
        decoder(x[:, :3])
    first, second = decoder(x[:, :0]), decoder(x[:, :1])
    assert not first.requires_grad
    for length in (0, 1, 3):
        with pytest.raises(
            ValueError, match=f"the prefix has {length} tokens; allowed: 2, in turn"
        ):
            decoder(x[:, :length])
    with pytest.raises(ValueError, match="the number of sequences is 1; allowed: 2, as before"):
        decoder(x[:1, :2])
    with pytest.raises(ValueError, match="other tokens than before; allowed: one more token"):
        decoder((x[:, :2] + 1) % 3)
    with pytest.raises(ValueError, match=r"holds 0 to 3; allowed: 0 to 2"):
        decoder(torch.cat([x[:, :1], torch.tensor([[0], [3]])], dim=1))
    distributions = network.log_probs(x)
    for i, distribution in enumerate((first, second)):
        torch.testing.assert_close(distribution, distributions[:, i], rtol=1e-9, atol=1e-9)
    for i in range(2, 9):  # no error above has spoiled the cache
        torch.testing.assert_close(decoder(x[:, :i]), distributions[:, i], rtol=1e-9, atol=1e-9)
    with pytest.raises(ValueError, match="the prefix has 9 tokens; allowed: none, it is complete"):
        decoder(x)


TOY = replace(WITH_TEXT, num_codes=2, num_positions=4, width=8)


def toy_network(seed=0):
    """Scores a few nats apart, so that no code is certain and none is like the other."""
    return fresh(TOY, seed)


@pytest.mark.parametrize("scale", [1.0, 3.0])
def test_guided_distributions_are_those_of_the_formula(scale):
    network, x = fresh(WITH_TEXT), random_sequences(WITH_TEXT, 2)
    both = [random_text(WITH_TEXT, 1, seed) for seed in (0, 1)]
    condition = Conditioning(both[0].expand(2, -1, -1), both[1])
    decoder = decoder_for(lambda text: slow_decoder(network, text), condition, Sampling(scale))
    distribution = decoder(x[:, :5])
    p, u = (network.log_probs(x, captions(text))[:, 5].exp() for text in both)
    product = u * (p / u) ** scale
    expected = product / product.sum(dim=-1, keepdim=True)
    torch.testing.assert_close(distribution.exp(), expected, rtol=1e-9, atol=1e-12)


def toy_images(count, generator):
    """Places 0 and 1 are free; then each position is its upper neighbour. The text says position
    0."""
    top = torch.randint(2, (count, 2), generator=generator)
    said = torch.nn.functional.one_hot(top[:, 0], 5).float()[:, None].expand(-1, 4, -1)
    return torch.cat([top, top], dim=1), said


def test_it_learns_sequences_and_their_text():
    """With the text independent positions need 2 log 2 nats (positions 1 and 3); the best is log
    2."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = RasterTransformer(replace(TOY, width=16))
    recipe = Recipe(steps=120, batch_size=32, learning_rate=1e-2, ema_decay=0.9)
    matrices = muon_weights(network)
    assert len(matrices) == 2 * (4 + 2)
    generator = torch.Generator().manual_seed(0)
    optimizers = build_optimizers(network, matrices, recipe)
    for _ in range(recipe.steps):
        x, text = toy_images(32, generator)
        nats = -network.log_likelihood(x, captions(text)).mean()
        network.zero_grad()
        nats.backward()
        for each in optimizers:
            each.step()
    x, text = toy_images(256, generator)
    nats = network.nll(x, captions(text)).mean().item()
    assert math.log(2) - 0.15 < nats < math.log(2) + 0.15


@BOTH
def test_gradients_reach_every_parameter(config):
    torch.manual_seed(0)
    network, text = RasterTransformer(config), random_text(config, 8)
    text = None if text is None else text.float()
    network.log_probs(random_sequences(config, 8), captions(text))[..., 0].mean().backward()
    for name, parameter in network.named_parameters():
        if name.endswith("key.bias"):  # adds the same score to every key: softmax ignores it
            assert parameter.grad.abs().max() < 1e-6
        else:
            assert parameter.grad.abs().max() > 0, name
        if "embedding" in name:
            assert (parameter.grad.abs().amax(dim=1) > 0).all(), name


def test_fresh_weights_are_those_of_the_denoiser():
    torch.manual_seed(0)
    for name, parameter in RasterTransformer(replace(WITH_TEXT, width=128)).named_parameters():
        if name.endswith("bias"):
            assert (parameter == 0).all(), name
        elif name.endswith("norm.weight"):
            assert (parameter == 1).all(), name
        else:
            assert 0.015 < parameter.std() < 0.025, name


def test_bad_sequences_raise():
    network, x = fresh(PLAIN), random_sequences(PLAIN, 2)
    with pytest.raises(ValueError, match="x has 8 positions; allowed: 9"):
        network(x[:, :8])
    for token in (-1, 3):
        x[1, 4] = token
        with pytest.raises(ValueError, match=r"holds .* allowed: 0 to 2"):
            network(x)
    assert network(x[:0]).shape == (0, 9, 3)


def test_bad_text_raises():
    x = random_sequences(PLAIN, 2)
    with pytest.raises(ValueError, match=r"text is \(2, 4, 5\); allowed: None"):
        fresh(PLAIN)(x, random_text(WITH_TEXT, 2))
    network, text = fresh(WITH_TEXT), random_text(WITH_TEXT, 3)
    allowed = r"allowed: \(2, 4, 5\), \(1, 4, 5\)"
    for wrong in (text, text[:2, :3], text[:2, :, :4]):
        with pytest.raises(ValueError, match=rf"text is .*{tuple(wrong.shape)[1]}.*; {allowed}"):
            network(x, wrong)
    with pytest.raises(ValueError, match=f"text is None; {allowed}"):
        CachedDecoder(network)(x[:, :0])


def test_values_are_not_read_on_other_devices():
    """The meta device has shapes and no values: reading one would raise, as a wait would cost."""
    network, x = RasterTransformer(PLAIN).to("meta"), random_sequences(PLAIN, 2).to("meta")
    assert network(x).shape == (2, 9, 3)
    decoder = CachedDecoder(network)
    assert [decoder(x[:, :i]).shape for i in range(2)] == 2 * [(2, 3)]


def test_config_is_validated():
    for name in ("num_codes", "num_positions", "text_width", "text_length", "width", "num_layers"):
        smallest = 2 if name == "num_codes" else 1
        for value in (smallest - 1, -3, True):
            with pytest.raises(ValueError, match=f"{name} is {value}; allowed: whole numbers of "):
                replace(WITH_TEXT, **{name: value})
    with pytest.raises(ValueError, match="text_length is 4; allowed: 0 without text_width"):
        replace(WITH_TEXT, text_width=None)
    with pytest.raises(ValueError, match="width is 16; allowed: multiples of num_heads, 3"):
        replace(PLAIN, num_heads=3)

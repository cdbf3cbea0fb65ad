"""The Image Transformer: what each position sees, local attention against full, that it is a
distribution."""

import math
from dataclasses import replace

import pytest
import torch
from einops import rearrange
from support import pixel_models
from support.pixel_models import noise, random_sequences

from vqlearn.autoregressive.image_transformer import (
    ImageTransformer,
    ImageTransformerConfig,
    LocalAttention,
    local_mask,
)

GREY = ImageTransformerConfig(4, 1, 2, 4, 1, num_heads=2, block_length=4, memory_length=4)
RGB = ImageTransformerConfig(3, 3, 3, 4, 2, num_heads=2, block_length=9, memory_length=6)
COLOURS = pytest.mark.parametrize("config", [GREY, RGB], ids=["grey", "rgb"])


def fresh(config, seed=0, kind=ImageTransformer):
    return pixel_models.fresh(kind, config, seed)


def seen_by(config):
    """Entry (i, j): position i depends on token j, at one or more of two networks and inputs."""
    return pixel_models.seen_by([fresh(config, seed) for seed in range(2)], config.width)


def claimed(config):
    """The formula at the top of image_transformer.py, pair by pair."""
    n, b, m = config.num_positions, config.block_length, config.memory_length
    table = torch.zeros(n, n, dtype=torch.bool)
    for i in range(n):
        first = b * (i // b - (config.num_layers - 1) * math.ceil(m / b)) - m
        for j in range(n):
            table[i, j] = first - 1 <= j <= i - 1
    return table


def by_steps(config):
    """The same by walking: from position i one look back per layer, then the shift by one."""
    n, b, m = config.num_positions, config.block_length, config.memory_length
    table = torch.zeros(n, n, dtype=torch.bool)
    for i in range(n):
        positions = {i}
        for _ in range(config.num_layers):
            positions = {k for p in positions for k in range(max(0, p // b * b - m), p + 1)}
        for position in positions - {0}:
            table[i, position - 1] = True
    return table


WINDOWS = [
    (4, 4),  # one block of memory
    (4, 8),
    (4, 3),  # a memory that is no whole number of blocks
    (2, 5),
    (4, 0),  # no memory: blocks on their own
    (1, 2),
    (16, 4),  # one block: full attention
]


@pytest.mark.parametrize("num_layers", [1, 2, 3])
@pytest.mark.parametrize(("block", "memory"), WINDOWS)
def test_each_position_sees_exactly_the_claimed_tokens(block, memory, num_layers):
    config = replace(GREY, block_length=block, memory_length=memory, num_layers=num_layers)
    seen = seen_by(config)
    assert not seen.triu().any()
    assert torch.equal(seen, claimed(config))
    assert torch.equal(seen, by_steps(config))


@pytest.mark.parametrize("num_layers", [1, 2, 3])
@pytest.mark.parametrize(("block", "memory"), [(9, 6), (3, 4)])
def test_colours_are_positions_like_others(block, memory, num_layers):
    config = replace(RGB, block_length=block, memory_length=memory, num_layers=num_layers)
    seen = seen_by(config)
    assert torch.equal(seen, claimed(config))
    assert torch.equal(seen, by_steps(config))


def test_the_window_by_hand():
    """Blocks of 4, 4 before: position 13 (block 12 to 15) sees tokens 7 to 12, then 3, then all."""
    for num_layers, first in ((1, 7), (2, 3), (3, 0)):
        tokens = seen_by(replace(GREY, num_layers=num_layers))[13].nonzero().flatten().tolist()
        assert tokens == list(range(first, 13))


def test_the_mask_by_hand():
    """Four positions, blocks of 2, one position before: position -1 does not exist."""
    yes, no = True, False
    assert local_mask(4, 2, 1).tolist() == [
        [[no, yes, no], [no, yes, yes]],  # positions 0, 1 look at -1, 0, 1
        [[yes, yes, no], [yes, yes, yes]],  # positions 2, 3 look at 1, 2, 3
    ]
    assert local_mask(192, 24, 48).numel() == 192 * (24 + 48)


@pytest.mark.parametrize(("block", "memory"), WINDOWS)
def test_local_attention_is_full_attention_with_a_mask(block, memory):
    config = replace(GREY, block_length=block, memory_length=memory)
    layer, x = fresh(config, kind=LocalAttention), noise(2, 16, 4)
    query, key, value = (
        rearrange(each(x), "b n (heads e) -> b heads n e", heads=2)
        for each in (layer.query, layer.key, layer.value)
    )
    scores = query @ key.mT / math.sqrt(2)
    for i in range(16):
        for j in range(16):
            if not i // block * block - memory <= j <= i:
                scores[:, :, i, j] = -torch.inf
    mixed = rearrange(scores.softmax(dim=-1) @ value, "b heads n e -> b n (heads e)")
    torch.testing.assert_close(layer(x), layer.output(mixed), rtol=1e-12, atol=1e-12)


def test_a_block_adds_two_corrections():
    block, x = fresh(GREY).blocks[0], noise(2, 16, 4)
    once = x + block.attention(block.attention_norm(x))
    expected = once + block.feed_forward(block.feed_forward_norm(once))
    torch.testing.assert_close(block(x), expected)


def test_tokens_are_shifted_and_positions_are_added():
    """What the first block gets, token by token: colour, row and column of the position itself."""
    model, x = fresh(RGB), random_sequences(RGB, 2)
    seen = []
    model.blocks.register_forward_hook(lambda _, inputs, __: seen.append(inputs[0]))
    h = model.embed(x)
    model.from_embedding(h)
    for i in range(27):
        row, column, colour = i // 9, i // 3 % 3, i % 3
        torch.testing.assert_close(h[:, i], model.value_embedding.weight[3 * colour + x[:, i]])
        expected = h[:, i - 1] if i > 0 else torch.zeros(2, 4, dtype=torch.float64)
        expected = expected + model.row_embedding.weight[row]
        expected = expected + model.column_embedding.weight[column]
        expected = expected + model.colour_embedding.weight[colour]
        torch.testing.assert_close(seen[0][:, i], expected)


@COLOURS
def test_gradients_reach_every_weight(config):
    """All but the bias of the keys: it changes all scores of a position alike, so softmax drops
    it."""
    model = fresh(replace(config, num_layers=2))
    model(random_sequences(config, 40)).log_softmax(dim=-1)[..., 0].sin().sum().backward()
    for name, parameter in model.named_parameters():
        if not name.endswith("key.bias"):
            assert (parameter.grad != 0).all(), name


def test_heads_share_the_width_and_blocks_the_row_evenly():
    with pytest.raises(ValueError, match="width is 5; allowed: multiples of num_heads, 2"):
        replace(GREY, width=5)
    with pytest.raises(ValueError, match="num_positions is 16; allowed: multiples of block_length"):
        replace(GREY, block_length=3)

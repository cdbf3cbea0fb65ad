"""Both PixelCNNs: what each position sees, that the product is a distribution, and that they learn.

Claims about windows are checked by gradients in double precision, at several random inputs: a
gradient can be 0 at one input by chance (a closed ReLU), and is 0 at all of them by the mask.
"""

import math
from dataclasses import replace

import pytest
import torch
from einops import rearrange
from support import pixel_models
from support.pixel_models import fresh, noise, random_sequences

from vqlearn.autoregressive.pixelcnn import (
    GatedLayer,
    GatedPixelCNN,
    MaskedConv,
    PixelCNN,
    PixelCNNConfig,
    ResidualBlock,
    gate,
    raster_mask,
    rows_mask,
)

GREY = PixelCNNConfig(side=5, channels=1, num_codes=2, width=6, num_layers=2, kernel_size=3)
RGB = replace(GREY, side=4, channels=3, num_codes=3)
BOTH = pytest.mark.parametrize("kind", [PixelCNN, GatedPixelCNN])


def seen_by(kind, config):
    """Entry (i, j): position i depends on token j, at one or more of six networks and inputs."""
    return pixel_models.seen_by([fresh(kind, config, seed) for seed in range(6)], width=1)


def positions(config):
    """(row, column, colour) of each token of a row."""
    side, channels = config.side, config.channels
    return [(*divmod(i // channels, side), i % channels) for i in range(config.num_positions)]


def claimed(kind, config):
    """The formula at the top of pixelcnn.py, pair by pair."""
    r, layers = config.kernel_size // 2, config.num_layers
    table = torch.zeros(config.num_positions, config.num_positions, dtype=torch.bool)
    for i, (row, column, colour) in enumerate(positions(config)):
        for j, (other_row, other_column, other_colour) in enumerate(positions(config)):
            up, right = row - other_row, other_column - column
            far = r * min(up, layers) if kind is PixelCNN else layers * r
            table[i, j] = (
                (up == right == 0 and other_colour < colour)
                or (up == 0 and -layers * r <= right <= -1)
                or (1 <= up <= layers * r and -layers * r <= right <= far)
            )
    return table


WINDOWS = [
    *(replace(GREY, num_layers=layers) for layers in (1, 2, 4)),
    replace(GREY, side=6, num_layers=2, kernel_size=5),
    replace(GREY, side=6, num_layers=1, kernel_size=7),
    *(replace(RGB, num_layers=layers) for layers in (1, 2, 3)),
]


@BOTH
@pytest.mark.parametrize(
    "config", WINDOWS, ids=lambda c: f"c{c.channels}-L{c.num_layers}-k{c.kernel_size}"
)
def test_each_position_sees_exactly_the_claimed_window(kind, config):
    """No leak, no hole, colours included."""
    seen = seen_by(kind, config)
    assert not seen.triu().any()
    assert torch.equal(seen, claimed(kind, config))


@pytest.mark.parametrize("config", [replace(GREY, num_layers=4), replace(RGB, num_layers=3)])
def test_enough_gated_layers_see_every_position_before(config):
    n = config.num_positions
    assert torch.equal(seen_by(GatedPixelCNN, config), torch.ones(n, n).tril(-1).bool())


@pytest.mark.parametrize(("kernel_size", "enough", "never"), [(3, 5, 85), (5, 3, 34)])
def test_the_blind_spot_stays_at_any_depth(kernel_size, enough, never):
    """Above and to the right, further right than r pixels for each row up. Of 630 pairs of 6 x 6
    pixels: more layers help until `enough`, and then `never` pairs stay unseen."""
    config = replace(GREY, side=6, kernel_size=kernel_size)
    position, r = positions(config), kernel_size // 2
    blind = {
        (i, j)
        for i, (row, column, _) in enumerate(position)
        for j, (other_row, other_column, _) in enumerate(position[:i])
        if other_column - column > r * (row - other_row) > 0
    }
    unseen = {}
    for layers in (1, enough - 1, enough, enough + 2):
        pairs = (~seen_by(PixelCNN, replace(config, num_layers=layers))).nonzero().tolist()
        unseen[layers] = {(i, j) for i, j in pairs if j < i}
        assert blind <= unseen[layers]
    assert len(unseen[1]) > len(unseen[enough - 1]) > len(blind) == never
    assert unseen[enough] == unseen[enough + 2] == blind
    gated = seen_by(GatedPixelCNN, replace(config, num_layers=enough))
    assert gated.sum() == 630


def test_masks_by_hand():
    """Two colours, features in turn; a kernel of 3 x 3 and one of 1 x 3, of mask A and mask B."""
    own = torch.tensor([[1, 0, 1], [1, 1, 1], [1, 0, 1]]).bool()  # rows: outputs, columns: inputs
    before = torch.tensor([[0, 0, 0], [1, 0, 1], [0, 0, 0]]).bool()
    for see_own, centre in ((True, own), (False, before)):
        square = raster_mask((3, 3, 3, 3), 2, see_own=see_own)
        assert torch.equal(square[:, :, 1, 1], centre)
        around = rearrange(square, "o i h w -> (o i) (h w)")[:, [0, 1, 2, 3, 5, 6, 7, 8]]
        assert (around == torch.tensor([1, 1, 1, 1, 0, 0, 0, 0]).bool()).all()
        across = raster_mask((3, 3, 1, 3), 2, see_own=see_own)
        assert across[..., 0].all()
        assert torch.equal(across[:, :, 0, 1], centre)
        assert not across[..., 2].any()
    for see_own, rows in ((True, [1, 1, 1, 0, 0]), (False, [1, 1, 0, 0, 0])):
        mask = rows_mask((2, 3, 5, 5), see_own=see_own)
        assert (mask == torch.tensor(rows).bool()[:, None]).all()
        assert mask.shape == (2, 3, 5, 5)


def test_a_masked_convolution_by_loops():
    """Sum over kernel and inputs, weights outside the mask left out, 0 outside the image."""
    layer = MaskedConv(noise(2, 3, 3, 5) < 0).double()
    x, mask = noise(1, 3, 4, 4, seed=1), layer.mask
    found = layer(x)
    assert found.shape == (1, 2, 4, 4)
    for out, row, column in [(0, 0, 0), (1, 3, 3), (0, 1, 2), (1, 2, 1)]:
        total = layer.bias[out].clone()
        for i, up, left in mask[out].nonzero().tolist():
            y, z = row + up - 1, column + left - 2
            if 0 <= y < 4 and 0 <= z < 4:
                total = total + layer.weight[out, i, up, left] * x[0, i, y, z]
        torch.testing.assert_close(found[0, out, row, column], total, rtol=1e-12, atol=1e-12)


def test_the_gate_by_hand():
    """The first half speaks, the second opens: tanh(1) · 1/2, and 0 where nothing is said."""
    x = torch.tensor([1.0, 0.0, 0.0, 3.0])[None, :, None, None]
    assert gate(x).flatten().tolist() == pytest.approx([math.tanh(1) / 2, 0.0])


def test_only_the_first_layer_has_mask_a():
    """Mask A in a later layer would leak nothing, and lose the features of the position itself."""
    plain, gated = fresh(PixelCNN, RGB), fresh(GatedPixelCNN, RGB)
    assert torch.equal(plain.first.mask, raster_mask((12, 3, 3, 3), 3, see_own=False))
    look = plain.blocks[0].correction[3].mask
    assert torch.equal(look, raster_mask((6, 6, 3, 3), 3, see_own=True))
    for layer, inputs in zip(gated.layers, (3, 6), strict=True):
        own = inputs == 6
        across, above = layer.horizontal.mask, layer.vertical.mask
        assert torch.equal(across, raster_mask((12, inputs, 1, 3), 3, see_own=own))
        assert torch.equal(above, rows_mask((12, inputs, 3, 3), see_own=own))


def test_live_weights_alone_decide_the_size_of_the_first_features():
    """4,000 outputs of unit noise, half of the inputs masked: variance gain², not half of it."""
    mask = noise(4000, 40, 1, 1) < 0
    layer = fresh(MaskedConv, mask)
    layer.draw_by_live_fan_in(gain=3)
    x = noise(1, 40, 1, 1, seed=1)
    live = (mask * x**2).sum(dim=1).flatten() / mask.sum(dim=1).flatten()
    assert layer(x).flatten().div(live.sqrt()).std().item() == pytest.approx(3, rel=0.05)
    assert not layer.bias.any()


def features_at_first(draw=lambda layer: None, layers=8):
    """Mean variance over images of v and of h after each layer of a deep network, in order."""
    config = replace(RGB, side=6, width=24, num_layers=layers)
    model = fresh(GatedPixelCNN, config)
    model.layers.apply(draw)
    v = h = noise(50, 3, 6, 6)
    found = []
    for layer in model.layers:
        v, h = layer(v, h)
        found.append((v.var(dim=0).mean().item(), h.var(dim=0).mean().item()))
    return [list(each) for each in zip(*found, strict=True)]


def test_features_of_a_deep_gated_network_neither_die_nor_explode_at_first():
    """v shrinks slowly, since the gate is not linear; h grows by what each layer adds."""
    vertical, horizontal = features_at_first()
    assert max(vertical) < 1
    assert min(vertical) > max(vertical) / 200
    assert 0.05 < min(horizontal) <= max(horizontal) < 20


def test_features_would_die_with_the_first_weights_of_torch():
    """These count masked weights, too: three layers lose more than eight do by live fan-in."""

    def draw(layer):
        if isinstance(layer, MaskedConv):
            layer.reset_parameters()

    vertical, _ = features_at_first(draw, layers=3)
    assert min(vertical) < max(vertical) / 200


@pytest.mark.parametrize("first", [True, False])
def test_a_gated_layer_is_its_formula(first):
    layer = GatedLayer(RGB, first=first).double()
    v, h = noise(2, 1, 3 if first else 6, 4, 4)
    u = layer.vertical(v)
    new_v, new_h = layer(v, h)
    mixed = torch.einsum("oi,bihw->bohw", layer.from_above.weight[:, :, 0, 0], u)  # no mask
    gated = layer.horizontal(h) + mixed + layer.from_above.bias[:, None, None]
    expected = layer.project(gated[:, :6].tanh() * gated[:, 6:].sigmoid())
    torch.testing.assert_close(new_v, u[:, :6].tanh() * u[:, 6:].sigmoid())
    torch.testing.assert_close(new_h, expected if first else h + expected)


def test_a_residual_block_adds_a_correction():
    """With weights of 0 in its last map, and that map's bias 1, each number grows by 1."""
    block = ResidualBlock(RGB).double()
    with torch.no_grad():
        block.correction[-1].weight.zero_()
        block.correction[-1].bias.fill_(1.0)
    x = noise(2, 12, 4, 4)
    torch.testing.assert_close(block(x), x + 1)


@BOTH
def test_levels_lie_evenly_between_minus_one_and_one(kind):
    model = fresh(kind, replace(GREY, side=2, num_codes=5))
    h = model.embed(torch.tensor([[0, 1, 2, 4]]))
    assert h.shape == (1, 4, 1)
    assert h.flatten().tolist() == [-1.0, -0.5, 0.0, 1.0]
    assert model.float().embed(torch.tensor([[0, 1, 2, 4]])).dtype == torch.float32


@BOTH
@pytest.mark.parametrize("config", [GREY, RGB], ids=["grey", "rgb"])
def test_gradients_reach_every_weight_that_counts(kind, config):
    """In one or more of ten networks: a ReLU that is closed at every pixel hides what feeds it."""
    reached = {}
    for seed in range(10):
        model = fresh(kind, config, seed)
        model(random_sequences(config, 20)).log_softmax(dim=-1)[..., 0].sin().sum().backward()
        for name, parameter in model.named_parameters():
            reached[name] = reached.get(name, False) | (parameter.grad != 0)
    masks = dict(model.named_buffers())
    for name, found in reached.items():
        mask = masks.get(name.replace("weight", "mask"), torch.tensor(True))
        assert torch.equal(found, mask.expand(found.shape)), name


def test_kernels_are_odd_and_colours_share_the_width_evenly():
    with pytest.raises(ValueError, match="kernel_size is 4; allowed: odd numbers"):
        replace(GREY, kernel_size=4)
    with pytest.raises(ValueError, match="width is 16; allowed: multiples of channels, 3"):
        replace(RGB, width=16)

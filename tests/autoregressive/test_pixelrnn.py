"""PixelRNN: what each position sees, the walk along diagonals against loops, that it is a
distribution."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from einops import rearrange
from support import pixel_models
from support.pixel_models import noise, random_sequences

from vqlearn.autoregressive.pixelrnn import (
    DiagonalBiLSTM,
    DiagonalLSTM,
    PixelRNN,
    PixelRNNConfig,
    skew,
    unskew,
)

GREY = PixelRNNConfig(side=5, channels=1, num_codes=2, width=4, num_layers=1)
RGB = replace(GREY, side=4, channels=3, num_codes=3, width=6)
COLOURS = pytest.mark.parametrize("config", [GREY, RGB], ids=["grey", "rgb"])


def fresh(config, seed=0, kind=PixelRNN):
    return pixel_models.fresh(kind, config, seed)


def seen_by(config, change=lambda model: None):
    """Entry (i, j): position i depends on token j, at one or more of three networks and inputs."""
    models = [fresh(config, seed) for seed in range(3)]
    for model in models:
        change(model)
    return pixel_models.seen_by(models, width=1)


def all_before(n):
    return torch.ones(n, n).tril(-1).bool()


@COLOURS
@pytest.mark.parametrize("num_layers", [1, 2])
def test_each_position_sees_every_position_before(config, num_layers):
    """No leak, colours included, and no blind spot."""
    seen = seen_by(replace(config, num_layers=num_layers))
    assert not seen.triu().any()
    assert torch.equal(seen, all_before(config.num_positions))


@COLOURS
@pytest.mark.parametrize("num_layers", [1, 3])
def test_without_the_pixel_before_the_end_of_the_row_above_is_a_blind_spot(config, num_layers):
    """The last colour of the last pixel, for all positions but the last two columns: no others."""
    side, c = config.side, config.channels
    seen = seen_by(
        replace(config, num_layers=num_layers),
        lambda model: torch.nn.init.zeros_(model.pixel_before.weight),
    )
    blind = torch.zeros_like(seen)
    for row in range(1, side):
        last = row * side * c - 1
        blind[row * side * c : (row * side + side - 2) * c, last] = True
    assert torch.equal(all_before(config.num_positions) & ~seen, blind)


@pytest.mark.parametrize("side", [1, 2])
def test_the_smallest_pictures_see_every_position_before(side):
    config = replace(RGB, side=side)
    assert torch.equal(seen_by(config), all_before(config.num_positions))


def test_one_direction_sees_the_rectangle_to_the_top_left():
    """Also of its own pixel: it is a layer with mask B; with two colours, blue sees red."""
    layer = fresh(replace(GREY, side=4, channels=2), kind=DiagonalLSTM)
    x = noise(8, 4, 4)
    jacobian = torch.autograd.functional.jacobian(lambda x: layer(x[None])[0], x)
    colours = rearrange(jacobian != 0, "(d a) y z (e b) r s -> a y z b r s d e", a=2, b=2)
    for a, y, z, b, r, s in torch.ones(2, 4, 4, 2, 4, 4).nonzero().tolist():
        inside = (r <= y and s <= z) and ((r, s) != (y, z) or b <= a)
        assert colours[a, y, z, b, r, s].any() == inside


def test_skew_by_hand():
    x = torch.arange(1.0, 10.0).reshape(1, 1, 3, 3)
    expected = [[1, 2, 3, 0, 0], [0, 4, 5, 6, 0], [0, 0, 7, 8, 9]]
    assert skew(x)[0, 0].tolist() == expected
    assert torch.equal(unskew(skew(x)), x)
    images = noise(2, 3, 4, 4)
    assert torch.equal(unskew(skew(images)), images)
    everywhere = unskew(torch.arange(10.0).reshape(1, 1, 2, 5)[..., :3])
    assert everywhere[0, 0].tolist() == [[0, 1], [6, 7]]


@COLOURS
@torch.no_grad()
def test_a_diagonal_lstm_is_its_formula_pixel_by_pixel(config):
    """Two loops over rows and columns, states 0 outside the image."""
    layer, side, d = fresh(config, kind=DiagonalLSTM), config.side, config.width
    x = noise(2, 2 * d, side, side)
    weight = (layer.from_input.weight * layer.from_input.mask)[..., 0, 0]
    above, left = layer.from_states.weight.unbind(dim=-1)
    said, memory = torch.zeros(2, 2, side + 1, side + 1, d, dtype=torch.float64)  # from -1
    for r in range(1, side + 1):
        for c in range(1, side + 1):
            gates = x[:, :, r - 1, c - 1] @ weight.T + layer.from_input.bias
            gates = gates + said[:, r - 1, c] @ above.T + said[:, r, c - 1] @ left.T
            out, forget, enter, content = gates.chunk(4, dim=1)
            kept = forget.sigmoid() * memory[:, r, c - 1]
            memory[:, r, c] = kept + enter.sigmoid() * content.tanh()
            said[:, r, c] = out.sigmoid() * memory[:, r, c].tanh()
    expected = rearrange(said[:, 1:, 1:], "b r c d -> b d r c")
    torch.testing.assert_close(layer(x), expected, rtol=1e-12, atol=1e-12)


def test_a_layer_adds_both_directions_and_the_right_one_one_row_lower():
    layer = fresh(RGB, kind=DiagonalBiLSTM)
    x = noise(2, 12, 4, 4)
    right = layer.from_right(x.flip(-1)).flip(-1)
    states = layer.from_left(x)
    states[:, :, 1:] += right[:, :, :-1]
    torch.testing.assert_close(layer(x), x + layer.widen(states), rtol=1e-12, atol=1e-12)


def test_a_column_is_one_step_and_there_are_two_sides_less_one(monkeypatch):
    steps = []
    conv = F.conv1d
    monkeypatch.setattr(F, "conv1d", lambda *args: steps.append(args[0].shape) or conv(*args))
    fresh(replace(RGB, num_layers=2))(random_sequences(RGB, 2))
    assert steps == [(2, 6, 5)] * (2 * 2 * 7)


@COLOURS
def test_gradients_reach_every_weight_that_counts(config):
    """In one or more of four networks: a ReLU may be closed for all rows of one of them."""
    reached = {}
    for seed in range(4):
        model = fresh(replace(config, num_layers=2), seed)
        model(random_sequences(config, 20)).log_softmax(dim=-1)[..., 0].sin().sum().backward()
        for name, parameter in model.named_parameters():
            reached[name] = reached.get(name, False) | (parameter.grad != 0)
    masks = dict(model.named_buffers())
    for name, found in reached.items():
        mask = masks.get(name.replace("weight", "mask"), torch.ones_like(found))
        assert torch.equal(found, mask), name


def test_colours_share_the_width_evenly():
    with pytest.raises(ValueError, match="width is 16; allowed: multiples of channels, 3"):
        replace(RGB, width=16)

"""PixelCNN++: what each position sees, whole pixels against single colours, and that it learns.

Windows are checked twice: by gradients in double precision, and against a second network of sets,
which says for each pixel which pixels its features come from.
"""

import math
from dataclasses import replace

import pytest
import torch

from vqlearn.autoregressive import model as raster
from vqlearn.autoregressive.pixelcnnpp import (
    GatedResidual,
    PixelCNNPlusPlus,
    PixelCNNPlusPlusConfig,
    ShiftedConv,
    both_signs,
    look_above,
    look_before,
)

GREY = PixelCNNPlusPlusConfig(
    side=5, channels=1, num_codes=4, width=4, num_blocks=1, num_mixtures=2
)
RGB = replace(GREY, side=3, channels=3)
PAIR = pytest.mark.parametrize("config", [GREY, RGB], ids=["grey", "rgb"])


def fresh(config, seed=0, dtype=torch.float64):
    """Fresh weights, but with distributions that are not flat."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = PixelCNNPlusPlus(config).to(dtype)
        with torch.no_grad():
            model.head.weight.mul_(6)
    return model


def random_sequences(config, count, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(config.num_codes, (count, config.num_positions), generator=generator)


ABOVE = [(up, right) for up in (-1, 0) for right in (-1, 0, 1)]
BEFORE = [(up, right) for up in (-1, 0) for right in (-1, 0)]


def look(sets, taps, stride=1):
    """One convolution: the union of the sets of all pixels that it reads."""
    side = math.ceil(math.sqrt(len(sets)) / stride)
    pixels = [(y, x) for y in range(side) for x in range(side)]
    return {
        (y, x): set().union(*(sets.get((stride * y + up, stride * x + r), ()) for up, r in taps))
        for y, x in pixels
    }


def join(*all_sets):
    return {
        position: set().union(*(sets[position] for sets in all_sets)) for position in all_sets[0]
    }


def block_of_sets(above, before, kept=()):
    above = join(above, look(join(look(above, ABOVE), *kept[:1]), ABOVE))
    return above, join(before, look(join(look(before, BEFORE), above, *kept[1:]), BEFORE))


def doubled(sets, like):
    return {(y, x): sets[y // 2, x // 2] for y, x in like}


def pixels_seen(side, blocks):
    """From each pixel to the set of pixels that it can know."""
    image = {(y, x): {(y, x)} for y in range(side) for x in range(side)}
    row_above = [(-1, -1), (-1, 0), (-1, 1)]
    streams = (
        look(image, [*row_above, (-2, -1), (-2, 0), (-2, 1)]),
        look(image, [*row_above, (-1, -1), (0, -1)]),
    )
    results = [streams]
    for size in range(3):
        if size > 0:
            streams = look(streams[0], ABOVE, 2), look(streams[1], BEFORE, 2)
            results.append(streams)
        for _ in range(blocks):
            streams = block_of_sets(*streams)
            results.append(streams)
    results.pop()
    for size in range(3):
        if size > 0:
            streams = tuple(doubled(sets, results[-1][0]) for sets in streams)
        for _ in range(blocks + (size > 0)):
            streams = block_of_sets(*streams, results.pop())
    assert not results
    return streams[1]


def claimed(config):
    """Entry (i, j): token j belongs to a pixel that is seen, or to an earlier colour of the own."""
    side, c, n = config.side, config.channels, config.num_positions
    seen = pixels_seen(side, config.num_blocks)
    table = torch.zeros(n, n, dtype=torch.bool)
    for i in range(n):
        for j in range(n):
            own, other = divmod(i // c, side), divmod(j // c, side)
            table[i, j] = other in seen[own] or (own == other and j < i)
    return table


def seen_by(config):
    """The same by gradients, at one or both of two networks and inputs."""
    seen = torch.zeros(config.num_positions, config.num_positions, dtype=torch.bool)
    for seed in range(2):
        model = fresh(config, seed)
        generator = torch.Generator().manual_seed(seed)
        h = torch.randn(config.num_positions, 1, dtype=torch.float64, generator=generator)
        seen |= raster.dependence(lambda h, model=model: model.from_embedding(h[None])[0], h)
    return seen


@pytest.mark.parametrize(
    ("config", "holes"),
    [
        (replace(GREY, side=1), 0),
        (replace(GREY, side=2), 0),
        (replace(GREY, side=7, num_codes=2), 0),
        (replace(GREY, side=8, num_codes=2), 8),
        (replace(GREY, side=9, num_codes=2), 24),
        (replace(GREY, side=8, num_codes=2, num_blocks=2), 0),
        (replace(RGB, side=1), 0),
        (replace(RGB, side=4, num_codes=3), 0),
        (replace(RGB, side=2, channels=4), 0),
    ],
    ids=lambda value: value if isinstance(value, int) else f"{value.side}-{value.channels}",
)
def test_each_position_sees_exactly_what_is_claimed(config, holes):
    """No leak, colours included, and no hole but those of the claim."""
    seen = seen_by(config)
    assert not seen.triu().any()
    assert torch.equal(seen, claimed(config))
    assert (~seen).tril(-1).sum() == holes


def earlier(side, position):
    return {(y, x) for y in range(side) for x in range(side) if (y, x) < position}


@pytest.mark.parametrize("blocks", [1, 2, 3])
def test_nothing_is_blind_up_to_the_claimed_side(blocks):
    for side in range(1, 4 * blocks + 4):
        seen = pixels_seen(side, blocks)
        assert all(seen[position] == earlier(side, position) for position in seen)
    for side in (4 * blocks + 4, 4 * blocks + 6):
        seen = pixels_seen(side, blocks)
        assert any(seen[position] != earlier(side, position) for position in seen)
        assert all(seen[position] <= earlier(side, position) for position in seen)
        for y, x in seen:
            if y % 2 == 1:
                reach = 4 * blocks + 2
                left = {other for row, other in seen[y, x] if row == y}
                assert left == set(range(max(x - reach, 0), x))
                right = {other for row, other in seen[y, x] if row == y - 1 and other > x}
                assert right == set(range(x + 1, min(x + reach, side - 1) + 1))


@pytest.mark.parametrize("config", [GREY, RGB, replace(RGB, num_codes=256)])
def test_pixels_and_colours_agree(config):
    model, x = fresh(config), random_sequences(config, 5)
    by_pixels, by_colours = model.log_likelihood(x), raster.log_likelihood(model.log_probs(x), x)
    torch.testing.assert_close(by_pixels, by_colours, rtol=0, atol=1e-9)
    assert by_pixels.std() > 0.1


@PAIR
def test_distributions_are_normalised_also_in_float32(config):
    for dtype, bound in ((torch.float32, 1e-6), (torch.float64, 1e-12)):
        distributions = fresh(config, dtype=dtype)(random_sequences(config, 5))
        assert distributions.dtype == dtype
        assert (distributions.double().exp().sum(dim=-1) - 1).abs().max() < bound


def one_colour(count, *, generator):
    """Every pixel of an image is the same: red any of 4, green equal to it, blue the opposite."""
    red = torch.randint(4, (count, 1), generator=generator)
    return torch.cat([red, red, 3 - red], dim=1).repeat(1, 4)


def one_grey(count, *, generator):
    return torch.randint(5, (count, 1), generator=generator).repeat(1, 4)


@pytest.mark.parametrize(
    ("config", "rows", "entropy"),
    [
        (replace(GREY, side=2, num_codes=5, width=8, num_mixtures=5), one_grey, math.log(5)),
        (replace(RGB, side=2, width=8, num_mixtures=4), one_colour, math.log(4)),
    ],
    ids=["grey", "rgb"],
)
def test_images_of_one_colour_are_learnt(config, rows, entropy):
    """Independent positions cannot go below n times the entropy of one position."""
    torch.manual_seed(0)
    model = PixelCNNPlusPlus(config)
    generator = torch.Generator().manual_seed(0)
    adam = torch.optim.Adam(model.parameters(), lr=1e-2)
    slower = torch.optim.lr_scheduler.LinearLR(adam, 1.0, 0.05, total_iters=80)
    for _ in range(80):
        loss = -model.log_likelihood(rows(32, generator=generator)).mean()
        adam.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        adam.step()
        slower.step()
    with torch.no_grad():
        nats = -model.log_likelihood(rows(400, generator=generator)).mean().item()
    independent = config.num_positions * entropy
    assert entropy - 0.1 < nats < entropy + 0.15 * (independent - entropy)


def test_gradients_reach_every_parameter():
    model = fresh(RGB)
    (-model.log_likelihood(random_sequences(RGB, 8))).sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad.abs().max() > 0, name


def test_numbers_of_a_pixel_are_what_the_config_says():
    for channels, numbers in ((1, 3), (3, 10), (4, 15)):
        model = fresh(replace(GREY, channels=channels))
        assert model.head.out_channels == numbers * GREY.num_mixtures
        mixture, levels = model.mixture(model.embed(random_sequences(model.config, 2)))
        assert mixture.logits.shape == (2, 25, 2)
        assert mixture.means.shape == mixture.log_scales.shape == (2, 25, channels, 2)
        assert levels.shape == (2, 25, channels)


def test_levels_are_embedded_from_minus_one_to_one_and_read_back():
    """Pixel by pixel, red, green and blue: the order of data/pixels.py."""
    model, x = fresh(replace(RGB, num_codes=5)), torch.arange(27)[None] % 5
    h = model.embed(x)
    assert h[0, :5, 0].tolist() == [-1, -0.5, 0, 0.5, 1]
    _, levels = model.mixture(h)
    torch.testing.assert_close(levels[0, 1], torch.tensor([3.0, 4.0, 0.0], dtype=torch.float64))


@pytest.mark.parametrize(
    ("conv", "read"),
    [
        (look_above, [(1, 1), (1, 2), (1, 3), (2, 1), (2, 2), (2, 3)]),
        (look_before, [(1, 1), (1, 2), (2, 1), (2, 2)]),
    ],
)
def test_shifted_convolutions_read_above_and_to_the_left(conv, read):
    """From pixel (2, 2) of 5 x 5, which with a stride of 2 is pixel (1, 1)."""
    for stride, (y, x) in ((1, (2, 2)), (2, (1, 1))):
        layer = conv((1, 1), stride=stride)
        image = torch.zeros(1, 1, 5, 5, requires_grad=True)
        output = layer(image)
        assert output.shape == ((1, 1, 5, 5) if stride == 1 else (1, 1, 3, 3))
        (gradient,) = torch.autograd.grad(output[0, 0, y, x], image)
        assert [tuple(each) for each in gradient[0, 0].nonzero().tolist()] == read


def test_the_gated_residual_is_its_formula():
    torch.manual_seed(0)
    part = GatedResidual(look_before, 2, num_others=1)
    x, other = torch.randn(2, 1, 2, 3, 3)
    inner = part.look(both_signs(x)) + part.listen(both_signs(other))
    c, g = part.propose(both_signs(inner)).split(2, dim=1)
    torch.testing.assert_close(part(x, other), x + c * torch.sigmoid(g))
    assert both_signs(torch.tensor([[[[-1.0]]]]))[0, :, 0, 0].tolist() == pytest.approx(
        [math.exp(-1) - 1, 1]
    )
    assert isinstance(part.look, ShiftedConv)


def test_the_border_differs_from_a_pixel_of_value_0():
    """An image of value 0, in its middle and in the first column, one pixel below the top."""
    above, before = fresh(GREY).first(torch.zeros(1, 1, 5, 5).double())
    for features in (above, before):
        assert (features[0, :, 3, 2] - features[0, :, 1, 0]).abs().max() > 1e-3
        torch.testing.assert_close(features[0, :, 3, 2], features[0, :, 3, 3])

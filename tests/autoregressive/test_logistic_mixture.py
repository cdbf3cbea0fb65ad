"""Mixtures of logistic distributions, cut into bins: against the direct formula with 60 decimal
digits."""

import math
from decimal import MAX_EMAX, MIN_EMIN, Decimal, localcontext

import pytest
import torch
from einops import rearrange

from vqlearn.autoregressive.logistic_mixture import (
    LogisticMixture,
    log_conditionals,
    log_distribution,
    log_joint,
    log_mass,
    shifted_means,
)
from vqlearn.autoregressive.pixel_config import from_scale, to_scale

SIZES = pytest.mark.parametrize("num_codes", [2, 17, 256])


@pytest.fixture(autouse=True)
def _sixty_digits():
    with localcontext() as context:
        context.prec, context.Emax, context.Emin = 60, MAX_EMAX, MIN_EMIN
        yield


def sigmoid(u):
    return 1 / (1 + (-u).exp())


def direct_mass(level, mean, log_scale, num_codes):
    """σ(upper) - σ(lower) on the scale from -1 to 1; the half with the small numbers is taken."""
    half = 1 / Decimal(num_codes - 1)
    scale = min(max(Decimal(log_scale).exp(), 2 * half / 32), 2 * half * 32_768)
    centre = 2 * Decimal(level) / (num_codes - 1) - 1
    upper, lower = ((centre + side * half - Decimal(mean)) / scale for side in (1, -1))
    if level == 0:
        return sigmoid(upper)
    if level == num_codes - 1:
        return sigmoid(-lower)
    if upper + lower > 0:
        upper, lower = -lower, -upper
    return sigmoid(upper) - sigmoid(lower)


def direct_joint(mixture, levels):
    """One pixel, colour by colour and component by component, in loops."""
    top, m = mixture.num_codes - 1, len(mixture.logits)
    shares = [Decimal(each).exp() for each in mixture.logits.tolist()]
    means, coefficients = mixture.means.tolist(), mixture.coefficients.tolist()
    values = [2 * Decimal(level) / top - 1 for level in levels]
    total = Decimal(0)
    for i in range(m):
        alpha, beta, gamma = (Decimal(row[i]) for row in coefficients)
        red, green, blue = (Decimal(row[i]) for row in means)
        green += alpha * values[0]
        blue += beta * values[0] + gamma * values[1]
        mass = shares[i] / sum(shares)
        for channel, mean in enumerate((red, green, blue)):
            log_scale = mixture.log_scales[channel, i].item()
            mass *= direct_mass(levels[channel], mean, log_scale, mixture.num_codes)
        total += mass
    return total


def random_mixture(num_codes, shape=(), *, channels=3, m=3, dtype=torch.float64, seed=0):
    generator = torch.Generator().manual_seed(seed)

    def normal(*ends):
        return torch.randn(*shape, *ends, m, generator=generator, dtype=torch.float64).to(dtype)

    return LogisticMixture(
        normal(),
        normal(channels),
        normal(channels) - 2,
        normal(channels * (channels - 1) // 2),
        num_codes,
    )


def random_levels(mixture, seed=0):
    generator = torch.Generator().manual_seed(seed)
    shape = mixture.means.shape[:-1]
    levels = torch.randint(mixture.num_codes, shape, generator=generator)
    return levels.to(mixture.means.dtype)


MEANS = (-300.0, -1.7, -1.0, -0.31, 0.0, 0.004, 0.77, 1.0, 40.0)
LOG_SCALES = (-12.0, -8.0, -5.0, -2.3, 0.0, 2.0, 12.0)


def one_distribution_each(num_codes, dtype):
    """Every mean with every scale: (distributions, K) from the package, and the numbers
    themselves."""
    pairs = [(mean, log_scale) for mean in MEANS for log_scale in LOG_SCALES]
    mean, log_scale = torch.tensor(pairs, dtype=dtype).T
    levels = torch.arange(num_codes, dtype=dtype)
    return log_mass(levels, mean[:, None], log_scale[:, None], num_codes), mean, log_scale


@SIZES
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_one_logistic_distribution_is_the_direct_formula(num_codes, dtype):
    """Up to rounding: of the number itself, and of a mean that moves by its last binary digits."""
    found, mean, log_scale = one_distribution_each(num_codes, dtype)
    some = sorted({0, 1, num_codes // 2, num_codes - 2, num_codes - 1})
    epsilon = torch.finfo(dtype).eps
    for i, (mu, log_s) in enumerate(zip(mean.tolist(), log_scale.tolist(), strict=True)):
        moved = 4 * epsilon * (1 + abs(mu)) / max(math.exp(log_s), 1 / 16 / (num_codes - 1))
        for level in some:
            expected = float(direct_mass(level, mu, log_s, num_codes).ln())
            error = abs(found[i, level].item() - expected)
            assert error <= moved + 8 * epsilon * (1 + abs(expected)), (mu, log_s, level)


@SIZES
@pytest.mark.parametrize(("dtype", "bound"), [(torch.float32, 1e-6), (torch.float64, 1e-12)])
def test_distributions_add_up_to_one(num_codes, dtype, bound):
    """Also with means far away, and with scales far narrower or wider than the bins."""
    distributions, mean, log_scale = one_distribution_each(num_codes, dtype)
    assert (distributions.double().exp().sum(dim=-1) - 1).abs().max() < bound
    weights = torch.linspace(-8, 3, len(mean), dtype=dtype).log_softmax(dim=0)
    mixed = log_distribution(weights, mean, log_scale, num_codes)
    assert abs(mixed.double().exp().sum().item() - 1) < bound
    mixture = random_mixture(num_codes, (200,), dtype=dtype)
    distributions = log_conditionals(mixture, random_levels(mixture))
    assert distributions.dtype == dtype
    assert (distributions.double().exp().sum(dim=-1) - 1).abs().max() < bound


def test_the_edges_take_the_tails():
    """A mean far below: all mass is at level 0, although its bin ends long before."""
    levels = torch.arange(17.0)
    for mean, edge in ((-50.0, 0), (50.0, 16)):
        distribution = log_mass(levels, torch.tensor(mean), torch.tensor(0.0), 17)
        assert distribution.argmax() == edge
        assert distribution[edge] > -1e-6
    wide = log_mass(levels, torch.tensor(0.0), torch.tensor(12.0), 17).exp()
    torch.testing.assert_close(wide[[0, 16]], torch.tensor([0.5, 0.5]), rtol=1e-3, atol=0)


@SIZES
def test_scales_have_limits(num_codes):
    """1/32 and 32,768 widths of a bin: inside them, the scale matters, beyond them it does not."""
    level, mean = torch.tensor(1.0), torch.tensor(-1.0)  # the mean of level 0
    for limit, outwards in ((2 / (num_codes - 1) / 32, -1), (2 / (num_codes - 1) * 32_768, 1)):
        inside, at, beyond, far = (
            log_mass(level, mean, math.log(limit) + torch.tensor(outwards * step), num_codes)
            for step in (-0.1, 1e-4, 1.0, 30.0)
        )
        assert at == beyond == far
        assert inside != at
    sharp = log_mass(level, mean + 2 / (num_codes - 1), torch.tensor(-99.0), num_codes)
    assert sharp.exp().item() == pytest.approx(1, abs=3e-7)
    missed = log_mass(torch.tensor([0.0, 1.0, 2.0, 3.0]), mean, torch.tensor(-99.0), 256)
    assert missed.diff()[1:].tolist() == pytest.approx([-32, -32], abs=1e-4)


def test_levels_that_are_almost_whole_get_almost_the_same():
    """`from_scale` rounds: 254.99999 is the upper edge, and 0.00001 the lower one."""
    levels = torch.arange(256, dtype=torch.float64)
    mean, log_scale = (torch.tensor(each, dtype=torch.float64) for each in (0.9, -3.0))
    exact = log_mass(levels, mean, log_scale, 256)
    for shift in (-1e-9, 1e-9):
        near = log_mass(levels + shift, mean, log_scale, 256)
        torch.testing.assert_close(near, exact, rtol=0, atol=1e-9)


@SIZES
def test_the_scale_goes_from_minus_one_to_one_and_back(num_codes):
    levels = torch.arange(num_codes, dtype=torch.float64)
    scaled = to_scale(levels, num_codes)
    assert scaled[[0, -1]].tolist() == [-1, 1]
    torch.testing.assert_close(scaled.diff(), torch.full_like(scaled[1:], 2 / (num_codes - 1)))
    torch.testing.assert_close(from_scale(scaled, num_codes), levels)


def test_means_move_with_earlier_colours():
    """By hand, K = 5: levels 0, 3, 4 are the values -1, 0.5, 1."""
    mixture = LogisticMixture(
        torch.zeros(1),
        torch.tensor([[0.1], [0.2], [0.3]]),
        torch.zeros(3, 1),
        torch.tensor([[10.0], [100.0], [1000.0]]),
        num_codes=5,
    )
    means = shifted_means(mixture, torch.tensor([0.0, 3.0, 4.0]))
    torch.testing.assert_close(means, torch.tensor([[0.1], [0.2 - 10], [0.3 - 100 + 500]]))


@pytest.mark.parametrize("num_codes", [17, 256])
def test_the_joint_is_the_direct_formula(num_codes):
    for seed in range(4):
        mixture = random_mixture(num_codes, seed=seed)
        levels = random_levels(mixture, seed)
        expected = float(direct_joint(mixture, [int(each) for each in levels]).ln())
        assert log_joint(mixture, levels).item() == pytest.approx(expected, abs=1e-9, rel=1e-12)


def test_the_conditionals_are_those_of_the_joint():
    """All 5³ pixels: p(r) and p(g | r) are sums of the joint, and the joint adds up to 1."""
    codes = torch.arange(5, dtype=torch.float64)
    pixels = torch.cartesian_prod(codes, codes, codes)
    one = random_mixture(5)
    parts = (one.logits, one.means, one.log_scales, one.coefficients)
    mixture = LogisticMixture(*(each.expand(125, *each.shape) for each in parts), num_codes=5)
    joint = rearrange(log_joint(mixture, pixels), "(r g b) -> r g b", r=5, g=5).exp()
    red, green, blue = rearrange(
        log_conditionals(mixture, pixels), "(r g b) c k -> c r g b k", r=5, g=5
    ).exp()
    assert joint.sum().item() == pytest.approx(1, abs=1e-12)
    same = {"rtol": 0, "atol": 1e-12}
    torch.testing.assert_close(red[0, 0, 0], joint.sum(dim=(1, 2)), **same)
    pairs = joint.sum(dim=2)
    torch.testing.assert_close(green[:, 0, 0], pairs / pairs.sum(dim=1, keepdim=True), **same)
    torch.testing.assert_close(blue[:, :, 0], joint / pairs[..., None], **same)
    assert (green[0, 0, 0] - green[4, 0, 0]).abs().max() > 0.01  # red matters


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_the_sum_of_the_conditionals_is_the_joint(channels):
    mixture = random_mixture(256, (50,), channels=channels, m=5)
    levels = random_levels(mixture)
    distributions = log_conditionals(mixture, levels)
    assert distributions.shape == (50, channels, 256)
    found = distributions.gather(-1, levels.long()[..., None])[..., 0].sum(dim=-1)
    torch.testing.assert_close(found, log_joint(mixture, levels), rtol=1e-12, atol=1e-9)


def test_a_colour_depends_on_earlier_colours_only():
    """By the mixture's weights alone, with coefficients of 0, and with them."""
    for strength in (0.0, 1.0):
        mixture = random_mixture(17)
        mixture.coefficients.mul_(strength)
        levels = torch.tensor([3.0, 9.0, 12.0], dtype=torch.float64)
        jacobian = torch.autograd.functional.jacobian(
            lambda x, mixture=mixture: log_conditionals(mixture, x), levels
        )  # (c, K, c)
        depends = (jacobian != 0).any(dim=1)
        assert torch.equal(depends, torch.ones(3, 3).tril(-1).bool())


@SIZES
def test_numbers_and_gradients_stay_finite_in_float32(num_codes):
    """Means up to ±1e20, scales of e^±1000, weights of e^±500: no NaN, no infinity."""
    extremes = torch.tensor([-1e20, -1e4, -1.0, 0.0, 1.0, 1e4, 1e20])
    log_scales = torch.tensor([-1000.0, -12.0, -7.0, 0.0, 12.0, 1000.0])
    mean, log_scale = torch.cartesian_prod(extremes, log_scales).T
    weights = torch.linspace(-500, 500, len(mean))
    numbers = (
        weights,
        mean.repeat(3, 1),
        log_scale.repeat(3, 1),
        torch.tensor([[3.0], [-1e4], [0.0]]).repeat(1, len(mean)),
    )
    for part in (slice(None), *(slice(i, i + 1) for i in range(len(mean)))):
        leaves = [each[..., part].clone().requires_grad_() for each in numbers]
        mixture = LogisticMixture(*leaves, num_codes=num_codes)
        for level in {0, 1, num_codes - 2, num_codes - 1}:
            levels = torch.full((3,), float(level), requires_grad=True)
            joint, distributions = log_joint(mixture, levels), log_conditionals(mixture, levels)
            assert joint.isfinite()
            assert distributions.isfinite().all()
            assert (distributions.double().exp().sum(dim=-1) - 1).abs().max() < 1e-6
            for output in (joint, distributions.exp().sum(dim=0)[level]):
                gradients = torch.autograd.grad(output, [*leaves, levels], retain_graph=True)
                assert all(each.isfinite().all() for each in gradients)


def test_a_far_mean_is_pulled_back():
    """Far in the tail the loss is (mean - level) / s and more; its slope is 1/s, in float32 too."""
    mean = torch.tensor([[1e3]], requires_grad=True)
    mixture = LogisticMixture(
        torch.zeros(1), mean, torch.full((1, 1), -7.0), torch.zeros(0, 1), num_codes=256
    )
    (-log_joint(mixture, torch.tensor([100.0]))).backward()
    assert mean.grad.item() == pytest.approx(math.exp(7), rel=1e-5)


def test_bad_input_raises():
    one, two = torch.zeros(1), torch.zeros(2, 1)
    with pytest.raises(ValueError, match="num_codes is 1; allowed: 2 or more"):
        LogisticMixture(one, two, two, torch.zeros(1, 1), num_codes=1)
    with pytest.raises(ValueError, match="number of coefficients is 2; allowed: 1"):
        LogisticMixture(one, two, two, torch.zeros(2, 1), num_codes=5)

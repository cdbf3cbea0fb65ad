"""Noise on pixels, against numerical integration on a grid."""

import math
from itertools import product

import pytest
import torch
from scipy import stats
from support.gaussian_toys import (
    GRID,
    ROUGH,
    SPACING,
    STRIDES,
    T,
    density,
    numbers,
    random_images,
)

from vqlearn.continuous.gaussian import GaussianProcess
from vqlearn.continuous.schedule import linear


@pytest.mark.parametrize("values", [[1.0], [0.9, 0.5], [1, 0.5, 0.5], [1, 0.5, 0.0], [1, math.nan]])
def test_arrays_that_are_no_schedule_are_refused(values):
    with pytest.raises(ValueError, match=r"alpha_bar is .* allowed: 2 or more numbers that fall"):
        GaussianProcess(torch.tensor(values, dtype=torch.float64))


def one_step(t):
    """q(x_t | x_{t-1}) on the grid, rows x_{t-1}."""
    alpha = float(ROUGH[t] / ROUGH[t - 1])
    return density(GRID[None], math.sqrt(alpha) * GRID[:, None], 1 - alpha)


def many_steps(s, t):
    """q(x_t | x_s) on the grid, by integrating over all levels between."""
    kernel = one_step(s + 1)
    for level in range(s + 2, t + 1):
        kernel = kernel @ one_step(level) * SPACING
    return kernel


def moments(weights):
    """Mean and variance of a density on the grid, normalised or not."""
    weights = weights / weights.sum()
    mean = weights @ GRID
    return mean, weights @ (GRID - mean) ** 2


def inner(kernel):
    """Start points far enough from the ends of the grid."""
    return [i for i in range(0, len(kernel), 30) if abs(GRID[i]) < 3]


@pytest.mark.parametrize(("s", "t"), STRIDES)
def test_transitions_equal_the_integral_over_all_levels_between(process, s, t):
    kernel = many_steps(s, t)
    for row in inner(kernel):
        distribution = process.transition(numbers(GRID[row]), s, t)
        mean, variance = moments(kernel[row])
        assert distribution.mean.item() == pytest.approx(mean, abs=1e-11)
        assert distribution.variance.item() == pytest.approx(variance, abs=1e-11)


@pytest.mark.parametrize(("s", "t"), [(s, t) for s, t in STRIDES if s > 0])
def test_posterior_equals_bayes_by_integration(process, s, t):
    before, after = many_steps(0, s), many_steps(s, t)
    for row, column in product(inner(GRID), inner(GRID)):
        joint = before[row] * after[:, column]
        distribution = process.posterior(numbers(GRID[row]), numbers(GRID[column]), s, t)
        mean, variance = moments(joint)
        assert distribution.mean.item() == pytest.approx(mean, abs=1e-10)
        assert distribution.variance.item() == pytest.approx(variance, abs=1e-10)


@pytest.mark.parametrize("t", range(1, T + 1))
def test_posterior_at_level_0_is_the_known_image(process, t):
    x_0, x_t = random_images(2), random_images(2, seed=1)
    distribution = process.posterior(x_0, x_t, 0, t)
    assert torch.allclose(distribution.mean, x_0, rtol=0, atol=1e-15)
    assert distribution.variance.abs().max() == 0


@pytest.mark.parametrize(("s", "t"), STRIDES)
def test_chapman_kolmogorov_one_stride_back_is_many_steps_back(process, s, t):
    """With a known x_0 the mean is affine in x_t: follow its factor, offset and variance."""
    x_0 = numbers(0.7)

    def walk(s, t):
        at_0, at_1 = (process.posterior(x_0, numbers(x), s, t) for x in (0.0, 1.0))
        return at_1.mean - at_0.mean, at_0.mean, at_0.variance

    factor, offset, variance = 1.0, 0.0, 0.0
    for level in range(t, s, -1):
        a, b, v = walk(level - 1, level)
        factor, offset, variance = a * factor, a * offset + b, a**2 * variance + v
    direct = walk(s, t)
    for found, expected in zip((factor, offset, variance), direct, strict=True):
        assert found.item() == pytest.approx(expected.item(), abs=1e-14)


def test_the_noise_and_the_image_are_two_ways_to_say_the_same(process):
    x_0, epsilon = random_images(2), random_images(2, seed=1)
    for t in range(1, T + 1):
        alpha_bar = ROUGH[t]
        x_t = alpha_bar.sqrt() * x_0 + (1 - alpha_bar).sqrt() * epsilon
        assert torch.allclose(process.predict_x_0(x_t, epsilon, t), x_0, atol=1e-14)
        assert torch.allclose(process.predict_epsilon(x_t, x_0, t), epsilon, atol=1e-14)


def test_levels_may_differ_within_a_batch(process):
    x_0, x_t = random_images(4), random_images(4, seed=1)
    t, s = torch.tensor([1, 2, 5, 5]), torch.tensor([0, 1, 3, 0])
    together = [
        *process.transition(x_0, s, t),
        *process.posterior(x_0, x_t, s, t),
        *process.reverse(x_0, x_t, s, t, variance="large"),
        process.predict_x_0(x_t, x_0, t),
        process.predict_epsilon(x_t, x_0, t),
    ]
    for i in range(4):
        image, noisy, low, high = x_0[i : i + 1], x_t[i : i + 1], int(s[i]), int(t[i])
        alone = [
            *process.transition(image, low, high),
            *process.posterior(image, noisy, low, high),
            *process.reverse(image, noisy, low, high, variance="large"),
            process.predict_x_0(noisy, image, high),
            process.predict_epsilon(noisy, image, high),
        ]
        for all_rows, one_row in zip(together, alone, strict=True):
            assert torch.allclose(all_rows[i], one_row[0], rtol=0, atol=1e-14)


def test_float32_images_stay_float32_and_close_to_float64():
    process = GaussianProcess(linear(1000))
    x_0, x_t = random_images(2), random_images(2, seed=1)
    for s, t in [(0, 1), (1, 2), (499, 500), (100, 900), (999, 1000)]:
        exact = process.posterior(x_0, x_t, s, t)
        single = process.posterior(x_0.float(), x_t.float(), s, t)
        assert single.mean.dtype == torch.float32
        assert single.variance.dtype == torch.float64
        assert (single.mean - exact.mean).abs().max() < 1e-6
    assert process.corrupt(x_0.float(), 3).dtype == torch.float32


@pytest.mark.parametrize(("s", "t"), [(2, 2), (3, 2), (-1, 2), (0, T + 1)])
def test_levels_out_of_order_or_range_are_refused(process, s, t):
    with pytest.raises(ValueError, match="allowed"):
        process.posterior(numbers(0.0), numbers(0.0), s, t)
    with pytest.raises(ValueError, match="allowed"):
        process.reverse(numbers(0.0), numbers(0.0), s, t, variance="small")


def test_a_forward_step_to_a_lower_level_is_refused(process):
    with pytest.raises(ValueError, match="from s = 2 to t = 1; allowed: s up to t"):
        process.transition(numbers(0.0), 2, 1)
    with pytest.raises(ValueError, match="level t is 6; allowed: 0 to 5"):
        process.corrupt(numbers(0.0), 6)


@pytest.mark.usefixtures("unchecked")
def test_other_names_and_level_0_are_refused(process):
    with pytest.raises(ValueError, match="variance is 'medium'; allowed: 'small', 'large'"):
        process.reverse(numbers(0.0), numbers(0.0), 0, 1, variance="medium")
    with pytest.raises(ValueError, match="without noise; allowed: 1 to 5"):
        process.predict_epsilon(numbers(0.0, 0.0), numbers(0.0, 0.0), torch.tensor([0, 1]))


def test_one_generator_per_image_makes_images_independent_of_the_batch(process):
    x_0 = random_images(3)
    seeds = [torch.Generator().manual_seed(seed) for seed in range(3)]
    together = process.corrupt(x_0, 2, generator=seeds)
    for i in range(3):
        alone = process.corrupt(x_0[i : i + 1], 2, generator=[torch.Generator().manual_seed(i)])
        assert torch.equal(together[i], alone[0])


def test_corrupt_draws_from_the_marginal(process):
    """200,000 draws per level; Kolmogorov-Smirnov at 1e-6: one seed in 200,000 fails."""
    generator = torch.Generator().manual_seed(1)
    for t in range(1, T + 1):
        x_t = process.corrupt(numbers(0.6).expand(200_000, 1), t, generator=generator)[:, 0]
        distribution = stats.norm(0.6 * ROUGH[t].sqrt().item(), (1 - ROUGH[t]).sqrt().item())
        assert stats.kstest(x_t.numpy(), distribution.cdf).pvalue > 1e-6
    assert torch.equal(process.corrupt(numbers(0.6), 0), numbers(0.6))

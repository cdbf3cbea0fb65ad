"""Noise and blur on pixels, against numerical integration and data whose distribution is known."""

import math
from fractions import Fraction
from itertools import pairwise, product

import diffusers
import jaxtyping
import numpy as np
import pytest
import torch
from diffusers.schedulers import scheduling_ddpm
from scipy import ndimage, special, stats

from vqlearn.continuous.blur import Blur, Cold, NaiveCold
from vqlearn.continuous.gaussian import GaussianProcess
from vqlearn.continuous.normal import Normal, kl_divergence, standard_normal
from vqlearn.continuous.objective import (
    bits_per_dimension,
    bound_term,
    bound_terms,
    data_to_greys,
    greys_to_data,
    log_grey_probability,
    prior_term,
    simple_loss,
)
from vqlearn.continuous.sampler import DDIM, Ancestral, Model, sample
from vqlearn.continuous.schedule import cosine, linear
from vqlearn.diffusion.sampler import levels_to_visit

ROUGH = torch.tensor([1, 0.8, 0.5, 0.3, 0.1, 0.02], dtype=torch.float64)
T = len(ROUGH) - 1
STRIDES = [(s, t) for t in range(1, T + 1) for s in range(t)]
GRID = np.linspace(-9, 9, 361)  # for smooth distributions the sum over it is the integral
SPACING = GRID[1] - GRID[0]
VARIANCES = ("small", "large")
TARGETS = ("epsilon", "x_0")


@pytest.fixture
def process():
    return GaussianProcess(ROUGH)


@pytest.fixture
def unchecked():
    """Without the annotation check of the tests, as a user calls it."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


def numbers(*values):
    """A batch of images of one number."""
    return torch.tensor(values, dtype=torch.float64)[:, None]


def random_images(count, shape=(2, 3), seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, *shape, generator=generator, dtype=dtype)


# Schedules


def test_linear_with_1000_levels_is_the_product_of_the_steps_of_ddpm():
    found = linear(1000)
    beta = [Fraction("1e-4") + (Fraction("0.02") - Fraction("1e-4")) * i / 999 for i in range(1000)]
    expected = 1.0
    assert found[0] == 1
    for t in range(1, 1001):
        expected *= float(1 - beta[t - 1])
        assert found[t].item() == pytest.approx(expected, rel=1e-12)
    reference = diffusers.DDPMScheduler(beta_schedule="linear").alphas_cumprod
    torch.testing.assert_close(found[1:].float(), reference, rtol=1e-4, atol=0)


def test_linear_with_fewer_or_more_levels_passes_through_the_same_numbers():
    full = linear(1000)
    assert torch.allclose(linear(250), full[::4], rtol=1e-14)
    assert torch.allclose(linear(4000)[::4], full, rtol=1e-14)
    for num_timesteps in (1, 3, 7, 999):
        assert linear(num_timesteps)[-1] == full[-1]
    middle = linear(3)[1].log()
    assert middle.item() == pytest.approx((full[333].log() * 2 + full[334].log()).item() / 3)


@pytest.mark.parametrize("num_timesteps", [1, 2, 100, 1000])
def test_cosine_is_the_one_of_diffusers(num_timesteps):
    found = cosine(num_timesteps)
    betas = diffusers.DDPMScheduler(num_timesteps, beta_schedule="squaredcos_cap_v2").betas
    expected = (1 - betas.double()).cumprod(0)
    torch.testing.assert_close(found[1:-1], expected[:-1], rtol=1e-4, atol=0)
    torch.testing.assert_close(found[-1], expected[-1], rtol=1e-3, atol=0)
    assert found[0] == 1


def test_cosine_at_a_level_worked_out_by_hand():
    f_half, f_0 = (math.cos((u + 0.008) / 1.008 * math.pi / 2) ** 2 for u in (0.5, 0))
    assert cosine(10)[5].item() == pytest.approx(f_half / f_0, rel=1e-12)
    assert (cosine(10)[10] / cosine(10)[9]).item() == pytest.approx(0.001, rel=1e-12)


@pytest.mark.parametrize("schedule", [linear, cosine])
def test_schedules_make_a_process_for_every_T(schedule):
    for num_timesteps in (1, 2, 10, 1000, 4000):
        alpha_bar = schedule(num_timesteps)
        assert alpha_bar.dtype == torch.float64
        assert GaussianProcess(alpha_bar).num_timesteps == num_timesteps
    with pytest.raises(ValueError, match="num_timesteps is 0; allowed: 1"):
        schedule(0)


@pytest.mark.parametrize("values", [[1.0], [0.9, 0.5], [1, 0.5, 0.5], [1, 0.5, 0.0], [1, math.nan]])
def test_arrays_that_are_no_schedule_are_refused(values):
    with pytest.raises(ValueError, match=r"alpha_bar is .* allowed: 2 or more numbers that fall"):
        GaussianProcess(torch.tensor(values, dtype=torch.float64))


# The process, against numerical integration on a grid


def density(x, mean, variance):
    return np.exp(-((x - mean) ** 2) / (2 * variance)) / math.sqrt(2 * math.pi * variance)


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


def test_a_way_up_that_goes_down_is_refused(process):
    with pytest.raises(ValueError, match="from s = 2 to t = 1; allowed: s not above t"):
        process.transition(numbers(0.0), 2, 1)
    with pytest.raises(ValueError, match="level t is 6; allowed: 0 to 5"):
        process.corrupt(numbers(0.0), 6)


@pytest.mark.usefixtures("unchecked")
def test_other_names_and_level_0_are_refused(process):
    with pytest.raises(ValueError, match=r"variance is 'medium'; allowed: \('small', 'large'\)"):
        process.reverse(numbers(0.0), numbers(0.0), 0, 1, variance="medium")
    with pytest.raises(ValueError, match="without noise; allowed: 1 to T"):
        process.predict_epsilon(numbers(0.0, 0.0), numbers(0.0, 0.0), torch.tensor([0, 1]))


# Draws


def test_draws_of_the_standard_normal_have_its_distribution():
    """200,000 draws; Kolmogorov-Smirnov at 1e-6: fails for one seed in a million."""
    draws = standard_normal((200_000,), generator=torch.Generator().manual_seed(0))
    assert draws.dtype == torch.float32
    assert stats.kstest(draws.double().numpy(), "norm").pvalue > 1e-6


def test_no_draw_is_infinite_even_at_the_ends_of_the_uniform(monkeypatch):
    for uniform in (0.0, 2**-53, 1 - 2**-53):
        value = torch.tensor([uniform], dtype=torch.float64)
        monkeypatch.setattr(torch, "rand", lambda *a, value=value, **k: value)
        found = standard_normal((1,)).item()
        assert abs(found) > 8
        assert math.isfinite(found)
        assert (found > 0) == (uniform > 0.5)


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


# Sampling, where the data is N(m, d^2) and the true denoiser is known

MEAN, DEVIATION = 0.4, 0.5


def true_x_0(process, mean=MEAN, deviation=DEVIATION):
    r"""$E[x_0|x_t]$ by the regression of one normal number on another."""

    def predict(x_t, t):
        alpha_bar = process.alpha_bar[t].reshape(-1, 1)
        slope = alpha_bar.sqrt() * deviation**2 / (alpha_bar * deviation**2 + 1 - alpha_bar)
        return mean + slope * (x_t - alpha_bar.sqrt() * mean)

    return predict


def true_epsilon(process, mean=MEAN, deviation=DEVIATION):
    r"""$E[\epsilon|x_t]$, from the slope of $\log q(x_t)$."""

    def predict(x_t, t):
        alpha_bar = process.alpha_bar[t].reshape(-1, 1)
        variance = alpha_bar * deviation**2 + 1 - alpha_bar
        return (1 - alpha_bar).sqrt() * (x_t - alpha_bar.sqrt() * mean) / variance

    return predict


TRUE = {"epsilon": true_epsilon, "x_0": true_x_0}


def propagate(process, kind, levels, start, mean=MEAN, deviation=DEVIATION):
    """Mean and variance at the last level, if every step is affine: worked out by hand."""
    m, v = start
    for t, s in pairwise(levels):
        a_t, a_s = (float(process.alpha_bar[level]) for level in (t, s))
        slope = math.sqrt(a_t) * deviation**2 / (a_t * deviation**2 + 1 - a_t)
        offset = mean - slope * math.sqrt(a_t) * mean  # guess = slope x_t + offset
        beta = 1 - a_t / a_s
        if kind == "ddim":
            keep = math.sqrt((1 - a_s) / (1 - a_t))
            of_guess, of_x_t, noise = math.sqrt(a_s) - keep * math.sqrt(a_t), keep, 0.0
        else:
            of_guess = math.sqrt(a_s) * beta / (1 - a_t)
            of_x_t = math.sqrt(a_t / a_s) * (1 - a_s) / (1 - a_t)
            noise = beta if kind == "large" else beta * (1 - a_s) / (1 - a_t)
        factor = of_guess * slope + of_x_t
        m = factor * m + of_guess * offset
        v = factor**2 * v + (noise if s else 0.0)
    return m, v


def marginal(process, t, mean=MEAN, deviation=DEVIATION):
    alpha_bar = float(process.alpha_bar[t])
    return math.sqrt(alpha_bar) * mean, alpha_bar * deviation**2 + 1 - alpha_bar


def walk_of(kind, process):
    return DDIM(process) if kind == "ddim" else Ancestral(process, kind)


@pytest.mark.parametrize("kind", ["small", "large", "ddim"])
@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("levels", [[5, 4, 3, 2, 1, 0], [5, 2, 0], [5, 3, 1]])
def test_the_samplers_distribution_is_the_propagated_one(process, kind, target, levels):
    """100,000 samples: mean and variance within 5 sigma; for 36 numbers, 1 in 50,000 fails."""
    draws = 100_000
    generator = torch.Generator().manual_seed(0)
    x_T = standard_normal((draws, 1), dtype=torch.float64, generator=generator)
    model = Model(TRUE[target](process), target)
    restore = model.restorer(process, clip=False)
    *_, (level, x_s) = sample(walk_of(kind, process), restore, x_T, levels, generator=generator)
    mean, variance = propagate(process, kind, levels, (0.0, 1.0))
    assert level == levels[-1]
    assert abs(x_s.mean().item() - mean) < 5 * math.sqrt(variance / draws)
    assert abs(x_s.var().item() - variance) < 5 * variance * math.sqrt(2 / draws)


@pytest.mark.parametrize("kind", ["small", "large", "ddim"])
@pytest.mark.parametrize("schedule", [linear, cosine])
def test_more_steps_come_closer_to_the_distribution_of_the_data(kind, schedule):
    """Twice the steps, half the error, once there are enough of them."""
    errors = []
    for num_timesteps in (20, 40, 80, 160, 320, 640):
        process = GaussianProcess(schedule(num_timesteps))
        levels = range(num_timesteps, -1, -1)
        mean, variance = propagate(process, kind, levels, marginal(process, num_timesteps))
        assert mean == pytest.approx(MEAN, abs=1e-12)
        errors.append(abs(variance - DEVIATION**2))
    ratios = [before / after for before, after in pairwise(errors)]
    assert all(ratio > 1.2 for ratio in ratios)
    assert ratios[-1] == pytest.approx(2, abs=0.15)


def test_the_small_variance_is_exact_for_a_single_image_and_the_large_one_for_noise(process):
    for s, t in STRIDES:
        start = marginal(process, t, deviation=0.0)
        found = propagate(process, "small", [t, s], start, deviation=0.0)
        assert found == pytest.approx(marginal(process, s, deviation=0.0), abs=1e-14)
        if s > 0:  # the last step adds no noise
            start = marginal(process, t, 0.0, 1.0)
            found = propagate(process, "large", [t, s], start, 0.0, 1.0)
            assert found == pytest.approx((0.0, 1.0), abs=1e-14)


@pytest.mark.parametrize("kind", ["small", "large", "ddim"])
def test_epsilon_and_x_0_give_identical_samples(process, kind):
    x_T = standard_normal((50, 1), dtype=torch.float64)
    ends = []
    for target in TARGETS:
        restore = Model(TRUE[target](process), target).restorer(process, clip=False)
        generator = torch.Generator().manual_seed(0)
        chain = sample(walk_of(kind, process), restore, x_T, [5, 3, 2, 0], generator=generator)
        ends.append(torch.cat([x_s for _, x_s in chain]))
    assert torch.allclose(*ends, rtol=0, atol=1e-12)


def test_ddim_draws_nothing_and_the_last_ancestral_step_neither(process):
    state = torch.Generator().manual_seed(0)
    before = state.get_state()
    x_t, x_0 = random_images(2), random_images(2, seed=1)
    DDIM(process).step(x_0, x_t, (5, 2), generator=state)
    for variance in VARIANCES:
        last = Ancestral(process, variance).step(x_0, x_t, (3, 0), generator=state)
        assert torch.allclose(last, x_0, atol=1e-14)
    assert torch.equal(state.get_state(), before)


@pytest.mark.parametrize("target", TARGETS)
def test_clipping_keeps_the_guess_in_the_range_of_the_data(process, target):
    x_t, t = 3 * random_images(4), torch.full((4,), 5)
    model = Model(lambda x, t: 2 * x, target)
    free = model.restorer(process, clip=False)(x_t, t)
    clipped = model.restorer(process, clip=True)(x_t, t)
    assert free.abs().max() > 1
    assert torch.equal(clipped, free.clamp(-1, 1))


def test_sampling_keeps_no_gradients(process):
    weight = torch.ones((), dtype=torch.float64, requires_grad=True)
    restore = Model(lambda x, t: weight * x, "x_0").restorer(process, clip=False)
    for _, x_s in sample(DDIM(process), restore, random_images(2), [5, 0]):
        assert not x_s.requires_grad


def test_levels_to_visit_of_the_tokens_serve_pixels_too():
    process = GaussianProcess(linear(10))
    restore = Model(true_x_0(process), "x_0").restorer(process, clip=False)
    chain = sample(Ancestral(process), restore, numbers(0.3), levels_to_visit(10, 4))
    assert [s for s, _ in chain] == [9, 8, 4, 0]


@pytest.mark.usefixtures("unchecked")
def test_an_unknown_target_is_refused():
    with pytest.raises(ValueError, match=r"target is 'noise'; allowed: \('epsilon', 'x_0'\)"):
        Model(lambda x, t: x, "noise")


# One step of diffusers


def reference_scheduler(kind, process, target, **options):
    """diffusers' scheduler on exactly our array."""
    sampler = diffusers.DDIMScheduler if kind == "ddim" else diffusers.DDPMScheduler
    if kind != "ddim":
        options["variance_type"] = f"fixed_{kind}"
    prediction = {"epsilon": "epsilon", "x_0": "sample"}[target]
    scheduler = sampler(process.num_timesteps, prediction_type=prediction, **options)
    scheduler.alphas_cumprod = process.alpha_bar[1:]
    return scheduler


@pytest.mark.parametrize("clip", [False, True])
@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("kind", VARIANCES)
def test_same_ancestral_step_as_diffusers(monkeypatch, kind, target, clip):
    """But not from above level 1 to 0, where diffusers adds noise to the final image."""
    process = GaussianProcess(linear(20))
    x_t, said, noise = (random_images(2, (3, 4, 4), seed) for seed in range(3))
    monkeypatch.setattr(scheduling_ddpm, "randn_tensor", lambda *a, **k: noise)
    scheduler = reference_scheduler(kind, process, target, clip_sample=clip)
    for t, s in [(20, 19), (7, 6), (1, 0), (20, 13), (13, 2)]:
        scheduler.set_timesteps(timesteps=[level - 1 for level in (t, s) if level > 0])
        expected = scheduler.step(said, t - 1, x_t).prev_sample
        guess = Model(lambda x, t: said, target).restorer(process, clip=clip)
        guess = guess(x_t, torch.full((2,), t))
        distribution = process.reverse(guess, x_t, s, t, variance=kind)
        ours = distribution.mean + (distribution.variance.sqrt() * noise if s > 0 else 0)
        assert torch.allclose(ours, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("clip", [False, True])
@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("num_steps", [20, 5])
def test_same_ddim_step_as_diffusers(num_steps, target, clip):
    process = GaussianProcess(linear(20))
    x_t, said = random_images(2, (3, 4, 4)), random_images(2, (3, 4, 4), 1)
    scheduler = reference_scheduler("ddim", process, target, clip_sample=clip)
    scheduler.set_timesteps(num_steps)
    stride = 20 // num_steps
    for t in range(stride, 21, stride):
        expected = scheduler.step(said, t - 1, x_t, use_clipped_model_output=True).prev_sample
        guess = Model(lambda x, t: said, target).restorer(process, clip=clip)
        ours = DDIM(process).step(guess(x_t, torch.full((2,), t)), x_t, (t, t - stride))
        assert torch.allclose(ours, expected, rtol=0, atol=1e-12)


# Losses and the bound


def test_the_simple_loss_by_hand(process):
    """The network answers 0: the loss is the mean square of the noise, or of the image."""
    x_0, t = random_images(3), torch.tensor([1, 3, 5])
    x_t = process.corrupt(x_0, t, generator=torch.Generator().manual_seed(0))
    alpha_bar = ROUGH[t].reshape(3, 1, 1)
    noise = (x_t - alpha_bar.sqrt() * x_0) / (1 - alpha_bar).sqrt()
    for target, expected in (("epsilon", noise), ("x_0", x_0)):
        seen = []
        model = Model(lambda x, t, seen=seen: seen.append((x, t)) or torch.zeros_like(x), target)
        generator = torch.Generator().manual_seed(0)
        found = simple_loss(process, model, x_0, t, generator=generator)
        assert torch.allclose(found, expected.square().mean(dim=(1, 2)), atol=1e-13)
        assert torch.equal(seen[0][0], x_t)
        assert torch.equal(seen[0][1], t)


def test_the_loss_of_epsilon_is_the_weighted_loss_of_x_0(process):
    """Two networks that say the same; the weight is the signal-to-noise ratio."""
    x_0, t = numbers(0.3, -0.2, 0.9, 0.1, 0.5), torch.arange(1, 6)
    losses = [
        simple_loss(
            process,
            Model(TRUE[target](process), target),
            x_0,
            t,
            generator=torch.Generator().manual_seed(0),
        )
        for target in TARGETS
    ]
    ratio = ROUGH[t] / (1 - ROUGH[t])
    assert torch.allclose(losses[0], ratio * losses[1], rtol=1e-12)


def test_kl_divergence_equals_the_integral():
    for (m_q, v_q), (m_p, v_p) in product([(0.2, 0.5), (-1.0, 0.04)], [(0.5, 0.1), (0.0, 1.0)]):
        q = density(GRID, m_q, v_q)
        where = q > 0
        log_p = stats.norm.logpdf(GRID[where], m_p, math.sqrt(v_p))
        expected = (q[where] * (np.log(q[where]) - log_p)).sum() * SPACING
        found = kl_divergence(
            Normal(numbers(m_q), numbers(v_q)), Normal(numbers(m_p), numbers(v_p))
        )
        assert found.item() == pytest.approx(expected, abs=1e-9)


def test_the_terms_of_the_small_variance_are_a_weighted_squared_error(process):
    r"""$\frac12(\mathrm{SNR}_{t-1}-\mathrm{SNR}_t)(x_0-\hat x_0)^2$, Kingma et al. 2021."""
    x_0, x_t, guess = (random_images(4, seed=seed) for seed in range(3))
    ratio = ROUGH / (1 - ROUGH)
    for t in range(2, T + 1):
        found = bound_term(Ancestral(process, "small"), guess, x_0, x_t, t)
        expected = (ratio[t - 1] - ratio[t]) / 2 * (x_0 - guess).square()
        assert torch.allclose(found, expected, rtol=1e-10)


def test_the_terms_of_the_large_variance_are_a_kl_divergence_by_hand(process):
    x_0, x_t, guess = (random_images(4, seed=seed) for seed in range(3))
    for t in range(2, T + 1):
        q = process.posterior(x_0, x_t, t - 1, t)
        wrong = process.posterior(guess, x_t, t - 1, t).mean - q.mean
        beta = 1 - ROUGH[t] / ROUGH[t - 1]
        ratio = q.variance / beta
        expected = (ratio - 1 - ratio.log() + wrong**2 / beta) / 2
        found = bound_term(Ancestral(process, "large"), guess, x_0, x_t, t)
        assert torch.allclose(found, expected, rtol=1e-12)


def test_the_prior_term_equals_the_integral(process):
    x_0 = numbers(-1.0, 0.0, 0.5)
    found = prior_term(process, x_0)
    standard = density(GRID, 0.0, 1.0)
    for i in range(3):
        distribution = process.transition(x_0[i : i + 1], 0, T)
        q = density(GRID, distribution.mean.item(), distribution.variance.item())
        expected = (q * np.log(q / standard)).sum() * SPACING
        assert found[i].item() == pytest.approx(expected, abs=1e-12)
    assert (found > 1e-4).all()


ALL_GREYS = torch.arange(256)[:, None]


@pytest.mark.parametrize("mean", [-30.0, -1.0, -0.3, 0.004, 0.999, 1.5])
@pytest.mark.parametrize("deviation", [1e-3, 0.01, 0.3, 5.0])
def test_the_probabilities_of_the_greys_sum_to_one(mean, deviation):
    distribution = Normal(torch.full((256, 1), mean, dtype=torch.float64), numbers(deviation**2))
    log_p = log_grey_probability(distribution, greys_to_data(ALL_GREYS))
    assert log_p.isfinite().all()
    assert log_p.exp().sum().item() == pytest.approx(1, abs=1e-12)
    inside = int(((mean + 1) * 127.5 + 0.5) // 1)
    assert log_p.argmax() == min(max(inside, 0), 255) or deviation == 5.0


def test_the_probability_of_a_grey_is_the_mass_of_its_cell():
    distribution = Normal(torch.full((256, 1), 0.1, dtype=torch.float64), numbers(0.2**2))
    found = log_grey_probability(distribution, greys_to_data(ALL_GREYS)).exp()[:, 0]
    edges = np.concatenate([[-np.inf], (np.arange(1, 256) - 0.5) / 127.5 - 1, [np.inf]])
    expected = np.diff(stats.norm.cdf(edges, 0.1, 0.2))
    assert np.abs(found.numpy() - expected).max() < 1e-14


def test_a_grey_far_from_the_mean_has_the_right_logarithm():
    """Where the probability itself is 0 in floating point: 100 and 200 deviations away."""
    for mean, grey in ((-1.0, 255), (1.0, 0)):
        for deviation in (0.02, 0.01):
            distribution = Normal(numbers(mean), numbers(deviation**2))
            found = log_grey_probability(distribution, greys_to_data(torch.tensor([[grey]]))).item()
            edge = (2 - 1 / 255) / deviation
            assert found == pytest.approx(special.log_ndtr(-edge), rel=1e-12)
            assert found < -4000
    distribution = Normal(numbers(-1.0), numbers(0.01**2))
    found = log_grey_probability(distribution, greys_to_data(torch.tensor([[200]]))).item()
    near, far = ((400 + side) / 255 / 0.01 for side in (-1, 1))
    expected = special.log_ndtr(-near) + math.log1p(
        -math.exp(special.log_ndtr(-far) - special.log_ndtr(-near))
    )
    assert found == pytest.approx(expected, rel=1e-12)


def test_greys_become_data_and_come_back():
    data = greys_to_data(ALL_GREYS)
    assert data.dtype == torch.float32
    assert (data[0].item(), data[255].item()) == (-1, 1)
    assert torch.equal(data_to_greys(data), ALL_GREYS)
    assert data_to_greys(torch.tensor([[-7.0, 0.0039, 7.0]])).tolist() == [[0, 128, 255]]
    for wrong in (-1, 256):
        with pytest.raises(ValueError, match="allowed: 0 to 255"):
            greys_to_data(torch.tensor([[wrong]]))


@pytest.mark.parametrize("x_0", [0.0, 1.1, math.nan])
def test_numbers_between_the_greys_have_no_probability(x_0):
    with pytest.raises(ValueError, match="between two greys; allowed"):
        log_grey_probability(Normal(numbers(0.0), numbers(1.0)), numbers(x_0))


def expected_terms(walk, restore, x_0, nodes=24):
    """`bound_terms` with every expectation over x_t taken exactly, by Gauss-Hermite nodes."""
    process = walk.process
    z, weights = (torch.from_numpy(part) for part in np.polynomial.hermite_e.hermegauss(nodes))
    weights = weights / weights.sum()
    columns = [prior_term(process, x_0)[:, 0]]
    for t in range(1, process.num_timesteps + 1):
        distribution = process.transition(x_0, 0, t)
        x_t = (distribution.mean + distribution.variance.sqrt() * z).reshape(-1, 1)
        clean = x_0.expand(-1, nodes).reshape(-1, 1)
        guess = restore(x_t, t)
        terms = bound_term(walk, guess, clean, x_t, t).reshape(-1, nodes)
        columns.append(terms @ weights)
    return torch.stack(columns, dim=1)


def wrong_model(process):
    return Model(lambda x, t: 0.6 * torch.sin(2 * x + torch.as_tensor(t).reshape(-1, 1)), "x_0")


@pytest.mark.parametrize("variance", VARIANCES)
def test_the_bound_is_never_below_the_models_own_surprise(variance):
    """The model's distribution of the greys, by integrating over the chain; for a wrong denoiser
    too."""
    process = GaussianProcess(torch.tensor([1, 0.9, 0.4, 0.15], dtype=torch.float64))
    walk = Ancestral(process, variance)
    grid = torch.from_numpy(GRID)[:, None]
    for model in (wrong_model(process), Model(true_epsilon(process), "epsilon")):
        restore = model.restorer(process, clip=False)
        distribution = torch.from_numpy(density(GRID, 0.0, 1.0)) * SPACING
        for t in (3, 2):
            guess = restore(grid, torch.full((len(grid),), t))
            mean, spread = process.reverse(guess, grid, t - 1, t, variance=variance)
            distribution = distribution @ torch.from_numpy(
                density(GRID[None], mean.numpy(), spread.item())
            )
            distribution = distribution * SPACING
        decoder = process.reverse(
            restore(grid, torch.ones(len(grid)).long()), grid, 0, 1, variance="large"
        )
        greys = greys_to_data(ALL_GREYS).double()
        likely = torch.stack(
            [
                distribution @ log_grey_probability(decoder, x.expand(len(grid), 1)).exp()
                for x in greys
            ]
        )
        assert likely.sum().item() == pytest.approx(1, abs=1e-8)
        bound = expected_terms(walk, restore, greys).sum(dim=1)
        gap = bound + likely[:, 0].log()
        assert (gap > 0).all()
        assert gap.min() < 1


def pixel_world():
    """One pixel whose grey has a distribution with two peaks, and its true denoiser by
    enumeration."""
    greys = greys_to_data(ALL_GREYS)[:, 0].double()
    distribution = torch.exp(-((greys + 0.4) ** 2) / 0.02) + 0.5 * torch.exp(
        -((greys - 0.5) ** 2) / 0.05
    )
    distribution = distribution / distribution.sum()

    def denoiser(process):
        def predict(x_t, t):
            alpha_bar = process.alpha_bar[t].reshape(-1, 1)
            distance = (x_t - alpha_bar.sqrt() * greys) ** 2
            log_joint = distribution.log() - distance / (2 * (1 - alpha_bar))
            return log_joint.softmax(dim=1) @ greys[:, None]

        return predict

    return greys, distribution, denoiser


@pytest.mark.parametrize("variance", VARIANCES)
def test_with_the_true_denoiser_the_bound_falls_to_the_entropy_of_the_data(variance):
    greys, distribution, denoiser = pixel_world()
    entropy = -(distribution * distribution.log()).sum().item()
    likely = distribution > 1e-7
    gaps = []
    for num_timesteps in (1, 4, 16, 64):
        process = GaussianProcess(linear(num_timesteps))
        restore = Model(denoiser(process), "x_0").restorer(process, clip=True)
        terms = expected_terms(Ancestral(process, variance), restore, greys[likely, None], 16)
        gaps.append((distribution[likely] @ terms.sum(dim=1)).item() - entropy)
    assert all(after < before for before, after in pairwise(gaps))
    assert 0 < gaps[-1] < {"small": 0.5, "large": 0.2}[variance]


@pytest.mark.parametrize("variance", VARIANCES)
def test_the_sampled_bound_is_an_unbiased_estimate_of_the_exact_one(process, variance):
    """4,000 estimates: each of 6 terms within 5 standard errors of the exact one."""
    walk = Ancestral(process, variance)
    restore = wrong_model(process).restorer(process, clip=True)
    x_0 = greys_to_data(torch.tensor([[180]])).double()
    exact = expected_terms(walk, restore, x_0, nodes=80)[0]
    generator = torch.Generator().manual_seed(0)
    found = bound_terms(walk, restore, x_0.expand(4000, 1), generator=generator)
    assert found.shape == (4000, T + 1)
    error = found.std(dim=0) / 4000**0.5
    assert ((found.mean(dim=0) - exact).abs() < 5 * error + 1e-12).all()


def test_the_terms_of_an_image_are_averages_over_its_numbers(process):
    greys = torch.randint(256, (2, 3, 4, 4), generator=torch.Generator().manual_seed(0))
    x_0 = greys_to_data(greys)
    model = Model(lambda x, t: 0.1 * x, "epsilon")
    restore = model.restorer(process, clip=True)
    together = bound_terms(
        Ancestral(process), restore, x_0, generator=torch.Generator().manual_seed(1)
    )
    flat = bound_terms(
        Ancestral(process), restore, x_0.flatten(1), generator=torch.Generator().manual_seed(1)
    )
    assert torch.allclose(together, flat)
    prior = prior_term(process, x_0).mean(dim=(1, 2, 3))
    assert torch.allclose(together[:, 0], prior)
    assert together.dtype == torch.float64
    assert (together > 0).all()


def test_bits_and_their_standard_error_by_hand():
    terms = torch.tensor([[1.0, 2.0], [3.0, 4.0], [0.0, 2.0]], dtype=torch.float64) * math.log(2)
    found = bits_per_dimension(terms)  # 3, 7 and 2 bits
    assert found.mean == pytest.approx(4)
    assert found.standard_error == pytest.approx(math.sqrt((1 + 9 + 4) / 2 / 3))
    with pytest.raises(ValueError, match="1 images; allowed: 2 or more"):
        bits_per_dimension(terms[:1])


# Blur


@pytest.fixture
def images():
    return torch.rand(3, 2, 8, 12, generator=torch.Generator().manual_seed(0)).double()


def test_blur_is_the_convolution_with_a_gaussian_that_is_mirrored_at_the_edges(images):
    blur = Blur(num_timesteps=4, max_sigma=8.0)
    for t in (1, 2, 3):
        sigma = [0, 0, 2.0 * t, 2.0 * t]
        expected = ndimage.gaussian_filter(images.numpy(), sigma, mode="reflect", truncate=9)
        found = blur.degrade(images, t).numpy()
        assert np.abs(found - expected).max() < 1e-7


def test_blur_keeps_the_mean_begins_with_the_image_and_adds_up(images):
    blur = Blur(num_timesteps=5, max_sigma=5.0)
    assert torch.allclose(blur.degrade(images, 0), images, rtol=0, atol=1e-14)
    for t in range(6):
        found = blur.degrade(images, t).mean(dim=(2, 3))
        assert torch.allclose(found, images.mean(dim=(2, 3)), atol=1e-14)
    twice = blur.degrade(blur.degrade(images, 3), 4)  # 3^2 + 4^2 = 5^2
    assert torch.allclose(twice, blur.degrade(images, 5), atol=1e-14)


def test_every_image_may_have_its_own_blur(images):
    blur = Blur(num_timesteps=5, max_sigma=3.0)
    t = torch.tensor([0, 2, 5])
    together = blur.corrupt(images, t)
    for i in range(3):
        assert torch.allclose(together[i], blur.degrade(images[i : i + 1], int(t[i]))[0])
    assert blur.degrade(images.float(), t).dtype == torch.float32


@pytest.mark.parametrize("walk", [Cold, NaiveCold])
@pytest.mark.parametrize("levels", [[6, 5, 4, 3, 2, 1, 0], [6, 2, 0], [6, 0]])
def test_with_a_perfect_restorer_every_walk_returns_the_image(images, walk, levels):
    blur = Blur(num_timesteps=6, max_sigma=6.0)
    x_T = blur.degrade(images, 6)
    for s, x_s in sample(walk(blur), lambda x, t: images, x_T, levels):
        assert torch.allclose(x_s, blur.degrade(images, s), rtol=0, atol=1e-13)
    assert torch.allclose(x_s, images, rtol=0, atol=1e-13)


@pytest.mark.parametrize("levels", [[6, 5, 4, 3, 2, 1, 0], [6, 2, 0]])
def test_a_constant_error_is_forgiven_as_far_as_a_blurred_image_shows_it(images, levels):
    blur = Blur(num_timesteps=6, max_sigma=6.0)
    error = 0.3 * random_images(3, (2, 8, 12))
    x_T = blur.degrade(images, 6)
    ends = {}
    for walk in (Cold, NaiveCold):
        *_, (_, ends[walk]) = sample(walk(blur), lambda x, t: images + error, x_T, levels)
    assert torch.allclose(ends[NaiveCold] - images, error, atol=1e-13)
    assert torch.allclose(ends[Cold] - images, error - blur.degrade(error, 6), atol=1e-13)
    distance = {walk: (end - images).square().sum(dim=(1, 2, 3)) for walk, end in ends.items()}
    assert (distance[Cold] < distance[NaiveCold]).all()
    too_bright = lambda x, t: images + 0.2  # noqa: E731
    *_, (_, end) = sample(Cold(blur), too_bright, x_T, levels)
    assert torch.allclose(end, images, atol=1e-13)


def test_where_the_degradation_is_a_straight_line_any_restorer_will_do(images):
    """D(x, t) = x + t e: the improved walk is exact however wrong the guesses are."""
    direction = random_images(3, (2, 8, 12), seed=1)

    class Line(Blur):
        def degrade(self, x_0, t):
            return x_0 + t * direction

    line = Line(6, 1.0)
    restore = lambda x, t: torch.sin(5 * x)  # noqa: E731
    for s, x_s in sample(Cold(line), restore, images + 6 * direction, [6, 4, 3, 0]):
        assert torch.allclose(x_s, images + s * direction, atol=1e-12)


def test_blur_has_no_noise_to_predict(images):
    blur = Blur(num_timesteps=4, max_sigma=2.0)
    model = Model(lambda x, t: x, "epsilon")
    with pytest.raises(ValueError, match="allowed: 'x_0', since Blur adds no noise"):
        model.restorer(blur, clip=True)
    with pytest.raises(ValueError, match="since Blur adds no noise"):
        simple_loss(blur, model, images, torch.tensor([1, 2, 3]))
    lazy = Model(lambda x, t: x, "x_0")
    found = simple_loss(blur, lazy, images, torch.tensor([1, 2, 4]))
    expected = (blur.degrade(images, torch.tensor([1, 2, 4])) - images).square()
    assert torch.allclose(found, expected.mean(dim=(1, 2, 3)))


def test_impossible_blurs_are_refused(images):
    with pytest.raises(ValueError, match="num_timesteps is 0; allowed: 1"):
        Blur(0, 1.0)
    with pytest.raises(ValueError, match="max_sigma is 0; allowed: above 0"):
        Blur(4, 0)
    with pytest.raises(ValueError, match="level t is 5; allowed: 0 to 4"):
        Blur(4, 1.0).degrade(images, 5)

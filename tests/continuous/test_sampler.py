"""Sampling of pixels where the data is N(m, d^2) and the true denoiser is known; diffusers."""

import math
from itertools import pairwise

import diffusers
import pytest
import torch
from diffusers.schedulers import scheduling_ddpm
from support.gaussian_toys import (
    DEVIATION,
    MEAN,
    STRIDES,
    TARGETS,
    TRUE,
    VARIANCES,
    numbers,
    random_images,
    true_x_0,
)

from vqlearn.continuous.gaussian import GaussianProcess
from vqlearn.continuous.normal import standard_normal
from vqlearn.continuous.sampler import DDIM, Ancestral, Model, sample
from vqlearn.continuous.schedule import cosine, linear
from vqlearn.diffusion.sampler import levels_to_visit


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
    with pytest.raises(ValueError, match="target is 'noise'; allowed: 'epsilon', 'x_0'"):
        Model(lambda x, t: x, "noise")


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

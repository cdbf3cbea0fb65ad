"""Bounds in bits, with errors that can be trusted; the limit of infinitely many levels."""

import math
from itertools import permutations

import pytest
import torch
from support.on_mps import OnMps
from support.presets import remembering

from vqlearn.diffusion import kernels
from vqlearn.diffusion.exact import examples as worlds
from vqlearn.diffusion.exact.world import ExactWorld, all_states, exact_bound
from vqlearn.diffusion.likelihood import (
    bound_per_token,
    exact_log_likelihood,
    exact_masked_bound,
    masked_bound,
)
from vqlearn.diffusion.process import MaskAndReplace
from vqlearn.diffusion.schedule import absorbing, build_schedule
from vqlearn.probability.estimates import bits_per_token
from vqlearn.probability.log_probs import log_normalise


def draw_images(world, count, generator):
    rows = torch.multinomial(world.distribution, count, replacement=True, generator=generator)
    return world.states[rows]


def tilted(denoise):
    """A denoiser that is wrong, but rules nothing out."""

    def wrong(x_t, *t):
        log_p_x0 = denoise(x_t, *t).clamp(min=-6)
        position = torch.arange(log_p_x0.shape[-1]) + 2.0 * x_t[..., None]
        return log_normalise(log_p_x0 + 0.5 * torch.sin(position).double())

    return wrong


def true_unmask(world, mask):
    """The true denoiser of the absorbing kernel: at every level but the last it is the same."""
    process = MaskAndReplace(build_schedule(absorbing(mask, 4)))
    denoise = world.denoiser(process)
    return lambda x_t: denoise(x_t, 1)


# --- bits and their error ---


def test_bits_per_token_by_hand():
    """8 and 16 bits for 4 tokens: 2 and 4 bits each, so 3 with std sqrt(2), error 1."""
    nats = torch.tensor([8.0, 16.0]) * math.log(2)
    found = bits_per_token(nats, 4)
    assert found == bits_per_token(nats.as_subclass(OnMps), 4)
    assert found.mean == pytest.approx(3, abs=1e-6)
    assert found.standard_error == pytest.approx(1, abs=1e-6)


def test_an_infinite_bound_is_said_to_be_infinite():
    assert bits_per_token(torch.tensor([1.0, torch.inf]), 4) == (math.inf, math.inf)


@pytest.mark.parametrize("draws", [1, 3])
def test_two_standard_errors_cover_the_true_bound_in_95_percent_of_repeats(draws):
    """200 repeats of 40 images of four tokens that depend on each other.

    190 are expected to be covered, 186 as 40 skewed numbers are not normal. Fewer than 172 come
    up for less than one seed in 10,000; tokens counted as independent would give about 135.
    """
    world = worlds.chain()
    process = MaskAndReplace(build_schedule(remembering(3, 3)))
    denoise = tilted(world.denoiser(process))
    exact = exact_bound(process, denoise, world.states)
    truth = float(world.distribution @ exact) / (4 * math.log(2))
    generator = torch.Generator().manual_seed(0)
    covered = 0
    for _ in range(200):
        x_0 = draw_images(world, 40, generator)
        found = bound_per_token(process, denoise, x_0, generator=generator, draws=draws)
        covered += abs(found.mean - truth) < 1.96 * found.standard_error
    assert 172 <= covered < 200


def test_more_draws_lower_the_noise_and_no_more_than_that():
    """The same image 400 times: all spread is noise, and 9 draws leave a third of it."""
    process = kernels.discretised_gaussian(3, 4, betas=(0.002, 0.02))
    world = worlds.one_token()
    x_0 = torch.ones(400, 1, dtype=torch.long)
    few, many = (
        bound_per_token(
            process,
            tilted(world.denoiser(process)),
            x_0,
            generator=torch.Generator().manual_seed(1),
            draws=draws,
        )
        for draws in (1, 9)
    )
    assert 0.25 < many.standard_error / few.standard_error < 0.42
    exact = exact_bound(process, tilted(world.denoiser(process)), x_0[:1])
    assert abs(many.mean - float(exact) / math.log(2)) < 5 * many.standard_error


# --- the likelihood itself ---


def test_the_likelihood_of_twins_by_hand():
    """Absorbing, 4 steps, from all MASK: 7/16 on each pair of equals, 1/16 on the others."""
    world = worlds.twins()
    process = kernels.absorbing(2, 4)
    found = exact_log_likelihood(process, world.denoiser(process), all_states(2, 2)).exp()
    assert found.tolist() == pytest.approx([7 / 16, 1 / 16, 1 / 16, 7 / 16], abs=1e-12)


def test_the_likelihood_of_one_step_is_a_product_of_p_x0s_token_by_token():
    """The four tokens of the chain differ in their distribution, so their order matters."""
    world = worlds.chain()
    process = kernels.absorbing(3, 1)
    denoise = world.denoiser(process)
    p_x0 = denoise(torch.full_like(world.states, 3), 1)
    expected = p_x0.gather(-1, world.states[..., None]).sum(dim=(1, 2))
    found = exact_log_likelihood(process, denoise, world.states)
    assert torch.allclose(found, expected, atol=1e-12, rtol=0)


def test_the_likelihoods_of_all_images_sum_to_one():
    world = worlds.chain()
    process = kernels.uniform(3, 2)
    log_p = exact_log_likelihood(process, tilted(world.denoiser(process)), world.states)
    assert log_p.exp().sum().item() == pytest.approx(1, abs=1e-12)
    assert log_p.exp().std() > 1e-3


# --- infinitely many levels of masks ---


@pytest.mark.parametrize("name", ["one_token", "twins", "parity", "chain"])
def test_with_the_true_denoiser_the_masked_bound_is_the_negative_log_likelihood(name):
    """Reading tokens one by one loses nothing, whatever the order."""
    world = worlds.WORLDS[name]()
    possible = world.distribution > 0
    unmask = true_unmask(world, world.num_codes)
    found = exact_masked_bound(unmask, world.states[possible], world.num_codes)
    assert torch.allclose(found, -world.distribution[possible].log(), atol=1e-12, rtol=0)


def test_the_masked_bound_is_the_mean_over_orders():
    table = torch.rand(2, 2, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    unmask = tilted(true_unmask(ExactWorld(table / table.sum()), 2))
    x_0 = all_states(2, 3)
    nats = torch.zeros(8, dtype=torch.float64)
    for order in permutations(range(3)):
        x_t = torch.full_like(x_0, 2)
        for i in order:
            log_p_x0 = unmask(x_t)[:, i]
            nats -= log_p_x0.gather(-1, x_0[:, i : i + 1])[:, 0] / 6
            x_t[:, i] = x_0[:, i]
    assert torch.allclose(exact_masked_bound(unmask, x_0, 2), nats, atol=1e-12, rtol=0)


def test_twins_with_T_levels_cost_one_T_th_more_than_with_infinitely_many():
    """g(t) = 2 t log 2, and its sum over t/T is log 2 (1 + 1/T): worked out by hand."""
    world = worlds.twins()
    for num_timesteps in (1, 2, 5, 40):
        process = MaskAndReplace(build_schedule(absorbing(2, num_timesteps)))
        found = exact_bound(process, world.denoiser(process), torch.tensor([[1, 1]]))
        expected = math.log(2) * (1 + 1 / num_timesteps)
        assert found.item() == pytest.approx(expected, abs=1e-11)


def test_the_bound_of_T_levels_comes_down_to_the_limit_at_the_rate_of_one_over_T():
    """Error = (g(1) - g(0)) / 2T + O(1/T^2), derived in `exact_masked_bound`; here for a denoiser
    that is wrong, in a world where g is no straight line."""
    world = worlds.chain()
    unmask = tilted(true_unmask(world, 3))
    x_0 = torch.tensor([[0, 0, 0, 0], [0, 1, 2, 1]])
    limit = exact_masked_bound(unmask, x_0, 3)
    errors = {}
    for num_timesteps in (8, 16, 32):
        process = MaskAndReplace(build_schedule(absorbing(3, num_timesteps)))
        errors[num_timesteps] = exact_bound(process, lambda x_t, t: unmask(x_t), x_0) - limit
    alone = -unmask(torch.full_like(x_0, 3)).gather(-1, x_0[..., None]).sum(dim=(1, 2))
    informed = torch.zeros(2, dtype=torch.float64)
    for i in range(4):
        x_t = x_0.index_fill(1, torch.tensor([i]), 3)
        informed -= unmask(x_t)[:, i].gather(-1, x_0[:, i : i + 1])[:, 0]
    slope = (alone - informed) / 2
    assert (slope.abs() > 0.1).all()
    for num_timesteps, error in errors.items():
        assert ((num_timesteps * error / slope - 1).abs() < 2 / num_timesteps).all()
    for num_timesteps in (8, 16):
        ratio = errors[2 * num_timesteps] / errors[num_timesteps]
        assert ((ratio - 0.5).abs() < 0.5 / num_timesteps).all()


@pytest.mark.parametrize("draws", [1, 4])
def test_the_masked_bound_is_estimated_without_bias(draws):
    """8,000 estimates: their mean within 5 standard errors of the exact one."""
    world = worlds.chain()
    unmask = tilted(true_unmask(world, 3))
    x_0 = torch.tensor([[0, 1, 2, 1]])
    exact = exact_masked_bound(unmask, x_0, 3).item()
    generator = torch.Generator().manual_seed(0)
    found = masked_bound(unmask, x_0.expand(8000, 4), 3, generator=generator, draws=draws)
    error = found.std().item() / 8000**0.5
    assert abs(found.mean().item() - exact) < 5 * error
    assert error < 0.05


def test_each_row_of_the_masked_bound_is_an_estimate_for_its_own_image():
    """A certain token costs nothing, wherever it is hidden; an uncertain one log 2."""
    p_x0 = torch.tensor([[[1.0, 0.0], [0.5, 0.5]]], dtype=torch.float64).log()
    found = masked_bound(
        lambda x_t: p_x0.expand(len(x_t), 2, 2),
        torch.tensor([[0, 1], [1, 0]]).repeat(500, 1),
        2,
        generator=torch.Generator().manual_seed(0),
    )
    assert set(found[::2].tolist()) <= {0.0, math.log(2), 2 * math.log(2)}
    assert found[::2].mean().item() == pytest.approx(math.log(2), abs=0.2)
    assert found[1::2].isinf().any()


# --- bad input ---


def test_bad_input_is_refused():
    process = kernels.absorbing(2, 2)
    x_0 = torch.zeros(2, 17, dtype=torch.long)
    unmask = true_unmask(worlds.twins(), 2)
    with pytest.raises(ValueError, match="draws is 0; allowed: whole numbers of 1"):
        bound_per_token(process, lambda x_t, t: unmask(x_t), x_0, draws=0)
    with pytest.raises(ValueError, match="draws is -1; allowed: whole numbers of 1"):
        masked_bound(unmask, x_0, 2, draws=-1)
    with pytest.raises(ValueError, match="sequences is 1; allowed: 2"):
        bits_per_token(torch.zeros(1), 4)
    with pytest.raises(ValueError, match="num_positions is 17; allowed: up to 16"):
        exact_masked_bound(unmask, x_0, 2)

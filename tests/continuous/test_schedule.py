"""The arrays of continuous diffusion, against products of steps and diffusers."""

import math
from fractions import Fraction

import diffusers
import pytest
import torch

from vqlearn.continuous.gaussian import GaussianProcess
from vqlearn.continuous.schedule import cosine, linear


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
    with pytest.raises(ValueError, match="num_timesteps is 0; allowed: whole numbers of 1"):
        schedule(0)

"""The sampler's loop: which levels it visits, and which distribution a step has."""

from itertools import pairwise

import pytest
import torch

from vqlearn.diffusion import kernels
from vqlearn.diffusion.process import MaskAndReplace
from vqlearn.diffusion.sampler import all_masked, levels_to_visit, sample, step
from vqlearn.diffusion.schedule import build_schedule, paper, released
from vqlearn.probability.log_probs import log_normalise


@pytest.mark.parametrize("spacing", ["even", "slow_start"])
def test_levels_run_from_T_to_zero_and_never_repeat(spacing):
    for num_timesteps in (1, 2, 7, 100, 1000):
        for num_steps in {1, min(2, num_timesteps), num_timesteps // 3 + 1, num_timesteps}:
            levels = levels_to_visit(num_timesteps, num_steps, spacing)
            assert levels[0] == num_timesteps
            assert levels[-1] == 0
            assert len(levels) == num_steps + 1
            assert all(t > s for t, s in pairwise(levels))
    assert levels_to_visit(100, 100, spacing) == list(range(100, -1, -1))


def test_strides_are_even_or_longer_and_longer():
    assert levels_to_visit(10, 4, "even") == [10, 8, 5, 2, 0]
    assert levels_to_visit(10, 4) == [10, 9, 8, 4, 0]
    assert levels_to_visit(100, 10) == [100, 99, 96, 91, 84, 75, 64, 51, 36, 19, 0]
    for num_steps in range(1, 101):
        strides = [t - s for t, s in pairwise(levels_to_visit(100, num_steps))]
        assert all(late >= early - 1 for early, late in pairwise(strides))


@pytest.mark.parametrize("num_steps", [0, -1, 101])
def test_impossible_numbers_of_steps_are_refused(num_steps):
    with pytest.raises(ValueError, match=f"num_inference_steps is {num_steps}; allowed: 1 to 100"):
        levels_to_visit(100, num_steps)


def test_unknown_spacings_are_refused():
    with pytest.raises(ValueError, match="spacing is 'odd'; allowed: 'even', 'slow_start'"):
        levels_to_visit(100, 10, "odd")


@pytest.mark.parametrize("preset", [released, paper])
@pytest.mark.parametrize("num_steps", [1, 4, 25, 100])
def test_the_share_of_masked_tokens_follows_the_schedule(preset, num_steps):
    """From all-MASK, gamma_bar_s / gamma_bar_T of the tokens are MASK at every level visited.

    20,000 tokens, 5 sigma at each level: fails for less than one seed in 10,000 if right.
    """
    process = MaskAndReplace(build_schedule(preset(5, 100)))
    gamma_bar = process.schedule.gamma_bar
    log_p_x0 = log_normalise(torch.zeros(1, 20_000, 5))
    levels = levels_to_visit(100, num_steps)
    generator = torch.Generator().manual_seed(2)
    start = all_masked(process, (1, 20_000))
    for s, x_s in sample(process, lambda x, t: log_p_x0, start, levels, generator=generator):
        expected = float(gamma_bar[s] / gamma_bar[-1])
        sigma = (20_000 * expected * (1 - expected)) ** 0.5
        assert abs((x_s == process.mask).sum().item() - 20_000 * expected) <= 5 * sigma + 1e-6
    assert (x_s < 5).all()


def test_step_draws_from_log_reverse():
    """100,000 tokens of one kind: counts within 5 sigma of the distribution that log_reverse
    states."""
    process = MaskAndReplace(build_schedule(paper(3, 10)))
    log_p_x0 = torch.tensor([[0.7, 0.2, 0.1]]).log().expand(1, 100_000, 3)
    x_t = torch.full((1, 100_000), 1)
    found = step(process, log_p_x0, x_t, (8, 3), generator=torch.Generator().manual_seed(3))
    distribution = process.log_reverse(log_p_x0[:, :1], x_t[:, :1], 3, 8).double().exp()[0, 0]
    counts = torch.bincount(found[0], minlength=4)
    assert (
        (counts - 100_000 * distribution).abs()
        <= 5 * (100_000 * distribution * (1 - distribution)).sqrt() + 1e-6
    ).all()
    assert (distribution[:3] > 0.05).all()


def test_a_process_without_mask_has_no_masked_start():
    with pytest.raises(ValueError, match="num_classes is 3"):
        all_masked(kernels.uniform(3, 10), (1, 4))

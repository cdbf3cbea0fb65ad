"""One step of ours beside one step of diffusers' scheduler: the same distribution, where it is
right."""

import diffusers
import pytest
import torch
from einops import rearrange

from vqlearn.diffusion.process import MaskAndReplace
from vqlearn.diffusion.schedule import ScheduleConfig, build_schedule, paper, released
from vqlearn.probability.filters import guide, top_p
from vqlearn.probability.log_probs import log_normalise


def random_case(seed):
    """A random size, schedule and predicted distribution; tokens masked and unmasked, right and
    wrong."""
    generator = torch.Generator().manual_seed(seed)

    def whole(low, high):
        return int(torch.randint(low, high, (1,), generator=generator))

    num_codes, num_timesteps = whole(2, 300), whole(3, 120)
    preset = (released, paper)[seed % 2]
    config = preset(num_codes, num_timesteps)
    if preset is paper:  # the reference takes log 0 at alpha_bar_T = 0
        config = ScheduleConfig(num_codes + 1, num_timesteps, 0.99, 0.01, 0.005, 0.9)
    logits = (1 + seed) * torch.randn(2, 20, num_codes, generator=generator, dtype=torch.float64)
    x_t = torch.randint(num_codes, (2, 20), generator=generator)
    x_t[:, ::3] = num_codes
    x_t[:, 1::3] = logits.argmax(dim=-1)[:, 1::3]
    return config, log_normalise(logits), x_t


@pytest.mark.parametrize("seed", range(10))
def test_one_step_has_the_distribution_of_diffusers_scheduler(seed):
    """Within 5e-6, the rounding of the reference's float32 arithmetic."""
    config, log_p_x0, x_t = random_case(seed)
    process = MaskAndReplace(build_schedule(config))
    scheduler = diffusers.VQDiffusionScheduler(
        config.num_vec_classes,
        config.num_train_timesteps,
        config.alpha_cum_start,
        config.alpha_cum_end,
        config.gamma_cum_start,
        config.gamma_cum_end,
    )
    for level in {2, config.num_train_timesteps // 2 + 1, config.num_train_timesteps}:
        ours = process.log_reverse(log_p_x0, x_t, level - 1, level).exp()
        class_axis_second = rearrange(log_p_x0.float(), "b n k -> b k n")
        theirs = scheduler.q_posterior(class_axis_second, x_t, level - 1).exp()
        assert (ours - rearrange(theirs, "b k n -> b n k")).abs().max() < 5e-6


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("rate", [0.3, 0.86, 0.999])
def test_truncation_keeps_the_codes_that_diffusers_keeps(seed, rate):
    from diffusers.pipelines.deprecated.vq_diffusion.pipeline_vq_diffusion import (
        VQDiffusionPipeline as Reference,
    )

    _, log_p_x0, _ = random_case(seed)
    theirs = Reference.truncate(None, rearrange(log_p_x0, "b n k -> b k n"), rate)
    kept = rearrange(theirs.isfinite(), "b k n -> b n k")
    assert torch.equal(top_p(log_p_x0, rate).isfinite(), kept)


def test_guidance_is_the_formula_of_diffusers_pipeline():
    _, conditional, _ = random_case(0)
    unconditional = conditional.flip(-1)
    theirs = unconditional + 5.0 * (conditional - unconditional)
    theirs -= theirs.logsumexp(dim=-1, keepdim=True)
    assert torch.allclose(guide(conditional, unconditional, 5.0), theirs, atol=1e-10, rtol=0)

"""Worlds in which the truth is known: the denoiser, the sampler's distribution and the bound."""

from itertools import pairwise

import pytest
import torch
from support.presets import remembering

from vqlearn.diffusion.exact import examples as worlds
from vqlearn.diffusion.exact.world import (
    ExactWorld,
    all_states,
    exact_bound,
    point_distribution,
    prior_distribution,
    sampler_distribution,
    total_variation,
)
from vqlearn.diffusion.process import MaskAndReplace
from vqlearn.diffusion.sampler import all_masked, levels_to_visit, sample
from vqlearn.diffusion.schedule import absorbing, build_schedule, multinomial, paper, released
from vqlearn.probability.log_probs import log_normalise

STEPS = (1, 2, 4, 8, 16)
PRESETS = {"released": released, "paper": paper, "absorbing": absorbing, "multinomial": multinomial}
WITH_MASKS = ("released", "paper", "absorbing")


def make_process(preset, num_codes, num_timesteps=16):
    make = {**PRESETS, "remembering": remembering}[preset]
    return MaskAndReplace(build_schedule(make(num_codes, num_timesteps)))


@pytest.mark.parametrize("preset", PRESETS)
def test_the_true_denoiser_equals_bayes_by_a_plain_sum(preset):
    table = torch.rand(2, 2, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    table /= table.sum()
    world = ExactWorld(table)
    process = make_process(preset, 2)
    states = all_states(3, 3) if preset in WITH_MASKS else all_states(2, 3)
    for t in (1, 7, 15):
        p_x0 = world.denoiser(process)(states, t).exp()
        for row, x_t in enumerate(states):
            expected = torch.zeros(3, 2, dtype=torch.float64)
            for x_0 in all_states(2, 3):
                marginal = process.log_marginal(x_0[None], t, dtype=torch.float64).exp()[0]
                weight = table[tuple(x_0)]
                for i in range(3):
                    weight = weight * marginal[i, x_t[i]]
                for i in range(3):
                    expected[i, x_0[i]] += weight
            total = expected.sum(dim=-1, keepdim=True)
            assert (total > 0).all()
            assert torch.allclose(p_x0[row], expected / total, atol=1e-12, rtol=0)


@pytest.mark.parametrize("preset", WITH_MASKS)
@pytest.mark.parametrize("num_steps", STEPS)
def test_one_token_from_all_mask_any_number_of_steps_gives_the_data_distribution(preset, num_steps):
    world = worlds.one_token()
    process = make_process(preset, 3)
    start = point_distribution(process, torch.tensor([process.mask]))
    levels = levels_to_visit(16, num_steps)
    distribution = sampler_distribution(process, world.denoiser(process), start, levels)
    assert total_variation(distribution, world.data_distribution(process)) < 1e-12


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("num_steps", STEPS)
def test_one_token_from_the_true_end_any_number_of_steps_gives_the_data_distribution(
    preset, num_steps
):
    world = worlds.one_token()
    process = make_process(preset, 3)
    start = world.corrupted_distribution(process, 16)
    distribution = sampler_distribution(
        process, world.denoiser(process), start, levels_to_visit(16, num_steps)
    )
    assert total_variation(distribution, world.data_distribution(process)) < 1e-12


@pytest.mark.parametrize("preset", PRESETS)
def test_one_token_passes_through_the_true_distribution_of_every_level(preset):
    world = worlds.one_token()
    process = make_process(preset, 3)
    for s in (1, 5, 12):
        start = world.corrupted_distribution(process, 16)
        distribution = sampler_distribution(process, world.denoiser(process), start, [16, s])
        assert total_variation(distribution, world.corrupted_distribution(process, s)) < 1e-12


@pytest.mark.parametrize("preset", ["released", "paper"])
@pytest.mark.parametrize(("name", "num_steps"), [("one_token", 3), ("twins", 1), ("chain", 4)])
def test_the_sampler_draws_from_the_computed_distribution(preset, name, num_steps):
    """100,000 samples: each state's count within 5 sigma (and 10, for rare states).

    If the code is right this fails for less than one seed in 5,000 (6 runs, up to 81 states).
    """
    world = worlds.WORLDS[name]()
    process = make_process(preset, world.num_codes)
    denoise = world.denoiser(process)
    levels = levels_to_visit(16, num_steps)
    draws, n = 100_000, world.num_positions
    start = torch.full((n,), process.mask)
    distribution = sampler_distribution(
        process, denoise, point_distribution(process, start), levels
    )
    generator = torch.Generator().manual_seed(0)
    chain = sample(process, denoise, all_masked(process, (draws, n)), levels, generator=generator)
    *_, (_, x_0) = chain
    powers = process.num_classes ** torch.arange(n - 1, -1, -1)
    counts = torch.bincount((x_0 * powers).sum(dim=-1), minlength=len(distribution))
    sigma = (draws * distribution * (1 - distribution)).clamp(min=0).sqrt()
    assert ((counts - draws * distribution).abs() <= 5 * sigma + 10).all()


@pytest.mark.parametrize("preset", WITH_MASKS)
@pytest.mark.parametrize("name", ["twins", "parity", "chain"])
def test_with_several_tokens_more_steps_come_closer_to_the_data(preset, name):
    world = worlds.WORLDS[name]()
    process = make_process(preset, world.num_codes)
    start = point_distribution(process, torch.full((world.num_positions,), process.mask))
    distances = [
        total_variation(
            sampler_distribution(
                process, world.denoiser(process), start, levels_to_visit(16, steps)
            ),
            world.data_distribution(process),
        )
        for steps in STEPS
    ]
    assert all(later < earlier for earlier, later in pairwise(distances))
    assert distances[0] > 0.2


def test_two_equal_tokens_drawn_together_are_drawn_apart():
    """Absorbing, 1, 2 and 4 steps: .25, .375, .4375 on each valid pair, worked out by hand."""
    world = worlds.twins()
    process = make_process("absorbing", 2, num_timesteps=4)
    start = point_distribution(process, torch.tensor([2, 2]))
    for num_steps, expected in [(1, 0.25), (2, 0.375), (4, 0.4375)]:
        levels = levels_to_visit(4, num_steps, "even")
        distribution = sampler_distribution(process, world.denoiser(process), start, levels)
        pair = distribution.reshape(3, 3)
        assert pair[0, 0].item() == pytest.approx(expected, abs=1e-12)
        assert pair[1, 1].item() == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("preset", [*PRESETS, "remembering"])
@pytest.mark.parametrize("sharpness", [0.0, 1.0])
def test_the_bound_is_never_below_the_exact_nll(preset, sharpness):
    """-log p of the model's exact T-step distribution, started at the prior, for a wrong denoiser
    too."""
    world = worlds.twins()
    process = make_process(preset, 2, num_timesteps=6)
    true_denoise = world.denoiser(process)

    def denoise(x_t, t):
        tilt = sharpness * torch.sin(torch.arange(2.0) + t + x_t[..., None])
        return log_normalise(true_denoise(x_t, t).clamp(min=-8) + tilt.double())

    distribution = sampler_distribution(
        process, denoise, prior_distribution(process, 2), list(range(6, -1, -1))
    )
    distribution = distribution.reshape(3, 3)
    x_0 = all_states(2, 2)
    bound = exact_bound(process, denoise, x_0)
    nll = torch.stack([-distribution[tuple(tokens)].log() for tokens in x_0])
    assert (bound >= nll - 1e-12).all()
    assert bound.isfinite().all()


def test_for_one_token_and_its_true_denoiser_the_bound_is_tight_at_one_level():
    """T = 1: nothing is lost between levels; the bound is the negative log-likelihood plus the
    prior's cost."""
    world = worlds.one_token()
    process = make_process("absorbing", 3, num_timesteps=1)
    bound = exact_bound(process, world.denoiser(process), torch.tensor([[0], [1], [2]]))
    expected = -torch.tensor([0.7, 0.2, 0.1], dtype=torch.float64).log()
    assert torch.allclose(bound, expected, atol=1e-12)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (torch.tensor([0.5, 0.6]), "sums to 1.1"),
        (torch.tensor([1.5, -0.5]), "nothing below 0"),
        (torch.full((2, 3), 1 / 6), r"shape \(2, 3\)"),
        (torch.full((9,) * 5, 9.0**-5, dtype=torch.float64), "100000 corrupted states"),
    ],
)
def test_tables_that_are_no_world_are_refused(table, message):
    with pytest.raises(ValueError, match=message):
        ExactWorld(table)


@pytest.mark.parametrize("repeats", [0.8, 0.99])
def test_a_chain_repeats_as_often_as_it_is_told(repeats):
    """By the distribution of each pair of neighbours; both other codes are as likely."""
    table = worlds.chain(repeats).distribution.view(3, 3, 3, 3)
    pairs = (table.sum((2, 3)), table.sum((0, 3)), table.sum((0, 1)))
    for pair in pairs:
        following = pair / pair.sum(1, keepdim=True)
        expected = torch.full((3, 3), (1 - repeats) / 2, dtype=torch.float64)
        assert torch.allclose(following, expected.fill_diagonal_(repeats), atol=1e-12)
    assert pairs[0].sum(1).tolist() == pytest.approx([0.5, 0.3, 0.2])

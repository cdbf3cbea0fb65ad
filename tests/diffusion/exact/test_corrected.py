"""What correctors sample, exactly, and what they keep: in float64, by enumeration."""

from itertools import pairwise

import pytest
import torch
from einops import einsum

from vqlearn.diffusion.exact.corrected import after_step, correction
from vqlearn.diffusion.exact.examples import chain, one_token
from vqlearn.diffusion.exact.revealed import unmasking_distribution
from vqlearn.diffusion.exact.world import (
    ExactWorld,
    all_states,
    point_distribution,
    total_variation,
)
from vqlearn.diffusion.process import MaskAndReplace
from vqlearn.diffusion.reveal.correctors import ForwardAndBack, ReMDM, log_forward
from vqlearn.diffusion.reveal.counts import nearest_level
from vqlearn.diffusion.reveal.known_rules import (
    ancestral,
    confidence,
    entropy_bound,
    fixed_count,
    halton,
    purity,
    scheduled,
    top_purity,
)
from vqlearn.diffusion.reveal.unmasking import unmask
from vqlearn.diffusion.sampler import all_masked
from vqlearn.diffusion.schedule import absorbing, build_schedule, paper

PRESETS = {"absorbing": absorbing, "paper": paper}
RULES = {
    "ancestral": ancestral([16, 11, 5, 0]),
    "random": fixed_count(1),
    "purity r=1": purity(1, 1.0),
    "top purity": top_purity(2),
    "Halton": halton(1, 1, 3),
    "scheduled": scheduled((1, 2)),
    "MaskGIT": confidence(1),
    "entropy bound": entropy_bound(0.5),
    "purity released": purity(1, 1.0, compatible="released"),
}
CORRECTORS = {
    "forward and back": lambda rule: ForwardAndBack(rule, 3),
    "ReMDM": lambda rule: ReMDM(rule, 0.4),
    "both": lambda rule: ForwardAndBack(ReMDM(rule, 0.4), 2),
}


NUM_CLASSES = 3  # two codes and MASK


def chain_of_three():
    """Three bits, each of which repeats its left neighbour with .8: small, and enumerated often."""
    step = torch.full((2, 2), 0.2, dtype=torch.float64).fill_diagonal_(0.8)
    first = torch.tensor([0.7, 0.3], dtype=torch.float64)
    return ExactWorld(einsum(first, step, step, "a, a b, b c -> a b c"))


STATES = all_states(NUM_CLASSES, 3)


def setting(world, preset, num_timesteps=16):
    process = MaskAndReplace(build_schedule(PRESETS[preset](world.num_codes, num_timesteps)))
    return process, world.denoiser(process)


def marginals(distribution, num_classes=NUM_CLASSES):
    """(n, classes): the distribution of each of the three tokens."""
    table = distribution.reshape((num_classes,) * 3)
    return torch.stack([table.sum(dim=axes) for axes in ((1, 2), (0, 2), (0, 1))])


def product_kernel(one_token):
    """From (states, n, classes) to (states, states): the tokens are independent."""
    return einsum(*one_token.unbind(dim=1), "x a, x b, x c -> x a b c").flatten(1)


def with_masked(process, distribution, number):
    """Given that so many tokens are MASK."""
    there = distribution * ((STATES == process.mask).sum(dim=-1) == number)
    return there / there.sum()


@pytest.mark.parametrize("corrector", CORRECTORS)
@pytest.mark.parametrize(
    ("preset", "rule"), [*(("paper", rule) for rule in RULES), ("absorbing", "random")]
)
def test_the_sampler_draws_from_the_computed_distribution(preset, rule, corrector):
    """4,000 samples: each state's count within 5 sigma (and 5, for rare states).

    If the code is right this fails for less than one seed in 100 of all 30 runs together.
    """
    world, draws = chain_of_three(), 4000
    process, denoise = setting(world, preset)
    chosen = CORRECTORS[corrector](RULES[rule])
    start = point_distribution(process, torch.full((3,), process.mask))
    distribution = unmasking_distribution(process, denoise, start, chosen)
    assert distribution.reshape(3, 3, 3)[:2, :2, :2].sum().item() == pytest.approx(1, abs=1e-12)
    generator = torch.Generator().manual_seed(0)
    *_, (s, x_0) = unmask(
        process, denoise, all_masked(process, (draws, 3)), chosen, generator=generator
    )
    assert s == 0
    counts = torch.bincount((x_0 * torch.tensor([9, 3, 1])).sum(dim=-1), minlength=27)
    sigma = (draws * distribution * (1 - distribution)).clamp(min=0).sqrt()
    assert ((counts - draws * distribution).abs() <= 5 * sigma + 5).all()
    assert (counts[distribution == 0] == 0).all()


@pytest.mark.parametrize("preset", PRESETS)
def test_remdm_keeps_the_distribution_of_every_token_and_not_the_joint_one(preset):
    """One step of the ancestral sampler, from the true x_t of level 11 to level 5."""
    world = chain_of_three()
    process, denoise = setting(world, preset)
    start, expected = (world.corrupted_distribution(process, level) for level in (11, 5))
    for sigma in (0.2, 0.4, 1.0):
        rule = ReMDM(ancestral([11, 5, 0]), sigma)
        found = after_step(process, denoise, STATES, start, rule, 0)
        assert (marginals(found) - marginals(expected)).abs().max() < 1e-12
        assert total_variation(found, expected) > 0.01


@pytest.mark.parametrize("preset", PRESETS)
def test_forward_and_back_keeps_the_distribution_of_every_token_and_not_the_joint_one(preset):
    """From the true x_s of level 5 to level 8 and back."""
    world = chain_of_three()
    process, denoise = setting(world, preset)
    start = world.corrupted_distribution(process, 5)
    rule = ForwardAndBack(ancestral([11, 5, 0]), 3)
    by_number = [
        start * ((STATES == process.mask).sum(dim=-1) == number) for number in (0, 1, 2, 3)
    ]
    found = sum(correction(process, denoise, there, rule, 0) for there in by_number)
    assert (marginals(found) - marginals(start)).abs().max() < 1e-12
    assert total_variation(found, start) > 0.01


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("rule", ["random", "Halton"])
def test_with_a_fixed_number_they_keep_it_too(rule, preset):
    """From two MASK tokens to one, at the levels that are nearest; and from one to one."""
    world = chain_of_three()
    process, denoise = setting(world, preset)
    t, s = nearest_level(process.schedule, torch.tensor([2, 1]), 3).tolist()
    two = with_masked(process, world.corrupted_distribution(process, t), 2)
    one = with_masked(process, world.corrupted_distribution(process, s), 1)
    for found in (
        after_step(process, denoise, STATES, two, ReMDM(RULES[rule], 0.4), 0),
        correction(process, denoise, one, ForwardAndBack(RULES[rule], 3), 1),
    ):
        assert total_variation(found, one) > 0.01
        if rule == "random":
            assert (marginals(found) - marginals(one)).abs().max() < 1e-12
        # A fixed order has its MASK tokens elsewhere; the values of the others are right.
        shown = [marginals(p)[:, :-1] for p in (found, one)]
        values = [p / p.sum(dim=-1, keepdim=True) for p in shown]
        assert (values[0] - values[1]).nan_to_num(0.0).abs().max() < 1e-12


def test_a_whole_run_keeps_it_no_better_than_the_rule_alone():
    """What was drawn together is dependent in another way: the next predictions rely on it."""
    world = ExactWorld(chain().distribution.reshape((3,) * 4).sum(dim=-1))  # three codes
    process, denoise = setting(world, "absorbing")
    start = point_distribution(process, torch.full((3,), process.mask))
    data, rule = marginals(world.data_distribution(process), 4), ancestral([16, 8, 0])
    for chosen in (rule, ReMDM(rule, 0.3), ForwardAndBack(rule, 2)):
        found = unmasking_distribution(process, denoise, start, chosen)
        assert 1e-5 < (marginals(found, 4) - data).abs().max() < 1e-2


def test_an_order_that_looks_at_predictions_does_not_keep_them():
    world = chain_of_three()
    process, denoise = setting(world, "absorbing")
    start = point_distribution(process, torch.full((3,), process.mask))
    errors = []
    for rule in (fixed_count(1), purity(1)):
        found = unmasking_distribution(process, denoise, start, ForwardAndBack(rule, 1))
        data = world.data_distribution(process)
        errors.append(float((marginals(found) - marginals(data)).abs().max()))
    assert errors[1] > 10 * errors[0]


def test_remdm_around_the_ancestral_sampler_is_that_of_its_source():
    """Token by token: a shown one is masked with sigma, MASK stays so that the share is right."""
    world, sigma, levels = chain_of_three(), 0.35, (9, 6, 0)
    process, denoise = setting(world, "absorbing", 12)
    gamma_t, gamma_s = 9 / 12, 6 / 12
    stay = (gamma_s - (1 - gamma_t) * sigma) / gamma_t
    p = denoise(STATES, 9).exp()  # (states, n, K)
    shown = torch.eye(NUM_CLASSES, dtype=torch.float64)[STATES] * (1 - sigma)
    shown[..., -1] = sigma
    masked = torch.cat([(1 - stay) * p, torch.full_like(p[..., :1], stay)], dim=-1)
    one = torch.where((STATES == process.mask)[..., None], masked, shown)  # (states, n, classes)
    start = world.corrupted_distribution(process, 9)
    found = after_step(process, denoise, STATES, start, ReMDM(ancestral(levels), sigma), 0)
    assert (found - start @ product_kernel(one)).abs().max() < 1e-12


def test_remdm_is_a_long_step_back_and_a_step_forward():
    """From level 9 back to 4 and forward to 6 of 12: that masks a quarter of the tokens."""
    world = chain_of_three()
    process, denoise = setting(world, "absorbing", 12)
    start = world.corrupted_distribution(process, 9)
    back = after_step(process, denoise, STATES, start, ancestral([9, 4, 0]), 0)
    kernel = product_kernel(log_forward(process, STATES, 4, 6).exp())
    found = after_step(process, denoise, STATES, start, ReMDM(ancestral([9, 6, 0]), 0.25), 0)
    assert (found - back @ kernel).abs().max() < 1e-12


def test_a_cap_holds_where_sigma_is_too_large():
    """At most gamma_s / (1 - gamma_t) of the shown tokens: then every MASK token comes out."""
    world = chain_of_three()
    process, denoise = setting(world, "absorbing", 12)
    start = world.corrupted_distribution(process, 4)
    capped, most = (ReMDM(ancestral([4, 2, 0]), sigma) for sigma in (1.0, (2 / 12) / (8 / 12)))
    found = [after_step(process, denoise, STATES, start, rule, 0) for rule in (capped, most)]
    assert (found[0] - found[1]).abs().max() < 1e-12
    expected = marginals(world.corrupted_distribution(process, 2))
    assert (marginals(found[0]) - expected).abs().max() < 1e-12


@pytest.mark.parametrize("preset", PRESETS)
def test_forward_is_the_process(preset):
    world = chain_of_three()
    process, _ = setting(world, preset)
    kernel = product_kernel(log_forward(process, STATES, 5, 8).exp())
    found = world.corrupted_distribution(process, 5) @ kernel
    assert (found - world.corrupted_distribution(process, 8)).abs().max() < 1e-12


@pytest.mark.parametrize("preset", PRESETS)
def test_a_single_token_comes_back_as_it_was(preset):
    """It depends on nothing: the step token by token is the joint one, and leaves the data."""
    world = one_token()
    process, denoise = setting(world, preset)
    rule, data = ForwardAndBack(ancestral([16, 5, 0]), 3), world.data_distribution(process)
    assert (correction(process, denoise, data, rule, 1) - data).abs().max() < 1e-12


def test_the_error_of_one_correction_falls_with_the_square_of_its_size():
    """Two tokens masked together by a small step forward are that rare."""
    world, errors = chain_of_three(), []
    for num_timesteps in (16, 32, 64):
        process, denoise = setting(world, "absorbing", num_timesteps)
        rule, data = ForwardAndBack(fixed_count(1), 1), world.data_distribution(process)
        found = correction(process, denoise, data, rule, 2)
        assert (marginals(found) - marginals(data)).abs().max() < 1e-12
        errors.append(total_variation(found, data))
    for larger, smaller in pairwise(errors):
        assert larger / smaller == pytest.approx(4, abs=0.4)


def test_forward_and_back_mends_what_was_drawn_together_and_costs_what_was_not():
    world = chain_of_three()
    process, denoise = setting(world, "absorbing")
    start = point_distribution(process, torch.full((3,), process.mask))
    data = world.data_distribution(process)

    def distance(rule):
        return total_variation(unmasking_distribution(process, denoise, start, rule), data)

    together = [distance(rule) for rule in (fixed_count(3), ForwardAndBack(fixed_count(3), 4))]
    assert together[1] < 0.8 * together[0]
    alone = [distance(rule) for rule in (fixed_count(1), ForwardAndBack(fixed_count(1), 4))]
    assert alone[0] < 1e-12
    assert alone[1] > 0.01


@pytest.mark.parametrize("rule", ["ancestral", "random", "MaskGIT"])
def test_without_remasking_remdm_is_the_rule(rule):
    world = chain_of_three()
    process, denoise = setting(world, "paper")
    start = point_distribution(process, torch.full((3,), process.mask))
    plain, found = (
        unmasking_distribution(process, denoise, start, chosen)
        for chosen in (RULES[rule], ReMDM(RULES[rule], 0.0))
    )
    assert (plain - found).abs().max() < 1e-12

"""Predicted costs of schedules against divergences that are enumerated, in float64."""

from itertools import accumulate, permutations, product

import pytest
import torch

from vqlearn.diffusion.exact.examples import WORLDS
from vqlearn.diffusion.exact.profile import exact_profile
from vqlearn.diffusion.exact.revealed import unmasking_distribution
from vqlearn.diffusion.exact.world import ExactWorld, point_distribution
from vqlearn.diffusion.process import MaskAndReplace
from vqlearn.diffusion.reveal.counts import Binomial, ScheduledCounts
from vqlearn.diffusion.reveal.known_rules import ancestral
from vqlearn.diffusion.reveal.orders import at_random
from vqlearn.diffusion.reveal.planning import best_schedule, expected_cost
from vqlearn.diffusion.reveal.rule import ChooseThenDraw
from vqlearn.diffusion.schedule import absorbing, build_schedule

NAMES = ("twins", "parity", "chain")


def schedules(n):
    """All ways to write n as a sum of steps."""
    return [(k, *rest) for k in range(1, n + 1) for rest in (schedules(n - k) if k < n else [()])]


def table_of(world):
    return world.distribution.reshape((world.num_codes,) * world.num_positions)


def marginal(table, kept):
    """p(x_kept), with axes of length 1 for the others."""
    others = [i for i in range(table.ndim) if i not in kept]
    return table.sum(dim=others, keepdim=True) if others else table


def given_the_order(table, order, tokens):
    """What the sampler draws from: each token of a step given those of the steps before."""
    q, shown = torch.ones_like(table), []
    for k, end in zip(tokens, accumulate(tokens), strict=True):
        for i in order[end - k : end]:
            q = q * (marginal(table, [*shown, i]) / marginal(table, shown)).nan_to_num(0.0)
        shown += order[end - k : end]
    return q


def divergence(p, q):
    """KL(p || q) in nats."""
    there = p > 0
    return float((p[there] * (p[there] / q[there]).log()).sum())


def on_absorbing_chain(world, rule, num_timesteps=12):
    """p_data and what the sampler returns, over the codes alone."""
    process = MaskAndReplace(build_schedule(absorbing(world.num_codes, num_timesteps)))
    start = point_distribution(process, torch.full((world.num_positions,), process.mask))
    found = unmasking_distribution(process, world.denoiser(process), start, rule)
    n, codes = world.num_positions, slice(0, world.num_codes)
    return table_of(world), found.reshape((process.num_classes,) * n)[(codes,) * n]


def chain_of(length):
    step = torch.full((3, 3), 0.1, dtype=torch.float64).fill_diagonal_(0.8)
    table = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64)
    for _ in range(length - 1):
        table = table[..., None] * step
    return ExactWorld(table)


@pytest.mark.parametrize("name", NAMES)
def test_the_cost_is_the_mean_divergence_given_the_order(name):
    world = WORLDS[name]()
    profile, table = exact_profile(world), table_of(world)
    orders = [list(order) for order in permutations(range(world.num_positions))]
    for tokens in schedules(world.num_positions):
        each = [divergence(table, given_the_order(table, order, tokens)) for order in orders]
        assert profile.cost(tokens) == pytest.approx(sum(each) / len(each), abs=1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_it_is_an_upper_bound_of_the_divergence_of_the_sampler(name):
    """The sampler is the mixture over the orders, and KL(data || sampler) is convex."""
    world = WORLDS[name]()
    profile, table = exact_profile(world), table_of(world)
    orders = [list(order) for order in permutations(range(world.num_positions))]
    gaps = []
    for tokens in (tokens for tokens in schedules(world.num_positions) if len(tokens) <= 2):
        _, found = on_absorbing_chain(world, ChooseThenDraw(ScheduledCounts(tokens), at_random))
        mixture = sum(given_the_order(table, order, tokens) for order in orders) / len(orders)
        assert (found - mixture).abs().max() < 1e-12
        gaps.append(profile.cost(tokens) - divergence(table, found))
        assert gaps[-1] > -1e-12
    # Without symmetry between the orders, mixing helps.
    assert max(gaps) > 0.01 if name == "chain" else max(gaps) < 1e-12


def test_the_expected_cost_bounds_the_divergence_of_the_ancestral_sampler():
    world = WORLDS["chain"]()
    schedule = build_schedule(absorbing(3, 12))
    for levels, equal in (((12, 0), True), ((12, 11, 5, 0), False)):
        predicted = expected_cost(exact_profile(world), Binomial(levels), schedule)
        table, found = on_absorbing_chain(world, ancestral(levels))
        gap = predicted - divergence(table, found)
        assert abs(gap) < 1e-12 if equal else gap > 0.1  # one step has one number and one order


@pytest.mark.parametrize("num_steps", [2, 3])
def test_the_predicted_order_of_schedules_is_the_true_one(num_steps):
    world = WORLDS["chain"]()
    profile = exact_profile(world)
    tried = [tokens for tokens in schedules(4) if len(tokens) == num_steps]

    def true_divergence(tokens):
        rule = ChooseThenDraw(ScheduledCounts(tokens), at_random)
        return divergence(*on_absorbing_chain(world, rule))

    assert sorted(tried, key=profile.cost) == sorted(tried, key=true_divergence)


def test_the_best_schedules_of_a_chain_of_six():
    profile = exact_profile(chain_of(6))
    found = [best_schedule(profile, num_steps) for num_steps in (2, 3, 4)]
    assert found == [(2, 4), (1, 2, 3), (1, 1, 2, 2)]
    assert profile.cost((2, 4)) == pytest.approx(0.728, abs=5e-4)


def test_the_profile_is_the_mean_of_conditional_entropies():
    table = table_of(WORLDS["chain"]())
    expected = [[] for _ in range(4)]
    for shown in product([False, True], repeat=4):
        kept = [i for i in range(4) if shown[i]]
        for i in range(4):
            if not shown[i]:
                log_p = (marginal(table, [*kept, i]) / marginal(table, kept)).log()
                expected[len(kept)].append(-(table * log_p).sum())
    expected = torch.stack([torch.stack(each).mean() for each in expected])
    profile = exact_profile(WORLDS["chain"]())
    assert (profile.nats - expected).abs().max() < 1e-12
    assert (profile.standard_error == 0).all()


def test_parity_tells_nothing_until_the_last_token():
    nats = exact_profile(WORLDS["parity"]()).nats / torch.tensor(2.0).log()
    assert nats.tolist() == pytest.approx([1, 1, 1, 0], abs=1e-7)

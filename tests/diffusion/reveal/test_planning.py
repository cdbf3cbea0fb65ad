"""The best schedule against all of them, and the costs of random numbers against all numbers."""

from itertools import combinations, pairwise, product
from math import comb, prod

import pytest
import torch

from vqlearn.diffusion.reveal.counts import Binomial, EntropyBound, FixedCount, ScheduledCounts
from vqlearn.diffusion.reveal.planning import best_schedule, expected_cost, mean_counts
from vqlearn.diffusion.reveal.profile import InformationProfile
from vqlearn.diffusion.sampler import levels_to_visit
from vqlearn.diffusion.schedule import absorbing, build_schedule, paper


def profile_of(nats):
    nats = torch.as_tensor(nats, dtype=torch.float64)
    return InformationProfile(nats, torch.zeros_like(nats))


def cost_by_hand(h, tokens):
    cost, m = 0.0, 0
    for k in tokens:
        cost += sum(h[m] - h[m + j] for j in range(k))
        m += k
    return cost


def numbers_between(*shown):
    return tuple(after - before for before, after in pairwise(shown))


@pytest.mark.parametrize("falling", [True, False])
def test_the_best_schedule_is_the_best_of_all(falling):
    """Also for a measured profile that does not fall everywhere."""
    generator = torch.Generator().manual_seed(0)
    for _ in range(5):
        nats = torch.rand(7, generator=generator, dtype=torch.float64)
        nats = nats.sort(descending=True).values if falling else nats
        profile, h = profile_of(nats), nats.tolist()
        for num_steps in range(1, 8):
            every = [
                numbers_between(0, *inner, 7) for inner in combinations(range(1, 7), num_steps - 1)
            ]
            best = min(every, key=lambda tokens: cost_by_hand(h, tokens))
            assert best_schedule(profile, num_steps) == best
            assert profile.cost(best) == pytest.approx(cost_by_hand(h, best), abs=1e-12)


def test_a_thousand_positions():
    profile = profile_of(1 / torch.arange(1, 1025).sqrt())
    tokens = best_schedule(profile, 10)
    assert sum(tokens) == 1024
    assert list(tokens) == sorted(tokens)
    nudged = (tokens[0] + 1, tokens[1] - 1, *tokens[2:])
    assert profile.cost(tokens) < profile.cost(nudged)
    even = (103, 103, 102, 102, 103, 102, 102, 102, 103, 102)
    assert profile.cost(tokens) < 0.8 * profile.cost(even)


@pytest.mark.parametrize("schedule", [absorbing, paper])
def test_the_expected_cost_is_the_mean_over_all_numbers(schedule):
    schedule, levels, n = build_schedule(schedule(3, 9)), (9, 6, 2, 0), 4
    h = [1.0, 0.8, 0.35, 0.3]
    mean = 0.0
    for counts in product(range(n + 1), repeat=3):
        if sum(counts) != n:
            continue
        left, p = n, []
        for k, (t, s) in zip(counts, pairwise(levels), strict=True):
            stay = float(schedule.gamma_bar[s] / schedule.gamma_bar[t])
            p.append(comb(left, k) * (1 - stay) ** k * stay ** (left - k))
            left -= k
        mean += prod(p) * cost_by_hand(h, counts)
    found = expected_cost(profile_of(h), Binomial(levels), schedule)
    assert found == pytest.approx(mean, abs=1e-12)


def test_the_expected_cost_of_fixed_numbers_is_their_cost():
    profile, schedule = profile_of([1.0, 0.7, 0.4, 0.3, 0.1]), build_schedule(absorbing(3, 9))
    for how_many, tokens in [
        (FixedCount(2), (2, 2, 1)),
        (ScheduledCounts((1, 4)), (1, 4)),
        (ScheduledCounts((5,)), (5,)),
    ]:
        found = expected_cost(profile, how_many, schedule)
        assert found == pytest.approx(profile.cost(tokens), abs=1e-12)


def test_the_mean_numbers_of_levels():
    schedule = build_schedule(absorbing(3, 20))
    assert mean_counts(schedule, levels_to_visit(20, 4, "even"), 20) == (5, 5, 5, 5)
    assert mean_counts(schedule, levels_to_visit(20, 4), 20) == (1, 4, 6, 9)
    assert mean_counts(schedule, levels_to_visit(20, 4), 40) == (2, 8, 12, 18)
    assert mean_counts(schedule, levels_to_visit(20, 5), 5) == (1, 1, 1, 1, 1)  # never none
    # Where T is not all MASK, the start still is.
    assert mean_counts(build_schedule(paper(3, 20)), [20, 10, 0], 20) == (10, 10)


def test_the_spread_of_random_numbers_costs():
    profile, schedule = profile_of(1 / torch.arange(1, 17)), build_schedule(absorbing(3, 16))
    levels = levels_to_visit(16, 4, "even")
    fixed = profile.cost(mean_counts(schedule, levels, 16))
    assert expected_cost(profile, Binomial(levels), schedule) > fixed + 0.1


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: best_schedule(profile_of([1.0, 0.5]), 3), ValueError, "is 3; allowed: 1 to 2"),
        (lambda: best_schedule(profile_of([1.0, 0.5]), 0), ValueError, "is 0; allowed: 1 to 2"),
        (
            lambda: mean_counts(build_schedule(absorbing(3, 8)), [8, 4, 2, 0], 2),
            ValueError,
            "number of steps is 3; allowed: 1 to 2",
        ),
        (
            lambda: mean_counts(build_schedule(absorbing(3, 8)), [8, 4], 9),
            ValueError,
            "levels is .*; allowed: falling, the last one 0",
        ),
        (
            lambda: expected_cost(
                profile_of([1.0]), EntropyBound(1.0), build_schedule(absorbing(3, 8))
            ),
            TypeError,
            "how_many is EntropyBound.*; allowed: Binomial, FixedCount, ScheduledCounts",
        ),
    ],
)
def test_what_cannot_be_is_refused(make, error, message):
    with pytest.raises(error, match=message):
        make()

"""Unmasking rules as they are used: their answers one by one, given tokens, seeds, refusals."""

from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import pytest
import torch

from vqlearn.diffusion.exact.examples import chain
from vqlearn.diffusion.kernels import absorbing as absorbing_matrices
from vqlearn.diffusion.model import DiffusionModel
from vqlearn.diffusion.process import MaskAndReplace
from vqlearn.diffusion.reveal.correctors import ForwardAndBack, ReMDM
from vqlearn.diffusion.reveal.counts import (
    Binomial,
    EntropyBound,
    FixedCount,
    ScheduledCounts,
    nearest_level,
)
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
from vqlearn.diffusion.reveal.orders import Halton, halton_order
from vqlearn.diffusion.reveal.rule import DrawThenChoose, Moment, Sharpened
from vqlearn.diffusion.reveal.unmasking import unmask
from vqlearn.diffusion.sampler import all_masked
from vqlearn.diffusion.schedule import absorbing, build_schedule, multinomial, paper
from vqlearn.probability.log_probs import log_normalise
from vqlearn.probability.model import Given, Sampling

RULES = {
    "ancestral": ancestral([6, 4, 0]),
    "random": fixed_count(2),
    "purity": purity(1, 0.5),
    "top purity": top_purity(3),
    "MaskGIT": confidence(2),
    "Halton": halton(1, 2, 2),
    "scheduled": scheduled((1, 1, 2)),
    "scheduled MaskGIT": DrawThenChoose(ScheduledCounts((1, 3))),
    "entropy": entropy_bound(0.4),
    "forward and back": ForwardAndBack(fixed_count(2), 2),
    "ReMDM": ReMDM(purity(1), 0.3),
    "two correctors": ForwardAndBack(ReMDM(ancestral([6, 4, 2, 0]), 0.3), 1),
    "released": purity(1, 1.0, compatible="released"),
}


def seeded(*seeds):
    found = [torch.Generator().manual_seed(seed) for seed in seeds]
    return found if len(found) > 1 else found[0]


def true_model(schedule=paper, num_timesteps=6):
    world = chain()
    process = MaskAndReplace(build_schedule(schedule(3, num_timesteps)))
    return DiffusionModel(process, world.denoiser(process), num_positions=4)


def moment(p, masked, schedule=absorbing):
    """One sequence with these predictions."""
    log_p = torch.tensor([p], dtype=torch.float64).log()
    return Moment(build_schedule(schedule(3, 6)), 0, log_p, torch.tensor([masked]))


PREDICTIONS = [[1.0, 0.0, 0.0], [0.8, 0.1, 0.1], [0.5, 0.5, 0.0], [0.4, 0.3, 0.3]]


@pytest.mark.parametrize("limit", [0.0, 0.5, 0.7, 1.4, 9.0])
def test_an_entropy_bound_takes_as_many_as_it_says(limit):
    masked = [True, True, False, True]
    nats = sorted(-sum(q * torch.tensor(q).log().item() for q in p if q)
                  for p, hidden in zip(PREDICTIONS, masked, strict=True) if hidden)  # fmt: skip
    allowed = [m for m in (1, 2, 3) if sum(nats[:m]) - max(nats[:m]) <= limit]
    log_counts = EntropyBound(limit).log_counts(moment(PREDICTIONS, masked))
    assert log_counts.exp()[0].nonzero().item() == max(allowed)


def test_sharpening_is_the_power_that_it_says():
    log_p = torch.tensor([PREDICTIONS], dtype=torch.float64).log()
    for relative in (False, True):
        found = Sharpened(0.5, relative=relative)(log_p).exp()
        for i, p in enumerate(torch.tensor(PREDICTIONS, dtype=torch.float64)):
            power = p ** (1 + 0.5 * p.max())  # the largest score of this sequence is 1
            assert torch.allclose(found[0, i], power / power.sum(), atol=1e-12)
    flat = log_p[:, 1:]
    power = flat[0, 2].exp() ** (1 + 0.5 * 0.4 / 0.8)
    found = Sharpened(0.5, relative=True)(flat).exp()[0, 2]
    assert torch.allclose(found, power / power.sum(), atol=1e-12)


def test_the_noise_of_maskgit_falls_with_the_share_that_is_still_masked():
    """6 and 4 of 8 tokens are MASK: 2 are revealed in one sequence, all in the other."""
    masked = torch.arange(8) < torch.tensor([[6], [4]])
    moment = Moment(build_schedule(absorbing(3, 8)), 0, torch.zeros(2, 8, 3), masked)
    log_drawn, count = torch.zeros(2, 8), torch.tensor([2, 4])
    order = DrawThenChoose(FixedCount(2), temperature=3.0).ranking(moment, count, log_drawn)
    assert order.noise.tolist() == [[1.5], [0.0]]  # 3 * 4 / 8, 3 * 0 / 8
    still = DrawThenChoose(FixedCount(2), temperature=0.0).ranking(moment, count, log_drawn)
    assert still.noise is None


def test_the_halton_order_of_a_grid():
    """Rows 1/2, 1/4, 3/4, 1/8, …; columns 1/3, 2/3, 1/9, 4/9, …"""
    assert halton_order(2, 2) == (2, 1, 0, 3)
    assert halton_order(1, 4)[:3] == (1, 2, 0)
    assert sorted(halton_order(32, 32)) == list(range(1024))
    first = [divmod(position, 8) for position in halton_order(8, 8)[:8]]
    assert len({row for row, _ in first}) == 8  # every row once


def test_the_level_is_that_of_the_nearest_share():
    schedule = build_schedule(absorbing(3, 10))
    masked = torch.tensor([0, 1, 7, 10, 99, 100])
    assert nearest_level(schedule, masked, 100).tolist() == [0, 1, 1, 1, 9, 10]
    assert nearest_level(schedule, torch.tensor([35, 36]), 50).tolist() == [7, 7]
    assert nearest_level(build_schedule(absorbing(3, 1)), torch.tensor([1, 2]), 2).tolist() == [
        1,
        1,
    ]


@pytest.mark.parametrize("schedule", [absorbing, paper])
@pytest.mark.parametrize(("num_timesteps", "k"), [(1, 1), (2, 3), (3, 4), (40, 7)])
def test_any_number_of_positions_levels_and_tokens(schedule, num_timesteps, k):
    """25 positions: as many steps as it takes, k tokens in each, more than levels or fewer."""
    process = MaskAndReplace(build_schedule(schedule(5, num_timesteps)))
    asked = []

    def denoise(x_t, t):
        asked.append(t)
        return log_normalise(torch.zeros(*x_t.shape, 5))

    start = all_masked(process, (3, 25))
    states = [x for _, x in unmask(process, denoise, start, fixed_count(k), generator=seeded(0))]
    left = [(x == process.mask).sum(dim=-1).tolist() for x in states]
    assert left == [[max(25 - k * (i + 1), 0)] * 3 for i in range(-(-25 // k))]
    assert asked[0] == num_timesteps
    assert all(1 <= t <= num_timesteps for t in asked)
    assert asked == sorted(asked, reverse=True)


def test_scheduled_steps_take_their_own_numbers_and_the_last_what_is_left():
    model, rule = true_model(), scheduled((1, 2, 1))
    tokens, where = torch.zeros(2, 4, dtype=torch.long), torch.zeros(2, 4, dtype=torch.bool)
    where[1, :2] = True
    start = all_masked(model.process, (2, 4))
    steps = model.steps(start, rule, given=Given(tokens, where), generator=seeded(0))
    left = [(x == model.process.mask).sum(dim=-1).tolist() for _, x in steps]
    assert left == [[3, 1], [1, 0], [0, 0]]


@pytest.mark.parametrize("rule", RULES)
def test_same_seed_same_bits_in_any_order_and_in_two_threads(rule):
    model, rule = true_model(), RULES[rule]
    first = model.sample(5, rule=rule, generator=seeded(1))
    model.sample(3, rule=fixed_count(1), generator=seeded(2))
    with ThreadPoolExecutor(2) as pool:
        again = [
            pool.submit(model.sample, 5, rule=rule, generator=seeded(seed)) for seed in (1, 2, 1)
        ]
        found = [task.result() for task in again]
    assert torch.equal(found[0], first)
    assert torch.equal(found[2], first)
    assert not torch.equal(found[1], first)


@pytest.mark.parametrize("rule", sorted(set(RULES) - {"released"}))
def test_with_a_generator_each_a_sequence_does_not_depend_on_the_others(rule):
    """Nor on how many of their tokens are given. (The redraw of "released" waits for the last.)"""
    model, rule = true_model(), RULES[rule]
    tokens, where = torch.full((2, 4), 1), torch.tensor([[True, True, False, True], [False] * 4])
    both = model.sample(2, given=Given(tokens, where), rule=rule, generator=seeded(3, 4))
    for row in (0, 1):
        given = Given(tokens[row : row + 1], where[row : row + 1])
        alone = model.sample(1, given=given, rule=rule, generator=[seeded(3 + row)])
        assert torch.equal(alone[0], both[row])


@pytest.mark.parametrize("rule", RULES)
def test_given_tokens_stay(rule):
    model = true_model()
    tokens = torch.randint(3, (200, 4), generator=seeded(5))
    where = torch.rand(200, 4, generator=seeded(6)) < 0.5
    where[0] = True
    given = Given(tokens, where)
    x_t = all_masked(model.process, (200, 4))
    for _, x in model.steps(x_t, RULES[rule], given=given, generator=seeded(7)):
        assert torch.equal(x[where], tokens[where])
    everything = Given(tokens, where | True)
    assert torch.equal(model.sample(200, given=everything, rule=RULES[rule]), tokens)


def test_released_freezes_what_is_drawn_and_redraws_it_at_the_end():
    model = true_model()
    x_t = all_masked(model.process, (300, 4))
    rule = fixed_count(1, compatible="released")
    states = list(model.steps(x_t, rule, generator=seeded(8)))
    assert [s for s, _ in states] == [5, 3, 2, 1, 0]
    for (_, before), (_, after) in pairwise(states[:4]):
        shown = before != model.process.mask
        assert torch.equal(before[shown], after[shown])
    assert not torch.equal(states[3][1], states[4][1])
    plain = [x for _, x in model.steps(x_t, fixed_count(1), generator=seeded(8))]
    shown = plain[0] != model.process.mask
    assert not torch.equal(plain[0][shown], plain[3][shown])


def test_a_rule_keeps_the_precision_of_float32_predictions():
    model = true_model(absorbing)
    single = DiffusionModel(
        model.process, lambda x, t: model.network(x, t).float(), num_positions=4
    )
    for rule in RULES.values():
        x = single.sample(50, rule=rule, generator=seeded(9))
        assert (x < 3).all()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: FixedCount(0), "tokens_per_step is 0; allowed: 1 or more"),
        (lambda: purity(2, -1.0), "r is -1.0; allowed: 0 or more"),
        (lambda: Sharpened(float("nan")), "r is nan; allowed: 0 or more"),
        (
            lambda: purity(2, compatible="theirs"),
            "is 'theirs'; allowed: None, 'released'",
        ),
        (lambda: DrawThenChoose(FixedCount(1), compatible=""), "compatible is ''"),
        (lambda: confidence(1, -0.1), "temperature is -0.1; allowed: 0 or more"),
        (lambda: entropy_bound(-1.0), "limit is -1.0; allowed: 0 or more"),
        (lambda: Binomial((3, 3, 0)), "levels is .*; allowed: falling, the last one 0"),
        (lambda: Binomial((3, 1)), "levels is .*; allowed: falling"),
        (lambda: scheduled((2, 0, 2)), "the tokens of a step is 0; allowed: 1 or more"),
        (lambda: scheduled(()), "the number of steps is 0; allowed: 1 or more"),
        (
            lambda: true_model().sample(1, rule=scheduled((1, 2))),
            "the sum of the tokens is 3; allowed: 4 positions",
        ),
        (lambda: Halton(0, 4), "height is 0"),
        (
            lambda: true_model().sample(1, rule=fixed_count(5)),
            "step is 5; allowed: 1 to 4",
        ),
        (lambda: true_model().sample(1, rule=halton(1, 2, 3)), "the grid is 2 x 3; allowed: 4 pos"),
        (
            lambda: true_model().sample(1, rule=fixed_count(1), sampling=Sampling(1.0, 1.0, 3)),
            "num_inference_steps is 3; allowed with a rule: None",
        ),
        (lambda: true_model(multinomial).sample(1, rule=fixed_count(1)), "gamma_bar does not grow"),
    ],
)
def test_what_cannot_be_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_a_rule_needs_mask_and_replace():
    process = absorbing_matrices(3, 4)
    model = DiffusionModel(process, lambda x, t: torch.zeros(*x.shape, 3), num_positions=4)
    with pytest.raises(TypeError, match="the process of an unmasking rule is"):
        model.sample(1, rule=fixed_count(1))

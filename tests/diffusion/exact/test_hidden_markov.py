"""A long chain whose true denoiser is known: against enumeration, and samplers at real lengths."""

import math
from itertools import pairwise

import pytest
import torch

from vqlearn.diffusion import kernels
from vqlearn.diffusion.exact.examples import long_chain
from vqlearn.diffusion.exact.hidden_markov import MarkovWorld
from vqlearn.diffusion.exact.world import ExactWorld, all_states
from vqlearn.diffusion.model import DiffusionModel
from vqlearn.diffusion.process import MaskAndReplace
from vqlearn.diffusion.reveal.known_rules import confidence, fixed_count, halton, purity, top_purity
from vqlearn.diffusion.schedule import absorbing, build_schedule, paper, released

FIRST = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64)
STEP = torch.tensor([[0.7, 0.3, 0.0], [0.1, 0.2, 0.7], [0.25, 0.5, 0.25]], dtype=torch.float64)
T = 8
PROCESSES = {
    "absorbing": lambda: MaskAndReplace(build_schedule(absorbing(3, T))),
    "paper": lambda: MaskAndReplace(build_schedule(paper(3, T))),
    "released": lambda: MaskAndReplace(build_schedule(released(3, T))),
    "uniform": lambda: kernels.uniform(3, T),
    "gaussian": lambda: kernels.discretised_gaussian(3, T),
    "absorbing matrices": lambda: kernels.absorbing(3, T),
}
EXACT = {"random": fixed_count(1), "top purity": top_purity(1), "Halton": halton(1, 8, 8)}


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def listed(n):
    """The same chain as a table, multiplied up sequence by sequence."""
    table = torch.zeros((3,) * n, dtype=torch.float64)
    for x in all_states(3, n).tolist():
        table[tuple(x)] = FIRST[x[0]] * math.prod(float(STEP[pair]) for pair in pairwise(x))
    return ExactWorld(table)


@pytest.mark.parametrize("name", PROCESSES)
@pytest.mark.parametrize("n", [1, 4, 6])
def test_the_denoiser_is_that_of_the_listed_world(name, n):
    """All corrupted states, or 200 of them; those that the process cannot reach included."""
    process = PROCESSES[name]()
    states = all_states(process.num_classes, n)
    states = states[torch.randperm(len(states), generator=seeded())[:200]]
    long, short = MarkovWorld(FIRST, STEP, n).denoiser(process), listed(n).denoiser(process)
    for t in (1, T // 2, T):
        found, expected = long(states, t), short(states, t)
        assert (found.exp() - expected.exp()).abs().max() < 1e-12
        assert torch.allclose(found.logsumexp(dim=-1), torch.zeros(()).double(), atol=1e-12)
    levels = 1 + torch.arange(len(states)) % T
    assert (long(states, levels).exp() - short(states, levels).exp()).abs().max() < 1e-12


def test_between_two_revealed_tokens_only_they_matter():
    """256 tokens, masks only: p(x^i | all) is A^(i-l)[x^l, .] A^(r-i)[., x^r], normalised."""
    n, process = 256, PROCESSES["absorbing"]()
    world = MarkovWorld(FIRST, STEP, n)
    x_0 = world.sample(1, generator=seeded())
    shown = [0, 3, 100, 200, 201, 255]
    x_t = torch.full_like(x_0, process.mask)
    x_t[:, shown] = x_0[:, shown]
    p = world.denoiser(process)(x_t, 4)[0].exp()
    power = torch.linalg.matrix_power
    for left, right in pairwise(shown):
        for i in range(left + 1, right):
            from_left = power(STEP, i - left)[x_0[0, left]]
            expected = from_left * power(STEP, right - i)[:, x_0[0, right]]
            assert torch.allclose(p[i], expected / expected.sum(), atol=1e-12, rtol=0)


def test_256_unlikely_tokens_do_not_underflow():
    """A chain that hardly ever moves, seen moving all the time: p(x_t) is about 1e-900."""
    n, process = 256, PROCESSES["released"]()
    world = long_chain(n, 1 - 1e-9)
    x_t = torch.arange(n)[None] % 3
    found = world.denoiser(process)(x_t, 1)[0]
    log_like = process.log_likelihood(x_t, 1, dtype=torch.float64)[0]
    log_step = world.step.log()
    before, after = [world.first.log()], [torch.zeros(3, dtype=torch.float64)]
    for i in range(n - 1):
        before.append(((before[-1] + log_like[i])[:, None] + log_step).logsumexp(dim=0))
        after.append((log_step + (after[-1] + log_like[n - 1 - i])).logsumexp(dim=1))
    joint = torch.stack(before) + log_like + torch.stack(after[::-1])
    assert joint[0].logsumexp(dim=0) < -2000
    expected = joint - joint.logsumexp(dim=1, keepdim=True)
    assert torch.allclose(found, expected, atol=1e-9, rtol=1e-12)


def test_what_it_says_of_sequences_is_what_the_listed_world_says():
    n = 5
    world, short = MarkovWorld(FIRST, STEP, n), listed(n)
    table, x = short.distribution.view((3,) * n), short.states
    assert torch.allclose(world.log_prob(x).exp(), short.distribution, atol=1e-15)
    assert world.log_prob(torch.tensor([[0, 2, 0, 0, 0]])).item() == -math.inf
    assert world.entropy() == pytest.approx(float(torch.special.entr(table).sum()), abs=1e-12)
    for i in range(n):
        alone = table.sum([axis for axis in range(n) if axis != i])
        assert torch.allclose(world.marginals()[i], alone, atol=1e-15)
        for j in range(i + 1, n):
            pair = table.sum([axis for axis in range(n) if axis not in (i, j)])
            assert torch.allclose(world.pair_distribution(i, j), pair, atol=1e-15)
    changes = (x[:, 1:] != x[:, :-1]).sum(dim=1)
    expected = torch.zeros(n, dtype=torch.float64).index_add(0, changes, short.distribution)
    assert torch.allclose(world.changes_distribution(), expected, atol=1e-15)


def test_its_samples_are_those_of_the_listed_world():
    """50,000 sequences of four tokens: each count within 5 sigma (and 5, for rare ones).

    If the code is right this fails for less than one seed in 10,000.
    """
    draws, short = 50_000, listed(4)
    x = MarkovWorld(FIRST, STEP, 4).sample(draws, generator=seeded())
    counts = torch.bincount((x * 3 ** torch.arange(3, -1, -1)).sum(dim=1), minlength=81)
    p = short.distribution
    assert ((counts - draws * p).abs() <= 5 * (draws * p * (1 - p)).sqrt() + 5).all()
    assert (counts[p == 0] == 0).all()


# --- samplers, by count ---


def sampled(world, rule, count):
    process = MaskAndReplace(build_schedule(absorbing(world.num_codes, 100)))
    model = DiffusionModel(process, world.denoiser(process), num_positions=world.num_positions)
    return model.sample(count, rule=rule, generator=seeded(1))


def sigmas(values, mean):
    """How many standard errors the mean of independent samples lies above what it should be."""
    return float((values.double().mean() - mean) / (values.double().std() / len(values) ** 0.5))


def excess(world, x):
    """-log p(x) less the entropy of the data: 0 on average for the data themselves."""
    return -world.log_prob(x) - world.entropy()


def changes_of(x):
    return (x[:, 1:] != x[:, :-1]).sum(dim=1)


def mean_changes(world):
    return float(world.changes_distribution() @ torch.arange(world.num_positions).double())


@pytest.mark.parametrize("rule", EXACT)
def test_with_one_token_a_step_64_tokens_are_those_of_the_chain(rule):
    """200 samples: 27 counts of pairs within 5 sigma (and 5), two means within 5 standard errors.

    If the code is right this fails for less than one seed in 1,000, all three rules together.
    """
    world, draws = MarkovWorld(FIRST, STEP, 64), 200
    x = sampled(world, EXACT[rule], draws)
    for i, j in ((0, 1), (31, 32), (40, 43)):
        p = world.pair_distribution(i, j)
        counts = torch.bincount(3 * x[:, i] + x[:, j], minlength=9).view(3, 3)
        assert ((counts - draws * p).abs() <= 5 * (draws * p * (1 - p)).sqrt() + 5).all()
        assert (counts[p == 0] == 0).all()
    assert abs(sigmas(excess(world, x), 0)) < 5
    assert abs(sigmas(changes_of(x), mean_changes(world))) < 5


@pytest.mark.parametrize(
    ("rule", "sign"),
    [(fixed_count(16), 1), (top_purity(16), 1), (purity(4, 1.0), -1), (confidence(4, 0.0), -1)],
)
def test_many_tokens_a_step_are_unlikely_and_sharpened_ones_too_likely(rule, sign):
    """Told by -log p alone, and by the number of code changes: more than 8 standard errors."""
    world = long_chain(64)
    x = sampled(world, rule, 200)
    assert sign * sigmas(excess(world, x), 0) > 8
    assert sign * sigmas(changes_of(x), mean_changes(world)) > 8


# --- refusals ---


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: MarkovWorld(FIRST, STEP, 0), "num_positions is 0; allowed: 1 or more"),
        (
            lambda: MarkovWorld(FIRST, STEP[:2], 4),
            r"step has the shape \(2, 3\); allowed: \(3, 3\)",
        ),
        (lambda: MarkovWorld(FIRST * 2, STEP, 4), "first holds .* sums to 1 but for 1.0"),
        (lambda: MarkovWorld(FIRST, STEP - 0.1, 4), "step holds -0.1"),
        (lambda: long_chain(4).log_prob(torch.zeros(1, 3, dtype=torch.long)), "has 3 positions"),
        (
            lambda: long_chain(4).log_prob(torch.full((1, 4), 3)),
            "x_0 holds 3 to 3; allowed: 0 to 2",
        ),
        (lambda: long_chain(4).pair_distribution(2, 2), "i is 2; allowed: 0 to 1"),
        (lambda: long_chain(4).pair_distribution(0, 4), "j is 4; allowed: 1 to 3"),
    ],
)
def test_what_cannot_be_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()

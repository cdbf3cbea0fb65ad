"""A process of any matrices, against sums over every path; what it keeps in memory."""

import gc
import math
from fractions import Fraction
from itertools import product

import pytest
import torch

from vqlearn.diffusion.d3pm import DenseProcess, log_matmul
from vqlearn.diffusion.exact import oracle
from vqlearn.diffusion.process import Process
from vqlearn.diffusion.transition_products import TransitionProducts
from vqlearn.probability.log_probs import log_normalise

K, T = 3, 5
STRIDES = [(s, t) for t in range(1, T + 1) for s in range(t)]
P_X0S = ([1, 0, 0], [7, 2, 1], [1, 1, 1], [0, 1, 9], [1, 999_999, 0])
TOLERANCE = {torch.float64: 1e-12, torch.float32: 1e-6}


def random_steps(num_classes, zeros):
    """T different matrices of fractions; none is symmetric and none keeps the uniform
    distribution."""
    generator = torch.Generator().manual_seed(num_classes)
    weights = torch.randint(1, 100, (T, num_classes, num_classes), generator=generator)
    if zeros:
        weights *= torch.rand(weights.shape, generator=generator) > 0.6
        weights += 10 * torch.eye(num_classes, dtype=torch.long)
    return [
        [[Fraction(weight, sum(row)) for weight in row] for row in step]
        for step in weights.tolist()
    ]


@pytest.fixture(
    params=[(3, False), (4, False), (4, True)], ids=["square", "mask", "zeros"], scope="module"
)
def truth(request):
    """With as many classes as codes, with one more, and with impossible moves."""
    return random_steps(*request.param)


@pytest.fixture
def process(truth):
    classes = len(truth[0])
    prior = torch.full((classes,), 1 / classes, dtype=torch.float64)
    return DenseProcess(lambda t: matrix(truth[t - 1]), T, prior, num_codes=K)


def tensor(values):
    return torch.tensor([float(value) for value in values], dtype=torch.float64)


def matrix(rows):
    return torch.stack([tensor(row) for row in rows])


def test_it_has_what_the_objective_and_the_sampler_need(process, truth):
    assert isinstance(process, Process)
    assert (process.num_timesteps, process.num_codes) == (T, K)
    assert process.num_classes == len(truth[0])
    assert process.log_prior().exp().sum().item() == pytest.approx(1, abs=1e-15)


def test_marginals_are_rows_and_likelihoods_are_columns_of_the_product(process, truth):
    classes = process.num_classes
    for t in range(T + 1):
        whole = matrix(oracle.between(truth, 0, t))
        for dtype, tolerance in TOLERANCE.items():
            marginal = process.log_marginal(torch.arange(K)[None], t, dtype=dtype)[0]
            seen = process.log_likelihood(torch.arange(classes)[None], t, dtype=dtype)[0]
            assert marginal.dtype == seen.dtype == dtype
            assert (marginal.double().exp() - whole[:K]).abs().max() < tolerance
            assert (seen.double().exp() - whole[:K].T).abs().max() < tolerance


def test_transitions_are_columns_of_the_product_between_two_levels(process, truth):
    classes = torch.arange(process.num_classes)
    for s, t in [*STRIDES, (0, 0), (3, 3)]:
        whole = matrix(oracle.between(truth, s, t))
        found = process.log_transition(classes[None], s, t, dtype=torch.float64)[0].exp()
        assert (found - whole.T).abs().max() < 1e-12


def test_a_p_x0_is_carried_on_as_a_mixture_of_rows(process, truth):
    for s, weights in product(range(T + 1), P_X0S):
        whole = matrix(oracle.between(truth, 0, s))
        p_x0 = tensor(weights) / sum(weights)
        found = process.log_marginal_under(p_x0.log()[None, None], s)[0, 0].exp()
        assert (found - p_x0 @ whole[:K]).abs().max() < 1e-12


@pytest.mark.parametrize(("s", "t"), STRIDES)
def test_posterior_of_a_known_token_equals_bayes_by_enumeration(process, truth, s, t):
    for x_0, x_t in product(range(K), range(process.num_classes)):
        expected = oracle.posterior(truth, s, t, x_0, x_t)
        if expected is None:
            continue
        for dtype, tolerance in TOLERANCE.items():
            found = process.log_posterior(
                torch.tensor([[x_0]]), torch.tensor([[x_t]]), s, t, dtype=dtype
            )[0, 0]
            assert found.dtype == dtype
            assert (found.double().exp() - tensor(expected)).abs().max() < tolerance


@pytest.mark.parametrize(("s", "t"), STRIDES)
@pytest.mark.parametrize("weights", P_X0S)
def test_reverse_of_a_p_x0_equals_the_mixture_of_posteriors(process, truth, s, t, weights):
    for x_t in range(process.num_classes):
        p_x0 = [Fraction(w, sum(weights)) for w in weights]
        expected = oracle.reverse(truth, s, t, p_x0, x_t)
        if expected is None:
            continue
        for dtype, tolerance in TOLERANCE.items():
            log_p_x0 = tensor(p_x0).to(dtype).log()[None, None]
            found = process.log_reverse(log_p_x0, torch.tensor([[x_t]]), s, t)[0, 0]
            assert found.dtype == dtype
            assert (found.double().exp() - tensor(expected)).abs().max() < tolerance


def test_few_of_the_comparisons_above_are_skipped_as_impossible(truth):
    cases = [
        oracle.posterior(truth, s, t, x_0, x_t)
        for (s, t), x_0, x_t in product(STRIDES, range(K), range(len(truth[0])))
    ]
    assert sum(case is not None for case in cases) > len(cases) / 2


def test_levels_may_differ_within_a_batch(process):
    generator = torch.Generator().manual_seed(0)
    log_p_x0 = log_normalise(torch.randn(6, 5, K, generator=generator, dtype=torch.float64))
    x_0 = torch.randint(K, (6, 5), generator=generator)
    t = torch.tensor([3, 5, 1, 3, 2, 5])
    s = torch.tensor([2, 0, 0, 1, 1, 0])
    x_t = process.corrupt(x_0, t, generator=generator)
    like = {"dtype": torch.float64}
    calls = {
        "reverse": lambda x_0, b, x, s, t: process.log_reverse(b, x, s, t),
        "posterior": lambda x_0, b, x, s, t: process.log_posterior(x_0, x, s, t, **like),
        "marginal": lambda x_0, b, x, s, t: process.log_marginal(x_0, t, **like),
        "likelihood": lambda x_0, b, x, s, t: process.log_likelihood(x, t, **like),
        "transition": lambda x_0, b, x, s, t: process.log_transition(x, s, t, **like),
        "marginal under": lambda x_0, b, x, s, t: process.log_marginal_under(b, s),
    }
    for name, call in calls.items():
        together = call(x_0, log_p_x0, x_t, s, t).exp()
        for i in range(6):
            one = [rows[i : i + 1] for rows in (x_0, log_p_x0, x_t)]
            alone = call(*one, int(s[i]), int(t[i])).exp()
            assert torch.allclose(together[i], alone[0], rtol=0, atol=1e-14), name


def test_corrupt_draws_from_the_marginal_of_each_image(process):
    """200,000 draws per level and code; each count within 5 sigma (and 10, for rare classes).

    If the code is right this fails for about one seed in 25,000 (72 counts, 6e-7 each).
    """
    generator = torch.Generator().manual_seed(3)
    draws = 200_000
    levels = torch.arange(T + 1)
    for x_0 in range(K):
        clean = torch.full((T + 1, draws), x_0)
        x_t = process.corrupt(clean, levels, generator=generator)
        distribution = process.log_marginal(clean[:, :1], levels, dtype=torch.float64)[:, 0].exp()
        for t in levels:
            counts = torch.bincount(x_t[t], minlength=process.num_classes)
            sigma = (draws * distribution[t] * (1 - distribution[t])).clamp(min=0).sqrt()
            assert ((counts - draws * distribution[t]).abs() <= 5 * sigma + 10).all()


def test_one_generator_for_each_image_makes_it_independent_of_the_batch(process):
    x_0 = torch.randint(K, (3, 50), generator=torch.Generator().manual_seed(0))
    t = torch.tensor([1, 4, 4])
    make = lambda seed: torch.Generator().manual_seed(seed)  # noqa: E731
    together = process.corrupt(x_0, t, generator=[make(5), make(6), make(7)])
    alone = process.corrupt(x_0[1:2], 4, generator=[make(6)])
    assert torch.equal(together[1:2], alone)


# --- numbers that are tiny, or zero ---


def walk_upwards(move, num_classes, num_timesteps):
    """Stay, or go to the next higher class: after t steps 0 becomes t with probability move^t."""
    step = torch.eye(num_classes, dtype=torch.float64) * (1 - move)
    step += torch.full((num_classes - 1,), move, dtype=torch.float64).diag(1)
    step[-1, -1] = 1
    prior = torch.full((num_classes,), 1 / num_classes, dtype=torch.float64)
    return DenseProcess(lambda t: step, num_timesteps, prior, num_codes=num_classes)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_likelihood_of_1e_200_still_has_its_digits(dtype):
    """Belief: half "it came all the way", half "it never moved". Both halves must be seen."""
    process = walk_upwards(1e-20, 11, 10)
    found = process.log_likelihood(torch.tensor([[10]]), 10, dtype=torch.float64)[0, 0, 0]
    assert found.item() == pytest.approx(200 * math.log(0.1), rel=1e-14)
    p_x0 = torch.zeros(1, 1, 11, dtype=dtype)
    p_x0[..., 0] = p_x0[..., 10] = 0.5
    distribution = process.log_reverse(p_x0.log(), torch.tensor([[10]]), 5, 10)[0, 0].exp()
    assert distribution[5].item() == pytest.approx(0.5, abs=1e-6)
    assert distribution[10].item() == pytest.approx(0.5, abs=1e-6)


def test_what_underflows_is_impossible_and_left_out():
    process = walk_upwards(1e-60, 11, 10)
    p_x0 = torch.zeros(1, 1, 11, dtype=torch.float64)
    p_x0[..., 0] = p_x0[..., 10] = 0.5
    distribution = process.log_reverse(p_x0.log(), torch.tensor([[10]]), 5, 10)[0, 0].exp()
    assert distribution[10].item() == pytest.approx(1, abs=1e-12)


def test_a_p_x0_in_nothing_possible_is_replaced_by_the_likeliest_code():
    """From 2 one never comes down to 1: x_t = 1 came from 1 (0.9^2), or from 0 (2 * .09)."""
    process = walk_upwards(0.1, 3, 2)
    p_x0 = torch.tensor([[[0.0, 0.0, 1.0]]], dtype=torch.float64)
    x_t = torch.tensor([[1]])
    distribution = process.log_reverse(p_x0.log(), x_t, 1, 2)[0, 0].exp()
    assert distribution.tolist() == pytest.approx([0, 1, 0], abs=1e-15)
    known = process.log_posterior(torch.tensor([[2]]), x_t, 1, 2, dtype=torch.float64)[0, 0].exp()
    assert torch.allclose(known, distribution, rtol=0, atol=1e-15)
    half = torch.tensor([[[0.25, 0.0, 0.75]]], dtype=torch.float64)
    distribution = process.log_reverse(half.log(), x_t, 1, 2)[0, 0].exp()
    assert distribution.tolist() == pytest.approx([0.5, 0.5, 0], abs=1e-13)


def test_gradients_equal_finite_differences(process):
    logits = torch.randn(2, 2, K, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    x_t = torch.tensor([[0, 1], [2, 0]])
    s, t = torch.tensor([1, 0]), torch.tensor([4, 2])

    def reverse(logits):
        return process.log_reverse(log_normalise(logits), x_t, s, t).exp()

    assert torch.autograd.gradcheck(reverse, logits.requires_grad_())


def test_gradients_are_finite_where_things_are_impossible(process):
    """Beliefs of exactly 0 and 1, moves of probability 0, likelihoods that underflow."""
    logits = torch.tensor([[[200.0, 0.0, -200.0], [0.0, 800.0, -800.0]]], requires_grad=True)
    certain = torch.tensor([[[0.0, -torch.inf, -torch.inf], [-torch.inf, 0.0, -torch.inf]]])
    certain.requires_grad_()
    x_t = torch.tensor([[0, 1]])
    for (s, t), p_x0 in product(STRIDES, (log_normalise(logits), certain)):
        log_p = process.log_reverse(p_x0, x_t, s, t)
        assert not log_p.isnan().any()
        log_p.masked_fill(log_p.isneginf(), 0).sum().backward(retain_graph=True)
    far = walk_upwards(1e-20, 3, 2)
    for x in range(3):
        log_p = far.log_reverse(log_normalise(logits), torch.full((1, 2), x), 1, 2)
        log_p.masked_fill(log_p.isneginf(), 0).sum().backward()
    assert logits.grad.isfinite().all()
    assert certain.grad.isfinite().all()
    assert logits.grad.abs().max() > 0


def test_log_matmul_is_a_sum_of_exponentials_over_a_wide_range():
    log_weights = torch.tensor([[0.0, -1300.0, -torch.inf]], dtype=torch.float64)
    matrix = [[0.0, 0.5, 0.0, 0.0], [0.25, 0.0, 1e-20, 0.0], [1.0, 1.0, 1.0, 1.0]]
    found = log_matmul(log_weights, torch.tensor(matrix, dtype=torch.float64))[0]
    expected = [-1300 + math.log(0.25), math.log(0.5), -1300 + math.log(1e-20), -math.inf]
    assert found.tolist() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("sharpness", [0.0, 5.0, 30.0])
def test_rows_sum_to_one_in_float32(sharpness):
    classes = 384
    generator = torch.Generator().manual_seed(1)
    step = torch.rand(classes, classes, generator=generator, dtype=torch.float64) ** 20
    step = step / step.sum(dim=-1, keepdim=True)
    prior = torch.full((classes,), 1 / classes, dtype=torch.float64)
    process = DenseProcess(lambda t: step, 4, prior, num_codes=classes)
    log_p_x0 = log_normalise(sharpness * torch.randn(2, 8, classes, generator=generator))
    x_t = torch.randint(classes, (2, 8), generator=generator)
    for s, t in [(0, 1), (1, 3), (0, 4)]:
        rows = process.log_reverse(log_p_x0, x_t, s, t).double().exp().sum(dim=-1)
        assert (rows - 1).abs().max() < 1e-6


# --- memory and cost ---


def numbers_held(least):
    """All numbers in storages of that size or more that any live tensor refers to."""
    storages = {}
    for thing in gc.get_objects():
        if issubclass(type(thing), torch.Tensor):
            storage = thing.untyped_storage()
            storages[storage.data_ptr()] = storage.nbytes() // 8
    return sum(size for size in storages.values() if size >= least)


def test_never_more_than_about_twice_root_T_matrices_are_held():
    """Building it, and a batch at 50 of the 400 levels: 400 matrices would be 1.6 million numbers.

    21 checkpoints, 4 recent products, 2 steps, and what one level needs while it is at work.
    """
    size, num_timesteps = 64, 400
    step = random_walk(size)
    before = numbers_held(size * size)
    held, calls = [], 0

    def step_matrix(t):
        nonlocal calls
        calls += 1
        if calls % 40 == 0:
            held.append(numbers_held(size * size) - before)
        return step.clone()

    prior = torch.full((size,), 1 / size, dtype=torch.float64)
    process = DenseProcess(step_matrix, num_timesteps, prior, num_codes=size)
    t = torch.arange(8, num_timesteps + 1, 8)
    x_0 = torch.randint(size, (50, 4), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        x_t = process.corrupt(x_0, t, generator=torch.Generator().manual_seed(1))
        log_p_x0 = log_normalise(torch.zeros(50, 4, size))
        process.log_reverse(log_p_x0, x_t, t - 8, t)
    held.append(numbers_held(size * size) - before)
    assert len(held) > 15
    assert 20 * size**2 < max(held) < 40 * size**2


def random_walk(size):
    step = torch.eye(size, dtype=torch.float64) / 2
    step += torch.full((size - 1,), 0.25, dtype=torch.float64).diag(1)
    step += torch.full((size - 1,), 0.25, dtype=torch.float64).diag(-1)
    return step / step.sum(dim=-1, keepdim=True)


def test_a_level_costs_fewer_than_root_T_products_and_the_next_one_costs_one():
    asked = []

    def step_matrix(t):
        asked.append(t)
        return random_walk(4)

    products = TransitionProducts(step_matrix, 100, 4)
    expected = torch.linalg.matrix_power(random_walk(4), 57)
    asked.clear()
    assert (products.between(0, 57) - expected).abs().max() < 1e-14
    assert asked == [51, 52, 53, 54, 55, 56, 57]
    products.between(0, 58)
    assert asked[7:] == [58]
    products.between(0, 57)
    products.between(57, 58)
    assert len(asked) == 8
    products.between(0, 90)
    assert len(asked) == 8
    assert (products.between(3, 5) - torch.linalg.matrix_power(random_walk(4), 2)).abs().max() == 0
    assert asked[8:] == [4, 5]
    asked.clear()
    for t in (12, 23, 34, 45, 46):  # the latest products are kept, not the first
        products.between(0, t)
    assert asked == [11, 12, 21, 22, 23, 31, 32, 33, 34, 41, 42, 43, 44, 45, 46]


@pytest.mark.parametrize("all_kept", [False, True])
def test_products_of_every_pair_of_levels_in_any_order(truth, all_kept):
    products = TransitionProducts(lambda t: matrix(truth[t - 1]), T, len(truth[0]))
    if all_kept:
        products.keep_all()
    pairs = [(s, t) for s in range(T + 1) for t in range(s, T + 1)]
    order = torch.randperm(4 * len(pairs), generator=torch.Generator().manual_seed(0))
    for i in order % len(pairs):
        s, t = pairs[i]
        expected = matrix(oracle.between(truth, s, t))
        assert (products.between(s, t) - expected).abs().max() < 1e-14


def test_no_step_is_made_again_once_all_are_kept():
    asked = []

    def step_matrix(t):
        asked.append(t)
        return random_walk(4)

    products = TransitionProducts(step_matrix, 10, 4)
    products.keep_all()
    asked.clear()
    for s, t in [(0, 7), (0, 3), (6, 7), (2, 9), (0, 10), (9, 10)]:
        expected = torch.linalg.matrix_power(random_walk(4), t - s)
        assert (products.between(s, t) - expected).abs().max() < 1e-14
    assert asked == []


# --- bad input ---


@pytest.mark.parametrize(("s", "t"), [(2, 2), (3, 2), (-1, 2), (0, T + 1)])
def test_levels_out_of_order_or_range_are_refused(process, s, t):
    p_x0 = torch.full((2, 1, K), 1 / 3).log()
    x = torch.tensor([[0], [0]])
    for levels in ((s, t), (torch.tensor([0, s]), torch.tensor([1, t]))):
        with pytest.raises(ValueError, match="allowed"):
            process.log_reverse(p_x0, x, *levels)
        with pytest.raises(ValueError, match="allowed"):
            process.log_posterior(x, x, *levels)


def test_a_transition_to_an_earlier_level_is_refused(process):
    with pytest.raises(ValueError, match="s = 3 to t = 1; allowed"):
        process.log_transition(torch.tensor([[0]]), 3, 1)


@pytest.mark.parametrize("t", [-1, T + 1])
def test_levels_outside_the_process_are_refused(process, t):
    x = torch.tensor([[0]])
    for call in (process.corrupt, process.log_marginal, process.log_likelihood):
        with pytest.raises(ValueError, match=f"level t is {t}; allowed: 0 to {T}"):
            call(x, t)


def test_tokens_outside_their_range_are_refused(process):
    high, good = torch.tensor([[process.num_classes]]), torch.tensor([[0]])
    p_x0 = torch.full((1, 1, K), 1 / 3).log()
    for call in (
        lambda: process.corrupt(torch.tensor([[K]]), 1),
        lambda: process.log_marginal(torch.tensor([[-1]]), 1),
        lambda: process.log_likelihood(high, 1),
        lambda: process.log_posterior(good, high, 0, 1),
        lambda: process.log_posterior(torch.tensor([[K]]), good, 0, 1),
        lambda: process.log_reverse(p_x0, high, 0, 1),
    ):
        with pytest.raises(ValueError, match=r"holds .* allowed: 0 to"):
            call()


def test_a_class_that_no_clean_token_leads_to_is_refused():
    """Class 3 is never entered: all steps stay among the first three."""
    step = torch.eye(4, dtype=torch.float64)
    step[:3, :3] = 1 / 3
    process = DenseProcess(lambda t: step, 2, torch.eye(4, dtype=torch.float64)[0], num_codes=3)
    p_x0 = torch.full((1, 2, 3), 1 / 3).log()
    with pytest.raises(ValueError, match=r"class 3 at level t = 2; allowed: \[0, 1, 2\]"):
        process.log_reverse(p_x0, torch.tensor([[1, 3]]), 0, 2)


EVEN = torch.full((2, 2), 0.5, dtype=torch.float64)


@pytest.mark.parametrize(
    ("step", "message"),
    [
        (EVEN.float(), "float32; allowed"),
        (torch.full((3, 3), 1 / 3, dtype=torch.float64), r"shape \(3, 3\)"),
        (EVEN * 1.1, "level t = 2 holds 0.55 and sums to 1 but for 0.1"),
        (torch.tensor([[1.5, -0.5], [0, 1]], dtype=torch.float64), "t = 2 holds -0.5"),
        (EVEN * torch.nan, "t = 2 holds nan"),
    ],
)
def test_steps_that_are_no_transition_matrices_are_refused(step, message):
    with pytest.raises(ValueError, match=message):
        DenseProcess(lambda t: EVEN if t == 1 else step, 3, EVEN[0], num_codes=2)


@pytest.mark.parametrize(
    ("prior", "num_timesteps", "num_codes", "message"),
    [
        (EVEN[0], 0, 2, "num_timesteps is 0; allowed: whole numbers of 1"),
        (EVEN[0], 1, 3, "num_codes is 3; allowed: 1 to 2"),
        (EVEN[0], 1, 0, "num_codes is 0; allowed: 1 to 2"),
        (EVEN[0] * 1.5, 1, 2, "the prior holds 0.75 and sums to 1 but for 0.5"),
    ],
)
def test_processes_that_make_no_sense_are_refused(prior, num_timesteps, num_codes, message):
    with pytest.raises(ValueError, match=message):
        DenseProcess(lambda t: EVEN, num_timesteps, prior, num_codes=num_codes)

"""Readings of a network's output, against Bayes' rule by enumeration in exact fractions."""

from fractions import Fraction
from itertools import product

import pytest
import torch

from vqlearn.diffusion import kernels
from vqlearn.diffusion.exact import oracle
from vqlearn.diffusion.objective import training_loss, variational_bound
from vqlearn.diffusion.parameterisations import (
    DirectPrediction,
    PluggedIntoBayes,
    plug_in_optimum,
    truncated_logistic,
)
from vqlearn.diffusion.process import MaskAndReplace, Process
from vqlearn.diffusion.sampler import step
from vqlearn.diffusion.schedule import absorbing, build_schedule, multinomial, paper
from vqlearn.probability.log_probs import log_normalise

K, T = 3, 4
STRIDES = [(s, t) for t in range(1, T + 1) for s in range(t)]
P_X0S = ([1, 0, 0], [7, 2, 1], [0, 1, 9], [1, 999_999, 0])
SCHEDULES = {"paper": paper, "absorbing": absorbing, "multinomial": multinomial}


@pytest.fixture(params=list(product(SCHEDULES, ["closed", "dense"])), ids="-".join)
def case(request):
    """A process, and its one-step matrices in exact fractions."""
    name, kind = request.param
    schedule = build_schedule(SCHEDULES[name](K, T))
    kept = [Fraction(T - t, T) for t in range(T + 1)]
    gamma_end = {"paper": Fraction(9, 10), "absorbing": Fraction(1), "multinomial": Fraction(0)}
    masked = [gamma_end[name] * Fraction(t, T) for t in range(T + 1)]
    make = MaskAndReplace if kind == "closed" else kernels.mask_and_replace
    return make(schedule), oracle.step_matrices(kept, masked, K)


@pytest.fixture
def process(case):
    return case[0]


@pytest.fixture
def truth(case):
    return case[1]


def tensor(values):
    return torch.tensor([float(value) for value in values], dtype=torch.float64)


def matrix(rows):
    return torch.stack([tensor(row) for row in rows])


def reachable(truth, t):
    """Classes of x_t that some code leads to."""
    whole = oracle.between(truth, 0, t)[:K]
    return [x_t for x_t in range(K + 1) if any(row[x_t] for row in whole)]


# --- plugging into Bayes' rule ---


def test_transitions_are_columns_and_p_x0s_are_carried_on_by_rows(process, truth):
    classes = torch.arange(K + 1)[None]
    for s, t in STRIDES:
        found = process.log_transition(classes, s, t, dtype=torch.float64)[0].exp()
        assert (found - matrix(oracle.between(truth, s, t)).T).abs().max() < 1e-12
        for weights in P_X0S:
            p_x0 = tensor(weights) / sum(weights)
            found = process.log_marginal_under(p_x0.log()[None, None], s)[0, 0].exp()
            assert (found - p_x0 @ matrix(oracle.between(truth, 0, s))[:K]).abs().max() < 1e-12


@pytest.mark.parametrize("weights", P_X0S)
def test_the_plugged_in_step_is_bayes_rule_for_f(process, truth, weights):
    view = PluggedIntoBayes(process)
    f = [Fraction(weight, sum(weights)) for weight in weights]
    met = 0
    for (s, t), x_t in product(STRIDES, range(K + 1)):
        to_s, to_t = oracle.between(truth, 0, s), oracle.between(truth, s, t)
        before = [sum(f[k] * to_s[k][x_s] for k in range(K)) for x_s in range(K + 1)]
        joint = [to_t[x_s][x_t] * before[x_s] for x_s in range(K + 1)]
        if sum(joint) == 0:
            continue
        expected = tensor([value / sum(joint) for value in joint])
        for dtype, tolerance in ((torch.float64, 1e-12), (torch.float32, 1e-6)):
            log_f = tensor(f).to(dtype).log()[None, None]
            found = view.log_reverse(log_f, torch.tensor([[x_t]]), s, t)[0, 0]
            assert found.dtype == dtype
            assert (found.double().exp() - expected).abs().max() < tolerance
        met += 1
    assert met >= len(STRIDES)


def test_with_its_optimum_the_plugged_in_step_is_the_mixture(process, truth):
    """For any predicted distribution, also a wrong one, and any stride; f does not depend on s."""
    view = PluggedIntoBayes(process)
    for (s, t), weights in product(STRIDES, P_X0S):
        x_t = torch.tensor([reachable(truth, t)])
        log_p_x0 = (tensor(weights) / sum(weights)).log().expand(1, x_t.shape[1], K)
        mixed = process.log_reverse(log_p_x0, x_t, s, t).exp()
        found = view.log_reverse(plug_in_optimum(process, log_p_x0, x_t, t), x_t, s, t).exp()
        possible = process.log_likelihood(x_t, t, dtype=torch.float64) > -torch.inf
        comparable = (possible & (log_p_x0 > -torch.inf)).any(dim=-1)
        assert (mixed - found)[comparable].abs().max() < 1e-12


def test_the_optimum_divides_by_the_likelihood(process, truth):
    p_x0 = tensor([0.5, 0.25, 0.25])
    for t in range(1, T + 1):
        whole = oracle.between(truth, 0, t)
        for x_t in reachable(truth, t):
            ratio = [float(b) / float(whole[k][x_t]) if whole[k][x_t] else 0.0
                     for k, b in enumerate(p_x0)]  # fmt: skip
            expected = tensor(ratio) / sum(ratio)
            for dtype, tolerance in ((torch.float64, 1e-12), (torch.float32, 1e-6)):
                log_p_x0 = p_x0.to(dtype).log()[None, None]
                found = plug_in_optimum(process, log_p_x0, torch.tensor([[x_t]]), t)[0, 0]
                assert found.dtype == dtype
                assert (found.double().exp() - expected).abs().max() < tolerance


def test_float32_keeps_its_digits_where_likelihoods_are_tiny():
    """f is sure of a code far from x_t: all classes between have a tiny share before the division.

    Logarithms near -500 in float32 would be wrong by 3e-5, and the result by 1e-6.
    """
    process = kernels.discretised_gaussian(64, 20, betas=(1e-6, 5e-6))
    view = PluggedIntoBayes(process)
    x_t = torch.arange(11, 27)[None]
    logits = -40 * (torch.arange(64) - 10.0).abs().expand(1, 16, 64)
    for s, t in [(4, 8), (10, 20)]:
        assert process.log_transition(x_t, s, t)[0, :, 10].min() < -100
        single = view.log_reverse(log_normalise(logits), x_t, s, t).double()
        double = view.log_reverse(log_normalise(logits.double()), x_t, s, t)
        assert (single.exp() - double.exp()).abs().max() < 1e-7


def test_where_nothing_is_possible_all_codes_count_as_equal():
    """Masks alone: an unmasked token stays, even if f says that it cannot be."""
    for make in (MaskAndReplace, kernels.mask_and_replace):
        process = make(build_schedule(absorbing(K, T)))
        never = torch.tensor([[[0.0, 0.5, 0.5]]]).log()
        x_t = torch.tensor([[0]])
        for s, t in [(0, 1), (1, 3), (0, 3)]:
            found = PluggedIntoBayes(process).log_reverse(never, x_t, s, t)[0, 0].exp()
            assert found.tolist() == pytest.approx([1, 0, 0, 0], abs=1e-7)
            assert torch.equal(plug_in_optimum(process, never, x_t, t), log_normalise(never))


# --- predicting the step itself ---


def test_a_direct_prediction_is_its_own_distribution_without_impossible_classes(process, truth):
    logits = torch.tensor([0.3, -0.4, 0.1, 0.2], dtype=torch.float64)
    view = DirectPrediction(process)
    for t in range(1, T + 1):
        before, last = oracle.between(truth, 0, t - 1)[:K], truth[t - 1]
        for x_t in reachable(truth, t):
            ways = [any(row[x_s] for row in before) and last[x_s][x_t] > 0 for x_s in range(K + 1)]
            weights = logits.exp() * torch.tensor(ways)
            prediction = log_normalise(logits)[None, None]
            found = view.log_reverse(prediction, torch.tensor([[x_t]]), t - 1, t)[0, 0].exp()
            assert (found - weights / weights.sum()).abs().max() < 1e-12
            if t == 1:
                assert found[K] == 0


def test_a_direct_prediction_of_nothing_possible_takes_all_codes_as_equal(process):
    only_mask = torch.tensor([[[0.0, 0.0, 0.0, 1.0]]], dtype=torch.float64).log()
    x_t = torch.tensor([[1]])
    found = DirectPrediction(process).log_reverse(only_mask, x_t, 0, 1)
    expected = process.log_likelihood(x_t, 1, dtype=torch.float64)
    assert torch.allclose(found[..., :K].exp(), log_normalise(expected).exp(), atol=1e-12)


@pytest.mark.parametrize(("s", "t"), [(0, 2), (1, 4), (2, 2), (3, 2)])
def test_a_direct_prediction_refuses_every_other_stride(process, s, t):
    prediction = torch.full((2, 1, K + 1), 0.25).log()
    x_t = torch.tensor([[0], [0]])
    for levels in ((s, t), (torch.tensor([0, s]), torch.tensor([1, t]))):
        with pytest.raises(ValueError, match="allowed: t - 1"):
            DirectPrediction(process).log_reverse(prediction, x_t, *levels)


# --- both are processes ---


@pytest.mark.parametrize("view", [PluggedIntoBayes, DirectPrediction])
def test_everything_but_the_step_back_is_that_of_the_process(process, view):
    wrapped = view(process)
    assert isinstance(wrapped, Process)
    x_0 = torch.randint(K, (5, 7), generator=torch.Generator().manual_seed(0))
    t = torch.tensor([1, 2, 3, 4, 2])
    x_t = wrapped.corrupt(x_0, t, generator=torch.Generator().manual_seed(1))
    assert torch.equal(x_t, process.corrupt(x_0, t, generator=torch.Generator().manual_seed(1)))
    for name, tokens in [("log_marginal", (x_0,)), ("log_likelihood", (x_t,))]:
        assert torch.equal(getattr(wrapped, name)(*tokens, t), getattr(process, name)(*tokens, t))
    for s in (0, 1):
        step = process.log_transition(x_t, s, 2)
        assert torch.equal(wrapped.log_transition(x_t, s, 2), step)
        even = log_normalise(torch.zeros(5, 7, K))
        under = process.log_marginal_under(even, s)
        assert torch.equal(wrapped.log_marginal_under(even, s), under)
    known = process.log_posterior(x_0, x_t, t - 1, t)
    assert torch.equal(wrapped.log_posterior(x_0, x_t, t - 1, t), known)
    assert torch.equal(wrapped.log_prior(), process.log_prior())
    assert (wrapped.num_timesteps, wrapped.num_codes, wrapped.num_classes) == (T, K, K + 1)


@pytest.mark.parametrize("view", [PluggedIntoBayes, DirectPrediction])
def test_they_train_with_finite_gradients_and_sample(process, view):
    """Levels differ within the batch; logits are extreme; tokens are often impossible."""
    wrapped = view(process)
    classes = K if view is PluggedIntoBayes else K + 1
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(T, 6, classes, generator=generator)
    logits[:, :2] *= 1e4
    logits.requires_grad_()
    t = torch.arange(1, T + 1)
    x_0 = torch.randint(K, (T, 6), generator=generator)
    x_t = wrapped.corrupt(x_0, t, generator=generator)
    loss = training_loss(wrapped, log_normalise(logits), (x_0, x_t), t, auxiliary_weight=0)
    loss.total[loss.total.isfinite()].sum().backward()
    assert logits.grad.isfinite().all()
    assert logits.grad.abs().max() > 0
    for i in range(T):
        rows = log_normalise(logits[i : i + 1]), x_t[i : i + 1], i, i + 1
        together = wrapped.log_reverse(log_normalise(logits), x_t, t - 1, t)[i]
        assert torch.allclose(together.exp(), wrapped.log_reverse(*rows)[0].exp(), atol=1e-6)
    x_s = step(wrapped, log_normalise(logits[:1]), x_t[:1], (1, 0), generator=generator)
    assert ((x_s >= 0) & (x_s < K)).all()
    even = log_normalise(torch.zeros(T, 6, classes))
    bound = variational_bound(wrapped, lambda x_t, t: even, x_0, generator=generator)
    assert bound.isfinite().all()


@pytest.mark.parametrize("view", [PluggedIntoBayes, DirectPrediction])
def test_gradients_are_finite_where_the_output_is_minus_infinity(process, view):
    classes = K if view is PluggedIntoBayes else K + 1
    log_p = torch.full((1, 2, classes), -torch.inf)
    log_p[0, 0, 0] = log_p[0, 1, 1] = 0
    log_p.requires_grad_()
    for t in range(1, T):
        found = view(process).log_reverse(log_p, torch.tensor([[0, 0]]), t - 1, t)
        assert not found.isnan().any()
        found.masked_fill(found.isneginf(), 0).sum().backward()
    assert log_p.grad.isfinite().all()


@pytest.mark.parametrize("view", [PluggedIntoBayes, DirectPrediction])
def test_bad_levels_and_tokens_are_refused(process, truth, view):
    wrapped = view(process)
    classes = K if view is PluggedIntoBayes else K + 1
    output = torch.full((1, 1, classes), 1 / classes).log()
    for s, t in [(-1, 0), (T, T + 1), (2, 2), (3, 2)]:
        with pytest.raises(ValueError, match="allowed"):
            wrapped.log_reverse(output, torch.tensor([[0]]), s, t)
    with pytest.raises(ValueError, match="allowed: 0 to 3"):
        wrapped.log_reverse(output, torch.tensor([[K + 1]]), 0, 1)
    never = set(range(K + 1)) - set(reachable(truth, T))
    for x_t in never:
        with pytest.raises(ValueError, match=f"class {x_t} at level t = 4"):
            wrapped.log_reverse(output, torch.tensor([[x_t]]), T - 1, T)


# --- two numbers for ordered codes ---


def test_the_truncated_logistic_is_a_difference_of_two_sigmoids():
    generator = torch.Generator().manual_seed(0)
    mean = 2 * torch.rand(4, 5, generator=generator, dtype=torch.float64) - 1
    log_scale = torch.randn(4, 5, generator=generator, dtype=torch.float64) - 1
    for num_codes in (2, 3, 17):
        centres = [-1 + 2 * k / (num_codes - 1) for k in range(num_codes)]
        half = 1 / (num_codes - 1)
        bins = torch.stack(
            [
                ((c + half - mean) / log_scale.exp()).sigmoid()
                - ((c - half - mean) / log_scale.exp()).sigmoid()
                for c in centres
            ],
            dim=-1,
        )
        found = truncated_logistic(mean, log_scale, num_codes).exp()
        assert torch.allclose(found, bins / bins.sum(dim=-1, keepdim=True), atol=1e-10, rtol=0)


def test_the_truncated_logistic_knows_codes_that_a_difference_would_call_impossible():
    """The slope far from the mean is that of an exponential: one bin is one bin's width / scale."""
    found = truncated_logistic(torch.tensor([[-1.0]]), torch.tensor([[-5.0]]), 256)[0, 0]
    slope = -(2 / 255) * torch.tensor(5.0).exp()
    assert torch.allclose(found[101:].diff(), slope, rtol=1e-4)
    assert found[-1] < -200


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64])
def test_the_truncated_logistic_survives_extreme_numbers(dtype):
    mean = torch.tensor([[0.0, 1e4, -1e4, 0.3, 1.0, 0.0]], dtype=dtype)
    log_scale = torch.tensor([[-1e4, 0.0, -30.0, 1e4, -20.0, -100.0]], dtype=dtype)
    mean.requires_grad_()
    log_scale.requires_grad_()
    log_p = truncated_logistic(mean, log_scale, 5)
    assert log_p.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    assert not log_p.isnan().any()
    assert (log_p.exp().sum(dim=-1) - 1).abs().max() < 1e-5
    likeliest = log_p.argmax(dim=-1)[0].tolist()
    assert likeliest[:3] == [2, 4, 0]
    assert likeliest[4] == 4
    assert torch.allclose(log_p[0, 3].exp(), torch.full((5,), 0.2, dtype=log_p.dtype), atol=1e-3)
    (log_p.clamp(min=-100).sum()).backward()
    assert mean.grad.isfinite().all()
    assert log_scale.grad.isfinite().all()


def test_a_logistic_over_one_code_is_refused():
    with pytest.raises(ValueError, match="num_codes is 1; allowed: whole numbers of 2"):
        truncated_logistic(torch.zeros(1, 1), torch.zeros(1, 1), 1)

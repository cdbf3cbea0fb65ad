"""Every formula of the process against enumeration in exact fractions, for every stride."""

from fractions import Fraction
from itertools import product

import pytest
import torch

from vqlearn.diffusion.exact import oracle
from vqlearn.diffusion.process import MaskAndReplace
from vqlearn.diffusion.schedule import absorbing, build_schedule, multinomial, paper, released
from vqlearn.probability.log_probs import log_normalise

K, T = 3, 4
MASK = K
PRESETS = {"released": released, "paper": paper, "absorbing": absorbing, "multinomial": multinomial}
STRIDES = [(s, t) for t in range(1, T + 1) for s in range(t)]
TOLERANCE = {torch.float64: 1e-12, torch.float32: 1e-6}
P_X0S = ([1, 0, 0], [7, 2, 1], [1, 1, 1], [0, 1, 9], [1, 999_999, 0])


@pytest.fixture(params=PRESETS)
def preset(request):
    return PRESETS[request.param]


@pytest.fixture
def process(preset):
    return MaskAndReplace(build_schedule(preset(K, T)))


@pytest.fixture
def truth(preset):
    """The one-step matrices, from the exact decimals of the configuration."""
    config = preset(K, T)

    def line(start, end):
        start, end = Fraction(str(start)), Fraction(str(end))
        return [start + (end - start) * Fraction(t, T - 1) for t in range(T)]

    alpha_bar = [Fraction(1), *line(config.alpha_cum_start, config.alpha_cum_end)]
    gamma_bar = [Fraction(0), *line(config.gamma_cum_start, config.gamma_cum_end)]
    return oracle.step_matrices(alpha_bar, gamma_bar, K)


def fractions_to_tensor(values):
    return torch.tensor([float(value) for value in values], dtype=torch.float64)


def test_marginals_equal_the_product_of_the_steps(process, truth):
    for t, x_0 in product(range(T + 1), range(K)):
        expected = fractions_to_tensor(oracle.between(truth, 0, t)[x_0])
        for dtype, tolerance in TOLERANCE.items():
            found = process.log_marginal(torch.tensor([[x_0]]), t, dtype=dtype)[0, 0].exp()
            assert found.dtype == dtype
            assert (found.double() - expected).abs().max() < tolerance


def test_likelihood_is_the_marginal_read_by_columns(process):
    for t in range(T + 1):
        codes = torch.arange(K)[None]
        marginal = process.log_marginal(codes, t, dtype=torch.float64).exp()[0]  # x_0, x_t
        seen = torch.arange(K + 1)[None]
        likelihood = process.log_likelihood(seen, t, dtype=torch.float64).exp()[0]  # x_t, x_0
        assert torch.equal(likelihood.T, marginal)


@pytest.mark.parametrize(("s", "t"), STRIDES)
def test_posterior_of_a_known_token_equals_bayes_by_enumeration(process, truth, s, t):
    for x_0, x_t in product(range(K), range(K + 1)):
        expected = oracle.posterior(truth, s, t, x_0, x_t)
        if expected is None:
            continue
        for dtype, tolerance in TOLERANCE.items():
            found = process.log_posterior(
                torch.tensor([[x_0]]), torch.tensor([[x_t]]), s, t, dtype=dtype
            )[0, 0].exp()
            assert (found.double() - fractions_to_tensor(expected)).abs().max() < tolerance


@pytest.mark.parametrize(("s", "t"), STRIDES)
@pytest.mark.parametrize("weights", P_X0S)
def test_reverse_of_a_p_x0_equals_the_mixture_of_posteriors(process, truth, s, t, weights):
    p_x0 = [Fraction(w, sum(weights)) for w in weights]
    for x_t in range(K + 1):
        expected = oracle.reverse(truth, s, t, p_x0, x_t)
        if expected is None:
            continue
        for dtype, tolerance in TOLERANCE.items():
            log_p_x0 = fractions_to_tensor(p_x0).to(dtype).log()[None, None]
            found = process.log_reverse(log_p_x0, torch.tensor([[x_t]]), s, t)[0, 0].exp()
            assert (found.double() - fractions_to_tensor(expected)).abs().max() < tolerance


def test_the_oracle_meets_every_case_that_is_possible(truth, preset):
    """The comparisons above are not vacuous: few cases are skipped as impossible."""
    cases = [
        oracle.posterior(truth, s, t, x_0, x_t)
        for (s, t), x_0, x_t in product(STRIDES, range(K), range(K + 1))
    ]
    possible = sum(case is not None for case in cases)
    impossible = {"released": 0, "paper": 0}.get(preset.__name__)
    if impossible is not None:
        assert len(cases) - possible == impossible
    assert possible >= len(cases) / 3


def test_the_oracle_agrees_with_a_hand_computed_step():
    """K = 2, keep 1/2, mask 1/4: one step and two, worked out on paper."""
    quarter, half = Fraction(1, 4), Fraction(1, 2)
    step = oracle.step_matrix(half, quarter, 2)
    assert step[0] == [Fraction(5, 8), Fraction(1, 8), quarter]
    twice = oracle.multiply(step, step)
    assert twice[0] == [Fraction(26, 64), Fraction(10, 64), Fraction(7, 16)]
    # seen 0 after two steps, clean token 1: it was 0 or 1 after the first, 5:5
    assert oracle.posterior([step, step], 1, 2, 1, 0) == [half, half, 0]


def test_chapman_kolmogorov_one_stride_is_many_steps(process):
    """Walking t -> s by single steps with a known x_0 has the distribution of the direct stride."""
    for x_0 in range(K):
        clean = torch.full((1, K + 1), x_0)
        for s, t in STRIDES:
            marginal = process.log_marginal(clean[:, :1], t, dtype=torch.float64).exp()[0, 0]
            distribution = torch.diag(marginal)
            for level in range(t, s, -1):
                distribution = distribution @ single_step(process, clean, level)
            direct = torch.diag(marginal) @ stride(process, clean, s, t)
            assert (distribution - direct).abs().max() < 1e-14
            arrived = process.log_marginal(clean[:, :1], s, dtype=torch.float64).exp()[0, 0]
            assert (direct.sum(dim=0) - arrived).abs().max() < 1e-14


def single_step(process, clean, level):
    return stride(process, clean, level - 1, level)


def stride(process, clean, s, t):
    """q(x_s | x_t, x_0) as a matrix; rows of an x_t that cannot occur are set to zero."""
    x_t = torch.arange(K + 1)[None]
    possible = process.log_marginal(clean[:, :1], t, dtype=torch.float64).exp()[0, 0] > 0
    x_t = torch.where(possible[None], x_t, clean)
    rows = process.log_posterior(clean, x_t, s, t, dtype=torch.float64).exp()[0]
    return torch.where(possible[:, None], rows, 0)


def test_levels_may_differ_within_a_batch(process):
    generator = torch.Generator().manual_seed(0)
    log_p_x0 = log_normalise(torch.randn(4, 5, K, generator=generator, dtype=torch.float64))
    x_t = torch.randint(K, (4, 5), generator=generator)
    t = torch.tensor([1, 2, 3, 4])
    s = torch.tensor([0, 0, 2, 1])
    together = process.log_reverse(log_p_x0, x_t, s, t)
    for i in range(4):
        alone = process.log_reverse(log_p_x0[i : i + 1], x_t[i : i + 1], int(s[i]), int(t[i]))
        assert torch.allclose(together[i], alone[0], rtol=0, atol=1e-14)


@pytest.mark.parametrize("num_codes", [1, 2, 4096])
@pytest.mark.parametrize("preset_name", ["released", "paper"])
def test_rows_sum_to_one_in_float32_at_4096_codes(num_codes, preset_name):
    process = MaskAndReplace(build_schedule(PRESETS[preset_name](num_codes, 100)))
    generator = torch.Generator().manual_seed(1)
    worst = 0.0
    for sharpness in (0.0, 1.0, 5.0, 30.0):
        logits = sharpness * torch.randn(1, 32, num_codes, generator=generator)
        log_p_x0 = log_normalise(logits)
        x_t = torch.randint(num_codes, (1, 32), generator=generator)
        x_t[:, ::2] = num_codes
        x_t[:, 1::4] = log_p_x0.argmax(dim=-1)[:, 1::4]
        for s, t in [(0, 1), (49, 50), (10, 90), (99, 100), (0, 100)]:
            rows = process.log_reverse(log_p_x0, x_t, s, t).double().exp().sum(dim=-1)
            worst = max(worst, float((rows - 1).abs().max()))
    assert worst < 1e-6


def test_float32_stays_within_one_millionth_of_float64_at_4096_codes():
    process = MaskAndReplace(build_schedule(released(4096)))
    generator = torch.Generator().manual_seed(2)
    logits = 4 * torch.randn(1, 16, 4096, generator=generator, dtype=torch.float64)
    x_t = torch.randint(4097, (1, 16), generator=generator)
    x_t[:, ::2] = logits.argmax(dim=-1)[:, ::2]
    for s, t in [(0, 1), (49, 50), (10, 90), (99, 100)]:
        precise = process.log_reverse(log_normalise(logits), x_t, s, t).exp()
        single = process.log_reverse(log_normalise(logits.float()), x_t, s, t).exp()
        assert (precise - single.double()).abs().max() < 1e-6


def test_corrupt_draws_from_the_marginal(process):
    """400,000 draws per level and code; each count within 5 sigma (and 10, for rare classes).

    If the code is right this fails for about one seed in 30,000 (60 counts, 6e-7 each).
    """
    generator = torch.Generator().manual_seed(3)
    draws = 400_000
    for t, x_0 in product(range(T + 1), range(K)):
        x_t = process.corrupt(torch.full((1, draws), x_0), t, generator=generator)
        counts = torch.bincount(x_t[0], minlength=K + 1)
        p = process.log_marginal(torch.tensor([[x_0]]), t, dtype=torch.float64)[0, 0].exp()
        sigma = (draws * p * (1 - p)).clamp(min=0).sqrt()
        assert ((counts - draws * p).abs() <= 5 * sigma + 10).all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("num_codes", [1, 2, 4097])
def test_extreme_p_x0s_give_no_nan(preset, num_codes, dtype):
    process = MaskAndReplace(build_schedule(preset(num_codes, 100)))
    extreme = torch.tensor([1e4, -1e4, 0.0, -torch.inf, 1e4, 1.0])
    logits = extreme.repeat(num_codes)[: num_codes * 6].reshape(6, num_codes)[None]
    logits[..., 0] = 1e4
    log_p_x0 = log_normalise(logits.to(dtype))
    x_t = torch.tensor([[0, 1 % num_codes, num_codes - 1, 0, 2 % num_codes, num_codes - 1]])
    for s, t in [(0, 1), (99, 100), (0, 100), (30, 60)]:
        for seen in (x_t, torch.full_like(x_t, num_codes)):
            if preset is multinomial and seen is not x_t:
                continue
            log_p = process.log_reverse(log_p_x0, seen, s, t)
            assert not log_p.isnan().any()
            assert (log_p.double().exp().sum(dim=-1) - 1).abs().max() < 2e-6


def test_without_replacements_an_unmasked_token_stays():
    process = MaskAndReplace(build_schedule(absorbing(K, T)))
    log_p_x0 = torch.tensor([[[0.1, 0.2, 0.7]]]).log()
    for s, t in STRIDES:
        found = process.log_reverse(log_p_x0, torch.tensor([[1]]), s, t).exp()
        assert found[0, 0, 1] == pytest.approx(1, abs=1e-7)
        assert found[0, 0, [0, 2, 3]].tolist() == [0, 0, 0]


def test_a_mask_where_nothing_is_masked_is_refused():
    process = MaskAndReplace(build_schedule(multinomial(K, T)))
    log_p_x0 = torch.zeros(1, 1, K) - torch.tensor(float(K)).log()
    with pytest.raises(ValueError, match=r"MASK \(class 3\)"):
        process.log_reverse(log_p_x0, torch.tensor([[MASK]]), 0, 2)


@pytest.mark.parametrize(("s", "t"), [(2, 2), (3, 2), (-1, 2), (0, 5)])
def test_levels_out_of_order_or_range_are_refused(process, s, t):
    log_p_x0 = torch.zeros(1, 1, K) - torch.tensor(float(K)).log()
    with pytest.raises(ValueError, match="allowed"):
        process.log_reverse(log_p_x0, torch.tensor([[0]]), s, t)


def test_gradients_are_finite_even_where_the_p_x0_is_certain(process):
    """A predicted distribution of exactly 1 in what we see is where naive log(1 - p) gives NaN."""
    logits = torch.tensor([[[200.0, 0.0, -200.0]]], requires_grad=True)
    x_t = torch.tensor([[0]])
    for s, t in STRIDES:
        log_p = process.log_reverse(log_normalise(logits), x_t, s, t)
        log_p.masked_fill(torch.isneginf(log_p), 0).sum().backward()
    assert logits.grad.isfinite().all()

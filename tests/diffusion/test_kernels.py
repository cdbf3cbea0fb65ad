"""Every kernel and every parameterisation, against sums over paths and distributions known
exactly."""

import math
from fractions import Fraction
from functools import lru_cache
from itertools import product

import pytest
import torch
from scipy.linalg import expm

from vqlearn.diffusion import kernels
from vqlearn.diffusion.exact import examples as worlds
from vqlearn.diffusion.exact import oracle
from vqlearn.diffusion.exact.world import (
    ExactWorld,
    exact_bound,
    prior_distribution,
    sampler_distribution,
    total_variation,
)
from vqlearn.diffusion.likelihood import exact_log_likelihood
from vqlearn.diffusion.objective import prior_term
from vqlearn.diffusion.parameterisations import DirectPrediction, PluggedIntoBayes, plug_in_optimum
from vqlearn.diffusion.process import MaskAndReplace
from vqlearn.diffusion.sampler import sample
from vqlearn.diffusion.schedule import absorbing, build_schedule, multinomial, paper, released
from vqlearn.probability.log_probs import log_normalise
from vqlearn.probability.random import sample_categorical

T = 4
STRIDES = [(s, t) for t in range(1, T + 1) for s in range(t)]
PRESETS = {"multinomial": multinomial, "absorbing": absorbing, "paper": paper, "released": released}
BETAS = (0.001, 0.02)
POSITIONS = {2: [[0.0], [1.0]], 3: [[0.0], [1.0], [2.5]]}  # the middle one is everyone's neighbour


def closed(preset):
    return lambda k, t: MaskAndReplace(build_schedule(preset(k, t)))


KERNELS = {
    **{name: closed(preset) for name, preset in PRESETS.items()},
    "binomial": lambda k, t: kernels.binomial(t),
    "dense uniform": kernels.uniform,
    "dense absorbing": kernels.absorbing,
    "dense paper": lambda k, t: kernels.mask_and_replace(build_schedule(paper(k, t))),
    "dense gaussian": lambda k, t: kernels.discretised_gaussian(k, t, betas=BETAS),
    "dense neighbours": lambda k, t: kernels.nearest_neighbour(
        torch.tensor(POSITIONS[k]), t, num_neighbours=1
    ),
}


@pytest.fixture(params=KERNELS)
def name(request):
    return request.param


@pytest.fixture
def num_codes(name):
    return 2 if name == "binomial" else 3


@pytest.fixture
def process(name, num_codes):
    return KERNELS[name](num_codes, T)


# --- one-step matrices, each from its own formula, written out class by class ---


def preset_steps(config):
    def line(start, end):
        start, end = Fraction(str(start)), Fraction(str(end))
        return [start + (end - start) * Fraction(t, T - 1) for t in range(T)]

    alpha_bar = [Fraction(1), *line(config.alpha_cum_start, config.alpha_cum_end)]
    gamma_bar = [Fraction(0), *line(config.gamma_cum_start, config.gamma_cum_end)]
    return oracle.step_matrices(alpha_bar, gamma_bar, config.num_vec_classes - 1)


def binomial_step(t):
    """p(1 | x) = x (1 - beta) + beta / 2, and a class MASK that nothing enters."""
    beta = Fraction(1, T - t + 1)
    ones = [x * (1 - beta) + beta / 2 for x in range(2)]
    rows = [[1 - one, one, Fraction(0)] for one in ones]
    return [*rows, [Fraction(0), Fraction(0), Fraction(1)]]


def uniform_step(t, k):
    def f(t):
        return math.cos((t / T + 0.008) / 1.008 * math.pi / 2)

    alpha = f(t) / f(t - 1)
    return [[alpha * (i == j) + (1 - alpha) / k for j in range(k)] for i in range(k)]


def absorbing_step(t, k):
    beta = Fraction(1, T - t + 1)
    rows = [[(1 - beta) * (i == j) for j in range(k)] + [beta] for i in range(k)]
    return [*rows, [Fraction(0)] * k + [Fraction(1)]]


def gaussian_step(t, k):
    first, last = (1000 / T * beta for beta in BETAS)
    beta = first + (last - first) * (t - 1) / (T - 1)

    def weight(d):
        return math.exp(-4 * d * d / ((k - 1) ** 2 * beta))

    total = sum(weight(d) for d in range(-(k - 1), k))
    rows = [[weight(i - j) / total * (i != j) for j in range(k)] for i in range(k)]
    for i, row in enumerate(rows):
        row[i] = 1 - sum(row)
    return rows


def neighbour_step(t, k):
    """0 and 1 are each other's neighbour, 1 is that of 2: rates 1 and 1/2."""
    rates = {2: [[-1, 1], [1, -1]], 3: [[-1, 1, 0], [1, -1.5, 0.5], [0, 0.5, -0.5]]}[k]
    times = kernels.information_times(torch.tensor(rates, dtype=torch.float64), T)
    step = expm((float(times[t] - times[t - 1])) * torch.tensor(rates).double().numpy())
    return step.tolist()


@lru_cache
def steps_of(name, k):
    if name in PRESETS:
        return preset_steps(PRESETS[name](k, T))
    if name == "dense paper":
        return preset_steps(paper(k, T))
    make = {
        "binomial": lambda t, k: binomial_step(t),
        "dense uniform": uniform_step,
        "dense absorbing": absorbing_step,
        "dense gaussian": gaussian_step,
        "dense neighbours": neighbour_step,
    }[name]
    steps = [make(t, k) for t in range(1, T + 1)]
    return [[[Fraction(value) for value in row] for row in step] for step in steps]


@pytest.fixture
def truth(name, num_codes):
    return steps_of(name, num_codes)


def tensor(values):
    return torch.tensor([float(value) for value in values], dtype=torch.float64)


def matrix(rows):
    return torch.stack([tensor(row) for row in rows])


# --- the distributions of one token ---


def test_marginals_equal_the_product_of_the_steps(process, truth):
    codes, classes = torch.arange(process.num_codes), torch.arange(process.num_classes)
    for t in range(T + 1):
        whole = matrix(oracle.between(truth, 0, t))[: process.num_codes]
        marginal = process.log_marginal(codes[None], t, dtype=torch.float64)[0].exp()
        likelihood = process.log_likelihood(classes[None], t, dtype=torch.float64)[0].exp()
        assert (marginal - whole).abs().max() < 1e-12
        assert (likelihood - whole.T).abs().max() < 1e-12


def test_posteriors_equal_bayes_by_enumeration_for_every_stride(process, truth):
    cases = list(product(STRIDES, range(process.num_codes), range(process.num_classes)))
    met = 0
    for (s, t), x_0, x_t in cases:
        expected = oracle.posterior(truth, s, t, x_0, x_t)
        if expected is None:
            continue
        tokens = torch.tensor([[x_0]]), torch.tensor([[x_t]])
        found = process.log_posterior(*tokens, s, t, dtype=torch.float64)[0, 0].exp()
        assert (found - tensor(expected)).abs().max() < 1e-12
        met += 1
    assert met >= len(cases) / 3


@pytest.mark.parametrize("weights", [[7, 2, 1], [1, 1, 1], [0, 1, 9]])
def test_reverse_of_a_p_x0_equals_the_mixture_of_posteriors(process, truth, weights):
    weights = weights[: process.num_codes]
    p_x0 = [Fraction(weight, sum(weights)) for weight in weights]
    for (s, t), x_t in product(STRIDES, range(process.num_classes)):
        expected = oracle.reverse(truth, s, t, p_x0, x_t)
        if expected is None:
            continue
        log_p_x0 = tensor(p_x0).log()[None, None]
        found = process.log_reverse(log_p_x0, torch.tensor([[x_t]]), s, t)[0, 0].exp()
        assert (found - tensor(expected)).abs().max() < 1e-12


def test_chapman_kolmogorov_one_stride_is_many_steps(process):
    for x_0 in range(process.num_codes):
        token = torch.tensor([[x_0]])
        arrived = [
            process.log_marginal(token, t, dtype=torch.float64)[0, 0].exp() for t in range(T + 1)
        ]
        single = {level: stride(process, x_0, level - 1, level) for level in range(1, T + 1)}
        for s, t in STRIDES:
            distribution = arrived[t]
            for level in range(t, s, -1):
                distribution = distribution @ single[level]
            direct = arrived[t] @ stride(process, x_0, s, t)
            assert (distribution - direct).abs().max() < 1e-12
            assert (direct - arrived[s]).abs().max() < 1e-12


def stride(process, x_0, s, t):
    """q(x_s | x_t, x_0) as a matrix; rows of an x_t that cannot occur are not used: zero."""
    classes = torch.arange(process.num_classes)[None]
    clean = torch.full_like(classes, x_0)
    likely = process.log_marginal(clean[:, :1], t, dtype=torch.float64)[0, 0]
    seen = torch.where(likely > -torch.inf, classes, likely.argmax())
    rows = process.log_posterior(clean, seen, s, t, dtype=torch.float64)[0].exp()
    return rows * (likely > -torch.inf)[:, None]


def test_the_prior_is_a_distribution_over_the_classes_that_the_end_can_hold(process, name):
    distribution = process.log_prior().exp()
    assert distribution.sum().item() == pytest.approx(1, abs=1e-12)
    if process.num_classes == process.num_codes:
        assert (distribution == 1 / process.num_codes).all()
    cost = prior_term(process, torch.arange(process.num_codes)[None])
    assert cost.isfinite().all()
    assert (cost > -1e-12).all()


def test_kernels_without_masks_keep_the_uniform_distribution(process):
    if process.num_classes > process.num_codes:
        return
    for t in range(1, T + 1):
        step = process.products.step_matrix(t)
        assert (step.sum(dim=0) - 1).abs().max() < 1e-12
        assert (step.sum(dim=1) - 1).abs().max() < 1e-12


def test_an_end_that_remembers_has_its_price_in_the_bound():
    """Three Gaussian steps too small to mix: KL(row of the product || uniform), by a plain sum."""
    process = kernels.discretised_gaussian(5, 3, betas=(1e-4, 4e-4))
    whole = torch.eye(5, dtype=torch.float64)
    for t in range(1, 4):
        whole = whole @ process.products.step_matrix(t)
    for x_0 in range(5):
        row = [float(p) for p in whole[x_0]]
        expected = sum(p * math.log(5 * p) for p in row if p > 0)
        assert expected > 0.5
        found = prior_term(process, torch.tensor([[x_0]])).item()
        assert found == pytest.approx(expected, abs=1e-12)


# --- twins: matrices and closed forms ---


TWINS = {
    "uniform": (
        lambda k, t: kernels.uniform(k, t, alpha_bar=kernels.linear),
        closed(multinomial),
    ),
    "absorbing": (kernels.absorbing, closed(absorbing)),
    **{
        f"mask and replace, {name}": (
            lambda k, t, preset=preset: kernels.mask_and_replace(build_schedule(preset(k, t))),
            closed(preset),
        )
        for name, preset in PRESETS.items()
    },
}


@pytest.mark.parametrize("twins", TWINS)
@pytest.mark.parametrize(("num_codes", "num_timesteps"), [(2, 1), (3, 4), (17, 20)])
def test_matrices_and_closed_forms_agree(twins, num_codes, num_timesteps):
    dense, short = (make(num_codes, num_timesteps) for make in TWINS[twins])
    generator = torch.Generator().manual_seed(0)
    x_0 = torch.randint(num_codes, (6, 30), generator=generator)
    logits = 3 * torch.randn(6, 30, num_codes, generator=generator, dtype=torch.float64)
    last = num_timesteps
    prior = dense.log_prior().exp()
    assert (short.log_prior().exp()[: len(prior)] - prior).abs().max() < 1e-12
    same = {"dtype": torch.float64}
    for s, t in {(0, 1), (0, last), (last // 2, last), (last - 1, last), (last // 3, last // 2)}:
        if s >= t:
            continue
        x_t = short.corrupt(x_0, t, generator=generator)
        pairs = [
            [process.log_marginal(x_0, t, **same) for process in (short, dense)],
            [process.log_likelihood(x_t, t, **same) for process in (short, dense)],
            [process.log_posterior(x_0, x_t, s, t, **same) for process in (short, dense)],
            [process.log_reverse(log_normalise(logits), x_t, s, t) for process in (short, dense)],
        ]
        for closed_form, by_matrix in pairs:
            classes = by_matrix.shape[-1]  # the closed form of uniform has a MASK that never is
            assert (closed_form[..., classes:] == -torch.inf).all()
            assert (closed_form[..., :classes].exp() - by_matrix.exp()).abs().max() < 1e-12


@pytest.mark.parametrize("num_timesteps", [1, 2, 5, 1000])
def test_binomial_diffusion_is_the_multinomial_corner_of_two_codes(num_timesteps):
    """After t flips with beta = 1/(T-u+1) a bit is kept with prod (1 - beta) = 1 - t/T."""
    process = kernels.binomial(num_timesteps)
    kept = Fraction(1)
    for t in range(1, num_timesteps + 1):
        kept *= 1 - Fraction(1, num_timesteps - t + 1)
        assert kept == 1 - Fraction(t, num_timesteps)
        assert process.schedule.alpha_bar[t].item() == pytest.approx(float(kept), abs=1e-12)
        assert process.schedule.gamma_bar[t] == 0
    assert process.num_codes == 2


# --- one kernel at a time ---


def test_the_schedules_at_their_ends_and_in_the_middle():
    assert kernels.linear(4).tolist() == [1, 0.75, 0.5, 0.25, 0]
    found = kernels.cosine(2)
    middle = math.cos(math.pi / 2 * 0.508 / 1.008) / math.cos(math.pi / 2 * 0.008 / 1.008)
    assert found.tolist() == pytest.approx([1, middle, 0], abs=1e-15)
    assert found[2] == 0


def test_gaussian_betas_are_those_of_the_paper_at_1000_steps_and_larger_at_fewer():
    def share(process, t):
        step = process.products.step_matrix(t)
        return math.log(step[0, 2] / step[0, 1])  # -4 (4 - 1) / (15^2 beta)

    long, short = (kernels.discretised_gaussian(16, t) for t in (1000, 50))
    for process, t, beta in [
        (long, 1, 1e-4),
        (long, 1000, 0.02),
        (short, 1, 2e-3),
        (short, 50, 0.4),
    ]:
        assert share(process, t) == pytest.approx(-12 / (225 * beta), rel=1e-9)


def test_neighbour_rates_by_hand():
    """Neighbours: 0 of 1, 2; 1 of 0, 2; 2 of 1, 0; 3 of 2, 1. Both ways counted: 4 A."""
    points = torch.tensor([[0.0, 0.0], [0.0, 1.0], [0.0, 3.0], [0.0, 7.0]])
    found = kernels.neighbour_rates(points, 2) * 4
    assert found.tolist() == [[-4, 2, 2, 0], [2, -5, 2, 1], [2, 2, -5, 1], [0, 1, 1, -2]]


def test_each_level_of_the_neighbour_kernel_holds_its_share_of_information():
    points = torch.randn(12, 3, generator=torch.Generator().manual_seed(0))
    process = kernels.nearest_neighbour(points, 10, num_neighbours=3)
    for t in range(11):
        whole = process.log_marginal(torch.arange(12)[None], t, dtype=torch.float64)[0].exp()
        entropy = -sum(p * math.log(p) for p in whole.flatten().tolist() if p > 0) / 12
        share = 1 - entropy / math.log(12)
        assert share == pytest.approx(1 - t / 10 if t < 10 else 1e-4, abs=2e-3)
    assert 5e-5 < share < 2e-4


def test_a_long_time_is_the_exponential_of_the_rates():
    """Compared with Pade approximation; and far codes, which that cannot see, with their path."""
    line = torch.arange(24.0)[:, None]
    process = kernels.nearest_neighbour(line, 6, num_neighbours=1)
    rates = kernels.neighbour_rates(line, 1)
    times = kernels.information_times(rates, 6)
    for s, t in [(0, 1), (0, 3), (2, 6), (5, 6)]:
        expected = torch.from_numpy(expm(((times[t] - times[s]) * rates).numpy()))
        assert (process.products.between(s, t) - expected).abs().max() < 1e-12
    first = float(times[1])
    steps = [float(rates[i, i + 1]) * first / (i + 1) for i in range(10)]
    found = process.products.between(0, 1)[0, 10].log().item()
    assert abs(found - sum(math.log(step) for step in steps)) < 11 * 3 * first


def test_codes_in_two_groups_are_refused():
    points = torch.tensor([[0.0], [0.1], [5.0], [5.1]])
    with pytest.raises(ValueError, match="2 groups of neighbours; allowed: one"):
        kernels.nearest_neighbour(points, 4, num_neighbours=1)
    assert kernels.nearest_neighbour(points, 4, num_neighbours=2).num_classes == 4


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: kernels.uniform(1, 4), "num_codes is 1; allowed: whole numbers of 2"),
        (lambda: kernels.absorbing(3, 0), "num_timesteps is 0; allowed: whole numbers of 1"),
        (lambda: kernels.discretised_gaussian(3, 4, betas=(0.0, 1.0)), r"betas are \(0.0, 1.0\)"),
        (
            lambda: kernels.nearest_neighbour(torch.eye(3), 4),
            "num_neighbours is 10; allowed: 1 to 2",
        ),
        (lambda: kernels.neighbour_rates(torch.eye(3), 0), "num_neighbours is 0; allowed: 1 to 2"),
    ],
)
def test_kernels_that_make_no_sense_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


# --- parameterisations in worlds where the truth is known ---


def as_it_is(process, denoise):
    return process, denoise


def plugged(process, denoise):
    return PluggedIntoBayes(process), lambda x_t, t: plug_in_optimum(
        process, denoise(x_t, t), x_t, t
    )


def direct(process, denoise):
    def predict(x_t, t):
        never = process.log_likelihood(x_t, t).amax(dim=-1).isneginf()
        x_t = torch.where(never, process.log_marginal(torch.zeros_like(x_t), t).argmax(-1), x_t)
        return process.log_reverse(denoise(x_t, t), x_t, t - 1, t)

    return DirectPrediction(process), predict


PARAMETERISATIONS = {"mixed": as_it_is, "plugged": plugged, "direct": direct}


def one_token(num_codes):
    return worlds.one_token() if num_codes == 3 else ExactWorld(torch.tensor([0.7, 0.3]))


@pytest.mark.parametrize("parameterisation", PARAMETERISATIONS)
@pytest.mark.parametrize("levels", [[4, 3, 2, 1, 0], [4, 0], [4, 1, 0], [4, 3, 0]])
def test_the_right_optimum_gives_the_distribution_of_one_token(process, parameterisation, levels):
    if parameterisation == "direct" and len(levels) < 5:
        return  # refused: tests/diffusion/test_parameterisations.py
    world = one_token(process.num_codes)
    view, output = PARAMETERISATIONS[parameterisation](process, world.denoiser(process))
    distribution = sampler_distribution(
        view, output, world.corrupted_distribution(process, T), levels
    )
    assert total_variation(distribution, world.data_distribution(process)) < 1e-12


def test_the_p_x0_itself_plugged_into_bayes_gives_another_distribution():
    """Uniform, 3 codes, 4 steps: the data (.7, .2, .1) come out as about (.57, .26, .17)."""
    process = kernels.uniform(3, T, alpha_bar=kernels.linear)
    world = worlds.one_token()
    view, wrong = PluggedIntoBayes(process), world.denoiser(process)
    distribution = sampler_distribution(
        view, wrong, world.corrupted_distribution(process, T), [4, 3, 2, 1, 0]
    )
    assert distribution.tolist() == pytest.approx([0.57, 0.26, 0.17], abs=0.005)


@pytest.mark.parametrize("name", ["absorbing", "dense absorbing"], indirect=False)
def test_only_with_masks_alone_the_p_x0_may_be_plugged_in(name):
    process, world = KERNELS[name](3, T), worlds.one_token()
    view, p_x0 = PluggedIntoBayes(process), world.denoiser(process)
    distribution = sampler_distribution(
        view, p_x0, world.corrupted_distribution(process, T), [4, 2, 1, 0]
    )
    assert total_variation(distribution, world.data_distribution(process)) < 1e-12


def wrong(denoise):
    """A denoiser that is wrong, but rules nothing out."""

    def tilted(x_t, t):
        log_p_x0 = denoise(x_t, t).clamp(min=-8)
        position = torch.arange(log_p_x0.shape[-1]) + 2.0 * x_t[..., None] + t
        return log_normalise(log_p_x0 + torch.sin(position).double())

    return tilted


@pytest.mark.parametrize("parameterisation", PARAMETERISATIONS)
@pytest.mark.parametrize("world_name", ["one_token", "twins", "chain"])
def test_the_bound_is_never_below_the_exact_nll(name, parameterisation, world_name):
    world = worlds.WORLDS[world_name]()
    if name == "binomial" and world.num_codes != 2:
        return
    steps = 2 if world_name == "chain" else T
    process = KERNELS[name](world.num_codes, steps)
    denoise = wrong(world.denoiser(process))
    view, output = PARAMETERISATIONS[parameterisation](process, denoise)
    x_0 = world.states[:: max(1, len(world.states) // 2)]
    bound = exact_bound(view, output, x_0)
    nll = -exact_log_likelihood(view, output, x_0)
    assert bound.isfinite().all()
    assert (bound >= nll - 1e-9).all()
    if world_name == "chain":
        assert (bound > nll + 1e-3).any()


@pytest.mark.parametrize("parameterisation", PARAMETERISATIONS)
def test_the_parameterisations_of_one_p_x0_have_one_bound(process, parameterisation):
    """Each is given the output that means the same predicted distribution: then the step back is
    the same."""
    world = worlds.twins() if process.num_codes == 2 else ExactWorld(TABLE)
    denoise = wrong(world.denoiser(process))
    x_0 = world.states[1::3]
    expected = exact_bound(process, denoise, x_0)
    view, output = PARAMETERISATIONS[parameterisation](process, denoise)
    assert torch.allclose(exact_bound(view, output, x_0), expected, rtol=0, atol=1e-10)


TABLE = torch.tensor([[0.3, 0.1, 0.0], [0.05, 0.2, 0.05], [0.0, 0.1, 0.2]], dtype=torch.float64)


@pytest.mark.parametrize("parameterisation", PARAMETERISATIONS)
def test_samples_come_from_the_computed_distribution(process, parameterisation):
    """5,000 samples from the prior: each state's count within 5 sigma (and 10, for rare ones).

    If the code is right this fails for less than one seed in 5,000 (30 runs, up to 9 states).
    """
    world = worlds.twins() if process.num_codes == 2 else ExactWorld(TABLE)
    view, output = PARAMETERISATIONS[parameterisation](process, wrong(world.denoiser(process)))
    levels = [4, 3, 2, 1, 0]
    distribution = sampler_distribution(view, output, prior_distribution(process, 2), levels)
    generator = torch.Generator().manual_seed(0)
    count = 5_000
    x_t = sample_categorical(process.log_prior().expand(count, 2, -1), generator=generator)
    *_, (_, x_0) = sample(view, output, x_t, levels, generator=generator)
    counts = torch.bincount(
        x_0[:, 0] * process.num_classes + x_0[:, 1], minlength=len(distribution)
    )
    sigma = (count * distribution * (1 - distribution)).clamp(min=0).sqrt()
    assert ((counts - count * distribution).abs() <= 5 * sigma + 10).all()

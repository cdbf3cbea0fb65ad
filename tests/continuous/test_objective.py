"""The losses and the negative ELBO of pixels, by hand and against numerical integration."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy import special, stats
from support.gaussian_toys import (
    GRID,
    ROUGH,
    SPACING,
    TARGETS,
    TRUE,
    VARIANCES,
    T,
    density,
    from_greys,
    numbers,
    random_images,
    true_epsilon,
)

from vqlearn.continuous.gaussian import GaussianProcess
from vqlearn.continuous.normal import Normal
from vqlearn.continuous.objective import (
    bound_term,
    bound_terms,
    data_to_greys,
    log_grey_probability,
    prior_term,
    simple_loss,
)
from vqlearn.continuous.sampler import Ancestral, Model
from vqlearn.continuous.schedule import linear


def test_the_simple_loss_by_hand(process):
    """The network answers 0: the loss is the mean square of the noise, or of the image."""
    x_0, t = random_images(3), torch.tensor([1, 3, 5])
    x_t = process.corrupt(x_0, t, generator=torch.Generator().manual_seed(0))
    alpha_bar = ROUGH[t].reshape(3, 1, 1)
    noise = (x_t - alpha_bar.sqrt() * x_0) / (1 - alpha_bar).sqrt()
    for target, expected in (("epsilon", noise), ("x_0", x_0)):
        seen = []
        model = Model(lambda x, t, seen=seen: seen.append((x, t)) or torch.zeros_like(x), target)
        generator = torch.Generator().manual_seed(0)
        found = simple_loss(process, model, x_0, t, generator=generator)
        assert torch.allclose(found, expected.square().mean(dim=(1, 2)), atol=1e-13)
        assert torch.equal(seen[0][0], x_t)
        assert torch.equal(seen[0][1], t)


def test_the_loss_of_epsilon_is_the_weighted_loss_of_x_0(process):
    """Two networks that say the same; the weight is the signal-to-noise ratio."""
    x_0, t = numbers(0.3, -0.2, 0.9, 0.1, 0.5), torch.arange(1, 6)
    losses = [
        simple_loss(
            process,
            Model(TRUE[target](process), target),
            x_0,
            t,
            generator=torch.Generator().manual_seed(0),
        )
        for target in TARGETS
    ]
    ratio = ROUGH[t] / (1 - ROUGH[t])
    assert torch.allclose(losses[0], ratio * losses[1], rtol=1e-12)


def test_the_terms_of_the_small_variance_are_a_weighted_squared_error(process):
    r"""$\frac12(\mathrm{SNR}_{t-1}-\mathrm{SNR}_t)(x_0-\hat x_0)^2$, Kingma et al. 2021."""
    x_0, x_t, guess = (random_images(4, seed=seed) for seed in range(3))
    ratio = ROUGH / (1 - ROUGH)
    for t in range(2, T + 1):
        found = bound_term(Ancestral(process, "small"), guess, x_0, x_t, t)
        expected = (ratio[t - 1] - ratio[t]) / 2 * (x_0 - guess).square()
        assert torch.allclose(found, expected, rtol=1e-10)


def test_the_terms_of_the_large_variance_are_a_kl_divergence_by_hand(process):
    x_0, x_t, guess = (random_images(4, seed=seed) for seed in range(3))
    for t in range(2, T + 1):
        q = process.posterior(x_0, x_t, t - 1, t)
        wrong = process.posterior(guess, x_t, t - 1, t).mean - q.mean
        beta = 1 - ROUGH[t] / ROUGH[t - 1]
        ratio = q.variance / beta
        expected = (ratio - 1 - ratio.log() + wrong**2 / beta) / 2
        found = bound_term(Ancestral(process, "large"), guess, x_0, x_t, t)
        assert torch.allclose(found, expected, rtol=1e-12)


def test_the_prior_term_equals_the_integral(process):
    x_0 = numbers(-1.0, 0.0, 0.5)
    found = prior_term(process, x_0)
    standard = density(GRID, 0.0, 1.0)
    for i in range(3):
        distribution = process.transition(x_0[i : i + 1], 0, T)
        q = density(GRID, distribution.mean.item(), distribution.variance.item())
        expected = (q * np.log(q / standard)).sum() * SPACING
        assert found[i].item() == pytest.approx(expected, abs=1e-12)
    assert (found > 1e-4).all()


ALL_GREYS = torch.arange(256)[:, None]


@pytest.mark.parametrize("mean", [-30.0, -1.0, -0.3, 0.004, 0.999, 1.5])
@pytest.mark.parametrize("deviation", [1e-3, 0.01, 0.3, 5.0])
def test_the_probabilities_of_the_greys_sum_to_one(mean, deviation):
    distribution = Normal(torch.full((256, 1), mean, dtype=torch.float64), numbers(deviation**2))
    log_p = log_grey_probability(distribution, from_greys(ALL_GREYS))
    assert log_p.isfinite().all()
    assert log_p.exp().sum().item() == pytest.approx(1, abs=1e-12)
    inside = int(((mean + 1) * 127.5 + 0.5) // 1)
    assert log_p.argmax() == min(max(inside, 0), 255) or deviation == 5.0


def test_the_probability_of_a_grey_is_the_mass_of_its_cell():
    distribution = Normal(torch.full((256, 1), 0.1, dtype=torch.float64), numbers(0.2**2))
    found = log_grey_probability(distribution, from_greys(ALL_GREYS)).exp()[:, 0]
    edges = np.concatenate([[-np.inf], (np.arange(1, 256) - 0.5) / 127.5 - 1, [np.inf]])
    expected = np.diff(stats.norm.cdf(edges, 0.1, 0.2))
    assert np.abs(found.numpy() - expected).max() < 1e-14


@pytest.mark.parametrize("grey", [2, 100, 128, 254])
def test_a_mean_on_the_edge_between_two_greys_belongs_to_neither(grey):
    """Then both cells have the same mass; one of them begins exactly at the mean."""
    edge = numbers(grey) * 2 / 255 - 1 - 1 / 255
    distribution = Normal(edge.expand(2, 1), numbers(0.02**2))
    below, above = log_grey_probability(
        distribution, from_greys(torch.tensor([[grey - 1], [grey]]))
    )
    expected = np.log(stats.norm.cdf(2 / 255, 0, 0.02) - 0.5)
    assert above.item() == pytest.approx(expected, abs=1e-9)
    assert below.item() == pytest.approx(expected, abs=1e-9)


def test_a_grey_far_from_the_mean_has_the_right_logarithm():
    """Where the probability itself is 0 in floating point: 100 and 200 deviations away."""
    for mean, grey in ((-1.0, 255), (1.0, 0)):
        for deviation in (0.02, 0.01):
            distribution = Normal(numbers(mean), numbers(deviation**2))
            found = log_grey_probability(distribution, from_greys(torch.tensor([[grey]]))).item()
            edge = (2 - 1 / 255) / deviation
            assert found == pytest.approx(special.log_ndtr(-edge), rel=1e-12)
            assert found < -4000
    distribution = Normal(numbers(-1.0), numbers(0.01**2))
    found = log_grey_probability(distribution, from_greys(torch.tensor([[200]]))).item()
    near, far = ((400 + side) / 255 / 0.01 for side in (-1, 1))
    expected = special.log_ndtr(-near) + math.log1p(
        -math.exp(special.log_ndtr(-far) - special.log_ndtr(-near))
    )
    assert found == pytest.approx(expected, rel=1e-12)


def test_data_become_the_nearest_grey_values():
    assert torch.equal(data_to_greys(from_greys(ALL_GREYS)), ALL_GREYS)
    assert data_to_greys(torch.tensor([[-7.0, 0.0039, 7.0]])).tolist() == [[0, 128, 255]]


@pytest.mark.parametrize("x_0", [0.0, 1.1, math.nan])
def test_numbers_between_the_greys_have_no_probability(x_0):
    with pytest.raises(ValueError, match="between two greys; allowed"):
        log_grey_probability(Normal(numbers(0.0), numbers(1.0)), numbers(x_0))


def expected_terms(walk, restore, x_0, nodes=24):
    """`bound_terms` with every expectation over x_t taken exactly, by Gauss-Hermite nodes."""
    process = walk.process
    z, weights = (torch.from_numpy(part) for part in np.polynomial.hermite_e.hermegauss(nodes))
    weights = weights / weights.sum()
    columns = [prior_term(process, x_0)[:, 0]]
    for t in range(1, process.num_timesteps + 1):
        distribution = process.transition(x_0, 0, t)
        x_t = (distribution.mean + distribution.variance.sqrt() * z).reshape(-1, 1)
        clean = x_0.expand(-1, nodes).reshape(-1, 1)
        guess = restore(x_t, t)
        terms = bound_term(walk, guess, clean, x_t, t).reshape(-1, nodes)
        columns.append(terms @ weights)
    return torch.stack(columns, dim=1)


def wrong_model(process):
    return Model(lambda x, t: 0.6 * torch.sin(2 * x + torch.as_tensor(t).reshape(-1, 1)), "x_0")


@pytest.mark.parametrize("variance", VARIANCES)
def test_the_bound_is_never_below_the_negative_log_likelihood(variance):
    """The model's distribution of the greys, by integrating over the chain; for a wrong denoiser
    too."""
    process = GaussianProcess(torch.tensor([1, 0.9, 0.4, 0.15], dtype=torch.float64))
    walk = Ancestral(process, variance)
    grid = torch.from_numpy(GRID)[:, None]
    for model in (wrong_model(process), Model(true_epsilon(process), "epsilon")):
        restore = model.restorer(process, clip=False)
        distribution = torch.from_numpy(density(GRID, 0.0, 1.0)) * SPACING
        for t in (3, 2):
            guess = restore(grid, torch.full((len(grid),), t))
            mean, spread = process.reverse(guess, grid, t - 1, t, variance=variance)
            distribution = distribution @ torch.from_numpy(
                density(GRID[None], mean.numpy(), spread.item())
            )
            distribution = distribution * SPACING
        decoder = process.reverse(
            restore(grid, torch.ones(len(grid)).long()), grid, 0, 1, variance="large"
        )
        greys = from_greys(ALL_GREYS).double()
        likely = torch.stack(
            [
                distribution @ log_grey_probability(decoder, x.expand(len(grid), 1)).exp()
                for x in greys
            ]
        )
        assert likely.sum().item() == pytest.approx(1, abs=1e-8)
        bound = expected_terms(walk, restore, greys).sum(dim=1)
        gap = bound + likely[:, 0].log()
        assert (gap > 0).all()
        assert gap.min() < 1


def pixel_world():
    """One pixel whose grey has a distribution with two peaks, and its true denoiser by
    enumeration."""
    greys = from_greys(ALL_GREYS)[:, 0].double()
    distribution = torch.exp(-((greys + 0.4) ** 2) / 0.02) + 0.5 * torch.exp(
        -((greys - 0.5) ** 2) / 0.05
    )
    distribution = distribution / distribution.sum()

    def denoiser(process):
        def predict(x_t, t):
            alpha_bar = process.alpha_bar[t].reshape(-1, 1)
            distance = (x_t - alpha_bar.sqrt() * greys) ** 2
            log_joint = distribution.log() - distance / (2 * (1 - alpha_bar))
            return log_joint.softmax(dim=1) @ greys[:, None]

        return predict

    return greys, distribution, denoiser


@pytest.mark.parametrize("variance", VARIANCES)
def test_with_the_true_denoiser_the_bound_falls_to_the_entropy_of_the_data(variance):
    greys, distribution, denoiser = pixel_world()
    entropy = -(distribution * distribution.log()).sum().item()
    likely = distribution > 1e-7
    gaps = []
    for num_timesteps in (1, 4, 16, 64):
        process = GaussianProcess(linear(num_timesteps))
        restore = Model(denoiser(process), "x_0").restorer(process, clip=True)
        terms = expected_terms(Ancestral(process, variance), restore, greys[likely, None], 16)
        gaps.append((distribution[likely] @ terms.sum(dim=1)).item() - entropy)
    assert all(after < before for before, after in pairwise(gaps))
    assert 0 < gaps[-1] < {"small": 0.5, "large": 0.2}[variance]


@pytest.mark.parametrize("variance", VARIANCES)
def test_the_sampled_bound_is_an_unbiased_estimate_of_the_exact_one(process, variance):
    """4,000 estimates: each of 6 terms within 5 standard errors of the exact one."""
    walk = Ancestral(process, variance)
    restore = wrong_model(process).restorer(process, clip=True)
    x_0 = from_greys(torch.tensor([[180]])).double()
    exact = expected_terms(walk, restore, x_0, nodes=80)[0]
    generator = torch.Generator().manual_seed(0)
    found = bound_terms(walk, restore, x_0.expand(4000, 1), generator=generator)
    assert found.shape == (4000, T + 1)
    error = found.std(dim=0) / 4000**0.5
    assert ((found.mean(dim=0) - exact).abs() < 5 * error + 1e-12).all()


def test_the_terms_of_an_image_are_averages_over_its_numbers(process):
    greys = torch.randint(256, (2, 3, 4, 4), generator=torch.Generator().manual_seed(0))
    x_0 = from_greys(greys)
    model = Model(lambda x, t: 0.1 * x, "epsilon")
    restore = model.restorer(process, clip=True)
    together = bound_terms(
        Ancestral(process), restore, x_0, generator=torch.Generator().manual_seed(1)
    )
    flat = bound_terms(
        Ancestral(process), restore, x_0.flatten(1), generator=torch.Generator().manual_seed(1)
    )
    assert torch.allclose(together, flat)
    prior = prior_term(process, x_0).mean(dim=(1, 2, 3))
    assert torch.allclose(together[:, 0], prior)
    assert together.dtype == torch.float64
    assert (together > 0).all()

"""The bound and the training loss, against sums written out by hand."""

import pytest
import torch
from support.presets import remembering

from vqlearn.diffusion.exact import examples as worlds
from vqlearn.diffusion.exact import world as exact_world
from vqlearn.diffusion.objective import bound_term, prior_term, training_loss, variational_bound
from vqlearn.diffusion.process import MaskAndReplace
from vqlearn.diffusion.schedule import absorbing, build_schedule, multinomial, paper, released
from vqlearn.probability.log_probs import log_normalise

PRESETS = (released, paper, absorbing, multinomial)
K, T = 3, 5


def random_case(process, t, dtype=torch.float64):
    generator = torch.Generator().manual_seed(t)
    x_0 = torch.randint(K, (6, 8), generator=generator)
    x_t = process.corrupt(x_0, t, generator=generator)
    logits = torch.randn(6, 8, K, generator=generator, dtype=dtype)
    return x_0, x_t, log_normalise(logits)


@pytest.mark.parametrize("preset", PRESETS)
def test_the_term_of_level_one_is_the_negative_log_likelihood(preset):
    process = MaskAndReplace(build_schedule(preset(K, T)))
    x_0, x_t, log_p_x0 = random_case(process, 1)
    found = bound_term(process, log_p_x0, x_0, x_t, 1)
    expected = -log_p_x0.gather(-1, x_0[..., None])[..., 0]
    stays = (x_t != process.mask) & bool(process.schedule.beta_bar[1] == 0)
    assert torch.allclose(found, expected.masked_fill(stays, 0), atol=1e-12, rtol=0)


@pytest.mark.parametrize("preset", PRESETS)
def test_terms_are_kl_divergences_of_plain_probabilities(preset):
    process = MaskAndReplace(build_schedule(preset(K, T)))
    for t in range(2, T + 1):
        x_0, x_t, log_p_x0 = random_case(process, t)
        q = process.log_posterior(x_0, x_t, t - 1, t, dtype=torch.float64).exp()
        p = process.log_reverse(log_p_x0, x_t, t - 1, t).exp()
        expected = torch.zeros(6, 8, dtype=torch.float64)
        for j in range(K + 1):
            there = q[..., j] > 0
            ratio = q[..., j][there] / p[..., j][there]
            expected[there] += q[..., j][there] * ratio.log()
        found = bound_term(process, log_p_x0, x_0, x_t, t)
        assert torch.allclose(found, expected, atol=1e-12, rtol=0)
        assert (found > -1e-12).all()


def test_the_prior_costs_nothing_when_the_end_forgets_the_data():
    forgets = MaskAndReplace(build_schedule(absorbing(K, T)))
    assert prior_term(forgets, torch.tensor([[0, 1, 2]])).abs().max() == 0
    remembers = MaskAndReplace(build_schedule(released(K, T)))
    cost = prior_term(remembers, torch.tensor([[0, 1, 2]]))
    alpha_bar, beta_bar, gamma_bar = (
        float(x[-1])
        for x in (
            remembers.schedule.alpha_bar,
            remembers.schedule.beta_bar,
            remembers.schedule.gamma_bar,
        )
    )
    uniform = (1 - gamma_bar) / K
    same, other = alpha_bar + beta_bar, beta_bar
    q, p = torch.tensor([[same, other], [uniform, uniform]], dtype=torch.float64)
    expected = q[0] * (q[0] / p[0]).log() + (K - 1) * q[1] * (q[1] / p[1]).log()
    assert cost[0, 0].item() == pytest.approx(expected.item(), rel=1e-6)
    assert expected > 1e-6


def test_training_loss_by_hand():
    """One image per level, so that each weight can be read off."""
    process = MaskAndReplace(build_schedule(paper(K, T)))
    t = torch.arange(1, T + 1)
    x_0 = torch.randint(K, (T, 4), generator=torch.Generator().manual_seed(0))
    x_t = process.corrupt(x_0, t, generator=torch.Generator().manual_seed(1))
    log_p_x0 = log_normalise(torch.randn(T, 4, K, dtype=torch.float64))
    loss = training_loss(process, log_p_x0, (x_0, x_t), t, auxiliary_weight=0.01)
    for i in range(T):
        terms = bound_term(process, log_p_x0[i : i + 1], x_0[i : i + 1], x_t[i : i + 1], int(t[i]))
        cross_entropy = -sum(log_p_x0[i, n, x_0[i, n]] for n in range(4)) / 4
        assert loss.bound[i].item() == pytest.approx(T * terms.mean().item(), abs=1e-12)
        assert loss.auxiliary[i].item() == pytest.approx(cross_entropy.item(), abs=1e-12)
        weight = T * 0.01 * (2 - i / T)
        expected = loss.bound[i] + weight * loss.auxiliary[i]
        assert loss.total[i].item() == pytest.approx(expected.item(), abs=1e-12)


@pytest.mark.parametrize("preset", PRESETS)
def test_training_loss_has_finite_gradients_for_extreme_logits(preset):
    process = MaskAndReplace(build_schedule(preset(K, T)))
    logits = torch.randn(T, 4, K, generator=torch.Generator().manual_seed(0)) * 1e4
    logits.requires_grad_()
    t = torch.arange(1, T + 1)
    x_0 = logits.argmax(dim=-1)
    x_t = process.corrupt(x_0, t, generator=torch.Generator().manual_seed(1))
    training_loss(process, log_normalise(logits), (x_0, x_t), t).total.sum().backward()
    assert logits.grad.isfinite().all()


@pytest.mark.parametrize("preset", [paper, absorbing, remembering])
def test_the_sampled_bound_is_an_unbiased_estimate_of_the_exact_one(preset):
    """4,000 estimates: their mean within 5 standard errors of the enumerated bound."""
    world = worlds.twins()
    process = MaskAndReplace(build_schedule(preset(2, T)))
    denoise = world.denoiser(process)
    x_0 = torch.tensor([[0, 0]])
    exact = exact_world.exact_bound(process, denoise, x_0).item()
    many = x_0.expand(4000, 2)
    found = variational_bound(process, denoise, many, generator=torch.Generator().manual_seed(0))
    assert abs(found.mean().item() - exact) < 5 * found.std().item() / 4000**0.5

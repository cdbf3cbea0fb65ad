"""Numbers at the edge: gradients, and one-line mutants that once lived."""

from itertools import product

import pytest
import torch
from faults import fuzz_numbers

from vqlearn.diffusion import MaskAndReplace, build_schedule, multinomial, reference
from vqlearn.diffusion.d3pm import log_matmul
from vqlearn.diffusion.kernels import mask_and_replace
from vqlearn.diffusion.schedule import SCHEDULES
from vqlearn.probability import kl_divergence, log_normalise, log_sum
from vqlearn.probability.checks import check_level
from vqlearn.tokens import PatchDiscriminator, VectorQuantizer

# G1 ------------------------------------------------------------------------------
K, T = 2, 4
STRIDES = ((0, 1), (0, 4), (1, 2), (2, 4))
LOGITS = [row for row in product([0.0, -1.3, -torch.inf], repeat=K) if max(row) > -torch.inf]


def gradient(process, logits, x_t, s, t):
    """Of a weighted sum of everything that is possible."""
    logits = torch.tensor([[logits]], dtype=torch.float64, requires_grad=True)
    log_p = process.log_reverse(log_normalise(logits), torch.tensor([[x_t]]), s, t)[0, 0]
    weights = torch.linspace(0.3, 1.7, K + 1, dtype=torch.float64)
    (found,) = torch.autograd.grad((log_p * weights)[log_p.isfinite()].sum(), logits)
    return found


@pytest.mark.parametrize("preset", [*SCHEDULES.values(), multinomial])
@pytest.mark.parametrize(("s", "t"), STRIDES)
def test_a_prediction_of_zero_has_the_gradient_of_the_dense_process(preset, s, t):
    schedule = build_schedule(preset(K, T))
    short, dense = MaskAndReplace(schedule), mask_and_replace(schedule)
    compared = 0
    for logits, x_t in product(LOGITS, range(K + 1)):
        if schedule.gamma_bar[t] in (0, 1) and (x_t == K) == (schedule.gamma_bar[t] == 0):
            continue  # no token is masked there, or all are
        found = gradient(short, logits, x_t, s, t)
        assert found.isfinite().all(), (logits, x_t)
        assert torch.allclose(found, gradient(dense, logits, x_t, s, t), atol=1e-9)
        compared += 1
    assert compared >= len(LOGITS)


def test_the_smallest_case():
    """K = 2, T = 1: one of the two codes is impossible, and the other one is seen."""
    process = MaskAndReplace(build_schedule(multinomial(2, 1)))
    logits = torch.tensor([[[-torch.inf, 0.0]]], requires_grad=True)
    log_p = process.log_reverse(log_normalise(logits), torch.tensor([[1]]), 0, 1)
    log_p[0, 0, 1].backward()
    assert logits.grad.isfinite().all()


def test_a_sum_of_nothing_is_impossible_and_has_a_gradient():
    values = torch.tensor([[-torch.inf, -torch.inf], [0.0, -torch.inf]], requires_grad=True)
    total = log_sum(values)
    assert total.tolist() == [[-torch.inf], [0.0]]
    total[total.isfinite()].sum().backward()
    assert values.grad.tolist() == [[0.0, 0.0], [1.0, 0.0]]


def test_the_divergence_of_zeros_has_a_gradient_and_hides_no_nan():
    log_q = torch.tensor([0.0, -torch.inf], requires_grad=True)
    log_p = torch.tensor([0.5, 0.5]).log().requires_grad_()
    divergence = kl_divergence(log_q, log_p)
    assert divergence.item() == pytest.approx(torch.log(torch.tensor(2.0)).item())
    divergence.backward()
    assert log_q.grad.isfinite().all()
    assert log_p.grad.tolist() == [-1.0, 0.0]
    assert kl_divergence(torch.zeros(1), torch.tensor([-torch.inf])).item() == torch.inf
    assert kl_divergence(torch.tensor([torch.nan]), torch.zeros(1)).isnan()


def test_a_sum_near_the_smallest_float_keeps_its_digits():
    """In float64 a weight of e^-1300 still counts; a sum that lost its digits has no gradient."""
    weights = torch.tensor([[0.0, -1300.0]], dtype=torch.float64, requires_grad=True)
    matrix = torch.tensor([[0.0, 1.0], [1.0, 0.0]], dtype=torch.float64)
    found = log_matmul(weights, matrix)
    assert found[0].tolist() == pytest.approx([-1300.0, 0.0], abs=1e-9)
    (slope,) = torch.autograd.grad(found[0, 0], weights)
    assert slope[0].tolist() == pytest.approx([0.0, 1.0])
    lost = torch.tensor([[0.0, -1380.0]], dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(log_matmul(lost, matrix)[0, 0], lost)
    assert slope[0].tolist() == [0.0, 0.0]


def test_the_references_noise_is_finite_at_both_ends(monkeypatch):
    ends = torch.tensor([0.0, 1.0])
    monkeypatch.setattr(torch, "rand", lambda *size, **options: ends)
    noise = reference._gumbel(torch.zeros(2), None)
    assert noise.isfinite().all()
    assert noise[0] < -4 < 60 < noise[1]


@pytest.mark.parametrize("levels", [[5], [0, 5], [5, 5], [-1, 3]])
def test_one_wrong_level_among_many_is_refused(levels):
    with pytest.raises(ValueError, match=r"level t is (5|-1); allowed: 0 to 4"):
        check_level(torch.tensor(levels), T)


@pytest.mark.parametrize("tokens", [[3], [0, 3], [-1], [0, 1, 2, 3]])
def test_one_token_outside_of_the_codebook_is_refused(tokens):
    with pytest.raises(ValueError, match=r"a token is (3|-1); allowed: codes, 0 to 2"):
        VectorQuantizer(3, 2).lookup(torch.tensor(tokens))


def test_each_layer_of_the_discriminator_doubles_the_channels():
    convolutions = [
        layer for layer in PatchDiscriminator(channels=8, layers=3).layers if hasattr(layer, "bias")
    ]
    assert [layer.out_channels for layer in convolutions] == [8, 16, 32, 32, 1]


def test_extreme_schedules_and_predictions_equal_enumeration():
    found = fuzz_numbers.soak(count=200, seed=0)
    assert found == {"tried": 200, "survived": 200, "lost": 0, "foreign": 0}, found

"""Logarithms of probabilities: exact zeros, extreme numbers, gradients that stay finite."""

import pytest
import torch

from vqlearn.probability.log_probs import kl_divergence, log_add, log_normalise, log_one_hot

DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("num_classes", [1, 2, 300, 4097])
def test_log_normalise_survives_extreme_logits(dtype, num_classes):
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(8, num_classes, generator=generator)
    logits[1:4] *= 1e4
    logits[2, : num_classes // 2] = -torch.inf
    logits[4] = -1e4
    logits[5, -1] = torch.inf
    logits[6] = torch.inf
    log_p = log_normalise(logits.to(dtype))
    assert log_p.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    assert not log_p.isnan().any()
    assert (log_p.double().exp().sum(dim=-1) - 1).abs().max() < 1e-6


def test_log_normalise_equals_log_softmax_and_has_its_gradient():
    logits = torch.randn(5, 7, dtype=torch.float64, requires_grad=True)
    weights = torch.randn(5, 7, dtype=torch.float64)
    (ours,) = torch.autograd.grad((log_normalise(logits) * weights).sum(), logits)
    (torchs,) = torch.autograd.grad((logits.log_softmax(dim=-1) * weights).sum(), logits)
    assert torch.allclose(log_normalise(logits), logits.log_softmax(dim=-1), atol=1e-13, rtol=0)
    assert torch.allclose(ours, torchs, atol=1e-13, rtol=0)


def test_log_add_of_two_impossible_events_is_impossible_and_has_a_zero_gradient():
    a = torch.tensor([-torch.inf, 0.0, -torch.inf], requires_grad=True)
    b = torch.tensor([-torch.inf, -torch.inf, 1.0])
    total = log_add(a, b)
    assert total.tolist() == [-torch.inf, 0.0, 1.0]
    total[1:].sum().backward()
    assert a.grad.tolist() == [0.0, 1.0, 0.0]


def test_log_one_hot_is_exact():
    assert log_one_hot(torch.tensor([2]), 3, torch.float64).exp().tolist() == [[0, 0, 1]]


def test_kl_divergence_by_hand_and_at_its_edges():
    half = torch.tensor([0.5, 0.5], dtype=torch.float64).log()
    skewed = torch.tensor([0.75, 0.25], dtype=torch.float64).log()
    expected = 0.5 * torch.tensor(0.5 / 0.75).log() + 0.5 * torch.tensor(0.5 / 0.25).log()
    assert kl_divergence(half, skewed).item() == pytest.approx(expected.item(), abs=1e-7)
    certain = torch.tensor([1.0, 0.0], dtype=torch.float64).log()
    assert kl_divergence(certain, half).item() == pytest.approx(0.6931471805599453, abs=1e-15)
    assert kl_divergence(certain, certain).item() == 0
    assert kl_divergence(half, certain).item() == torch.inf

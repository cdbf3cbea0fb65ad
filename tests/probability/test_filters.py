"""Guidance and truncation, against definitions written out by hand."""

import pytest
import torch

from vqlearn.probability.filters import guide, top_p
from vqlearn.probability.log_probs import log_normalise


def p_x0s(*rows):
    return torch.tensor([rows], dtype=torch.float64).log()


def test_guidance_by_hand():
    conditional, unconditional = p_x0s([0.6, 0.3, 0.1]), p_x0s([0.2, 0.3, 0.5])
    weights = [0.6**3 / 0.2**2, 0.3**3 / 0.3**2, 0.1**3 / 0.5**2]  # c^3 / u^2 at scale 3
    expected = torch.tensor(weights, dtype=torch.float64) / sum(weights)
    found = guide(conditional, unconditional, 3.0).exp()[0, 0]
    assert torch.allclose(found, expected, atol=1e-14, rtol=0)


def test_scale_one_is_the_conditional_and_scale_zero_the_unconditional_p_x0():
    conditional, unconditional = p_x0s([0.6, 0.3, 0.1]), p_x0s([0.2, 0.3, 0.5])
    assert torch.allclose(guide(conditional, unconditional, 1.0), conditional, atol=1e-14)
    assert torch.allclose(guide(conditional, unconditional, 0.0), unconditional, atol=1e-14)


@pytest.mark.parametrize("scale", [0.0, 1.0, 5.0, 100.0])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_guidance_of_extreme_p_x0s_has_no_nan(scale, dtype):
    extreme = torch.tensor([1e4, -1e4, 0.0, -torch.inf])
    conditional = log_normalise(extreme[None, None].to(dtype))
    unconditional = log_normalise(extreme.flip(0)[None, None].to(dtype))
    guided = guide(conditional, unconditional, scale)
    assert not guided.isnan().any()
    assert guided.double().exp().sum(dim=-1).item() == pytest.approx(1, abs=1e-6)
    assert guided[0, 0, 3] == -torch.inf  # excluded by the caption, whatever else


def test_truncation_keeps_the_smallest_set_that_reaches_the_rate():
    p_x0 = p_x0s([0.1, 0.5, 0.15, 0.25])
    for rate, kept in [(0.4, [1]), (0.5, [1]), (0.6, [1, 3]), (0.75, [1, 3]), (0.8, [1, 2, 3])]:
        found = top_p(p_x0, rate).exp()[0, 0]
        assert found.nonzero()[:, 0].tolist() == kept
        whole = p_x0.exp()[0, 0, kept]
        assert torch.allclose(found[kept], whole / whole.sum(), atol=1e-14, rtol=0)


def test_truncation_against_a_plain_loop():
    generator = torch.Generator().manual_seed(0)
    p_x0 = log_normalise(2 * torch.randn(2, 5, 30, generator=generator, dtype=torch.float64))
    for rate in (0.05, 0.5, 0.86, 0.999):
        found = top_p(p_x0, rate)
        for row, cut in zip(p_x0.flatten(0, 1), found.flatten(0, 1), strict=True):
            kept, mass = [], 0.0
            for index in sorted(range(30), key=lambda k: -row[k].item()):
                if mass < rate:
                    kept.append(index)
                    mass += row[index].exp().item()
            assert cut.isfinite().nonzero()[:, 0].tolist() == sorted(kept)


def test_a_rate_of_one_cuts_nothing_and_a_tiny_rate_keeps_the_best_code():
    p_x0 = log_normalise(torch.randn(1, 3, 50))
    assert torch.equal(top_p(p_x0, 1.0), p_x0)
    best = top_p(p_x0, 1e-9)
    assert torch.equal(best.argmax(dim=-1), p_x0.argmax(dim=-1))
    assert best.isfinite().sum() == 3


@pytest.mark.parametrize("rate", [0.0, -0.5, 1.01, float("nan")])
def test_rates_out_of_range_are_refused(rate):
    with pytest.raises(ValueError, match="top_p is"):
        top_p(p_x0s([0.5, 0.5]), rate)

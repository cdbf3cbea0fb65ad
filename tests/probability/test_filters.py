"""Guidance, temperature, top-k and top-p, against definitions written out by hand."""

import math

import pytest
import torch

from vqlearn.probability.filters import guide, temperature, top_k, top_p
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


@pytest.mark.parametrize("scale", [-1e-9, -2.0, math.inf, -math.inf, math.nan])
def test_guidance_refuses_a_scale_below_0_and_one_that_is_not_finite(scale):
    p = p_x0s([0.6, 0.3, 0.1]).expand(2, -1, -1)
    for each in (scale, torch.tensor([[[1.0]], [[scale]]])):
        with pytest.raises(ValueError, match=r"guidance_scale is .*; allowed: finite numbers"):
            guide(p, p, each)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_scale_for_each_sequence_is_that_number_for_each(dtype):
    generator = torch.Generator().manual_seed(0)
    scores = 3 * torch.randn(2, 3, 4, 5, generator=generator, dtype=torch.float64)
    conditional, unconditional = log_normalise(scores).to(dtype)
    scales = [0.0, 1.3, 40.0]
    found = guide(conditional, unconditional, torch.tensor(scales).double()[:, None, None])
    assert found.dtype == dtype
    for i, scale in enumerate(scales):
        torch.testing.assert_close(found[i], guide(conditional[i], unconditional[i], scale))


def test_truncation_keeps_the_smallest_set_that_reaches_the_rate():
    p_x0 = p_x0s([0.1, 0.5, 0.15, 0.25])
    for rate, kept in [(0.4, [1]), (0.5, [1]), (0.6, [1, 3]), (0.75, [1, 3]), (0.8, [1, 2, 3])]:
        found = top_p(p_x0, rate).exp()[0, 0]
        assert found.nonzero()[:, 0].tolist() == kept
        whole = p_x0.exp()[0, 0, kept]
        assert torch.allclose(found[kept], whole / whole.sum(), atol=1e-14, rtol=0)


def test_truncation_without_renormalisation_leaves_what_it_keeps():
    p_x0 = p_x0s([0.1, 0.5, 0.15, 0.25])
    found = top_p(p_x0, 0.6, renormalised=False)
    assert torch.equal(found[..., [1, 3]], p_x0[..., [1, 3]])
    assert found[..., [0, 2]].isneginf().all()


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
    rounded = torch.tensor([[[0.0, -40.0, -80.0]]])  # the first code alone has a sum of 1
    assert torch.equal(top_p(rounded, 1.0), rounded)
    best = top_p(p_x0, 1e-9)
    assert torch.equal(best.argmax(dim=-1), p_x0.argmax(dim=-1))
    assert best.isfinite().sum() == 3


@pytest.mark.parametrize("rate", [0.0, -0.5, 1.01, float("nan")])
def test_rates_out_of_range_are_refused(rate):
    with pytest.raises(ValueError, match="top_p is"):
        top_p(p_x0s([0.5, 0.5]), rate)


DISTRIBUTION = torch.tensor([0.125, 0.5, 0.125, 0.25], dtype=torch.float64)
BY_HAND = {"temperature": (temperature, 0.5), "top_k": (top_k, 2), "top_p": (top_p, 0.75)}


@pytest.mark.parametrize(
    ("function", "value", "expected"),
    [
        (temperature, 1.0, DISTRIBUTION),
        (temperature, 0.5, torch.tensor([1, 16, 1, 4]) / 22),
        (temperature, 1e6, torch.full((4,), 0.25)),
        (temperature, 1e-300, torch.tensor([0, 1, 0, 0])),
        (top_k, 1, torch.tensor([0, 1, 0, 0])),
        (top_k, 2, torch.tensor([0, 2, 0, 1]) / 3),
        (top_k, 3, torch.tensor([1, 4, 0, 2]) / 7),
        (top_k, 4, DISTRIBUTION),
        (top_p, 0.01, torch.tensor([0, 1, 0, 0])),
        (top_p, 0.5, torch.tensor([0, 1, 0, 0])),
        (top_p, 0.51, torch.tensor([0, 2, 0, 1]) / 3),
        (top_p, 0.75, torch.tensor([0, 2, 0, 1]) / 3),
        (top_p, 1.0, DISTRIBUTION),
    ],
)
def test_filters_by_hand(function, value, expected):
    found = function(DISTRIBUTION.log(), value)
    torch.testing.assert_close(found.exp(), expected.double(), rtol=1e-6, atol=1e-6)
    assert (found.exp() == 0).tolist() == (expected == 0).tolist()


def test_of_equal_codes_the_lower_number_is_kept():
    """Also among many, where a sort that is not stable mixes them."""
    even = torch.full((5000,), 1 / 5000).log()
    for count in (1, 2, 17, 2500, 4999, 5000):
        kept = top_k(even, count).isfinite()
        assert kept[:count].all()
        assert kept.sum() == count


@pytest.mark.parametrize("name", BY_HAND)
def test_filters_take_any_shape_and_every_distribution_on_its_own(name):
    function, value = BY_HAND[name]
    generator = torch.Generator().manual_seed(0)
    log_p = torch.randn(2, 3, 5, 3, generator=generator, dtype=torch.float64).log_softmax(dim=-1)
    together = function(log_p, value)
    assert together.shape == log_p.shape
    torch.testing.assert_close(together.exp().sum(-1), torch.ones(2, 3, 5, dtype=torch.float64))
    for index in ((0, 0, 0), (1, 2, 4), (0, 2, 3)):
        alone = function(log_p[index], value)
        assert alone.shape == (3,)
        torch.testing.assert_close(together[index], alone, rtol=1e-12, atol=1e-12)
    assert function(log_p.float(), value).dtype == torch.float32
    assert function(log_p[:0], value).shape == (0, 3, 5, 3)


@pytest.mark.parametrize("name", BY_HAND)
def test_impossible_codes_stay_impossible(name):
    function, value = BY_HAND[name]
    log_p = torch.tensor([0.5, 0.0, 0.0, 0.5]).log()
    found = function(log_p, value)
    torch.testing.assert_close(found.exp(), log_p.exp())
    assert torch.isneginf(found).tolist() == [False, True, True, False]


def test_the_order_of_filters_matters():
    """Cold first, the likeliest code alone has 16/22 > 0.7; cut first, two codes are left."""
    cold_first = top_p(temperature(DISTRIBUTION.log(), 0.5), 0.7)
    cut_first = temperature(top_p(DISTRIBUTION.log(), 0.7), 0.5)
    torch.testing.assert_close(cold_first.exp(), torch.tensor([0, 1, 0, 0]).double())
    torch.testing.assert_close(cut_first.exp(), torch.tensor([0, 4, 0, 1]).double() / 5)


@pytest.mark.parametrize("value", [0.0, -1.0, math.inf, math.nan, 1e-50])
def test_a_bad_temperature_raises(value):
    """1e-50 is 0 in float32."""
    with pytest.raises(ValueError, match=rf"temperature is {value}; allowed: finite numbers from"):
        temperature(DISTRIBUTION.log().float(), value)


@pytest.mark.parametrize("value", [0, -1, 5])
def test_a_bad_top_k_raises(value):
    with pytest.raises(ValueError, match=f"top_k is {value}; allowed: 1 to 4, the number of codes"):
        top_k(DISTRIBUTION.log(), value)


@pytest.mark.parametrize("value", [0.0, -0.1, 1.1, math.nan])
def test_a_bad_top_p_raises(value):
    with pytest.raises(ValueError, match=f"top_p is {value}; allowed: above 0, up to 1"):
        top_p(DISTRIBUTION.log(), value)

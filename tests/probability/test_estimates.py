"""Intervals against known values and against SciPy."""

import math

import pytest
import torch
from scipy import stats

from vqlearn.probability import estimates
from vqlearn.probability.estimates import Estimate


def difference(first, second):
    """Of two shares, each as so many of so many."""
    shares = (Estimate.of_share(*first), Estimate.of_share(*second))
    return estimates.linear_combination(list(zip((1, -1), shares, strict=True)))


@pytest.mark.parametrize(
    ("first", "second", "low", "high"),
    [
        ((56, 70), (48, 80), 0.0524, 0.3339),
        ((9, 10), (3, 10), 0.1705, 0.8090),
        ((10, 10), (0, 10), 0.6075, 1.0000),
    ],
)
def test_a_difference_of_shares_has_the_interval_of_newcombe(first, second, low, high):
    """Method 10 of Newcombe 1998, as published."""
    found = difference(first, second)
    assert (found.low, found.high) == pytest.approx((low, high), abs=1e-4)
    assert found.value == pytest.approx(first[0] / first[1] - second[0] / second[1])


def test_a_difference_of_means_has_the_normal_interval():
    one, two = Estimate.of_mean(2.0, 0.3), Estimate.of_mean(1.5, 0.4)
    found = estimates.linear_combination([(1, one), (-1, two)])
    expected = stats.norm.interval(0.95, loc=0.5, scale=0.5)
    assert found == pytest.approx((0.5, *expected), abs=1e-6)


def test_ends_change_places_under_a_negative_factor():
    skew = Estimate(2.0, 1.0, 6.0)
    assert estimates.linear_combination([(-10, skew)]) == Estimate(-20, -60, -10)
    both = estimates.linear_combination([(1, Estimate(0, -3, 4)), (2, Estimate(1, -1, 2.5))])
    assert both == pytest.approx((2, 2 - 5, 2 + 5))


def test_models_on_the_same_items_make_an_interval_no_narrower():
    same = [Estimate(0.5, 0.4, 0.6)] * 3
    assert estimates.average_estimate(same) == pytest.approx(same[0])
    assert estimates.average_estimate([Estimate(1, 0, 4), Estimate(3, 2, 6)]) == (2, 1, 5)


def test_few_values_have_the_interval_of_student():
    values = [1.0, 2.0, 4.0]
    low, high = stats.t.interval(0.95, 2, loc=stats.tmean(values), scale=stats.sem(values))
    assert estimates.student_interval(values) == pytest.approx((7 / 3, low, high))
    with pytest.raises(ValueError, match="the number of values is 2"):
        estimates.student_interval(values[:2])


def test_intervals_hold_the_truth_as_often_as_they_say():
    """2,000 differences of two shares of 100: at 95 %, five standard errors are 2.4 %."""
    generator = torch.Generator().manual_seed(0)
    p, q = 0.9, 0.7
    counts = torch.binomial(
        torch.full((2, 2000), 100.0), torch.tensor([[p], [q]]).expand(2, 2000), generator=generator
    )
    found = [difference((a, 100), (b, 100)) for a, b in counts.T.tolist()]
    held = sum(each.low <= p - q <= each.high for each in found) / 2000
    assert abs(held - 0.95) < 5 * math.sqrt(0.95 * 0.05 / 2000)

"""Effects over test items and over seeds."""

import pytest
from support.face_off_reports import put, typed, whole_report

from vqlearn.experiments.face_off.results import effects
from vqlearn.experiments.face_off.results.effects import Effect, combined, effect
from vqlearn.experiments.face_off.results.numbers import Seeds
from vqlearn.probability.estimates import Estimate, student_interval


def of_means(*values, error=0.1):
    return {seed: Estimate.of_mean(value, error) for seed, value in enumerate(values)}


def test_seeds_on_the_same_items_make_the_interval_no_narrower():
    one, three = effect(of_means(2.0)), effect(of_means(1.0, 2.0, 3.0))
    assert three.estimate == pytest.approx(one.estimate)
    assert three.seeds == Seeds({0: 1.0, 1: 2.0, 2: 3.0})


def test_a_difference_is_unpaired_and_of_common_seeds():
    found = effect(of_means(5.0, 7.0, 100.0), of_means(1.0, 2.0))
    assert found.seeds == Seeds({0: 4.0, 1: 5.0})
    half = 1.959964 * 2**0.5 * 0.1
    assert found.estimate == pytest.approx((4.5, 4.5 - half, 4.5 + half))
    with pytest.raises(ValueError, match=r"seeds \[\[0\], \[1\]\] have none in common"):
        effect({0: Estimate(1, 1, 1)}, {1: Estimate(1, 1, 1)})


def test_a_sum_of_four_terms():
    terms = [(1, of_means(4.0)), (-1, of_means(3.0)), (-1, of_means(2.0)), (1, of_means(9.0))]
    found = combined(terms)
    assert found.seeds.values == (8.0,)
    assert found.estimate.high - 8 == pytest.approx(1.959964 * 0.2)


def test_only_three_seeds_have_an_interval_of_their_own():
    assert effect(of_means(1.0, 2.0)).over_seeds is None
    found = effect(of_means(1.0, 2.0, 4.0))
    assert found.over_seeds == student_interval([1.0, 2.0, 4.0])
    assert found.seeds_text(".1f") == "1.0, 2.0, 4.0 [-1.5, 6.1]"
    assert effect(of_means(1.0, 2.0)).seeds_text(".1f") == "1.0, 2.0"


def test_another_unit():
    found = Effect(Estimate(0.5, 0.4, 0.7), Seeds({0: 0.5})).times(100)
    assert found.text(".0f") == "50 [40, 70]"
    assert found.seeds.values == (50.0,)


def test_what_rounds_to_zero_has_no_sign():
    found = Effect(Estimate(-0.0004, -0.002, 0.001), Seeds({0: -0.0004, 1: -0.0014}))
    assert found.text(".3f") == "0.000 [-0.002, 0.001]"
    assert found.seeds_text(".3f") == "0.000, -0.001"


def test_an_image_is_one_trial_however_many_tokens_it_has():
    report = whole_report()
    put(report, "errors", "raster", ("by_amount", "0.4", "changed_share"), (0.1, 0.2, 0.3))
    found = effects.token_share("changed", typed(report), "raster", "0.4")
    assert found == {seed: Estimate.of_share(10 * (seed + 1), 100) for seed in (0, 1, 2)}


def test_characters_are_measured_above_their_entropy():
    report = whole_report()
    put(report, "captions", "uniform", ("bits", "mean"), (7.0, 7.0, 7.0))
    found = effects.character_bits(typed(report), "uniform")
    assert found == dict.fromkeys((0, 1, 2), Estimate.of_mean(0.1, 0.01))

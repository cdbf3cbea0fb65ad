"""Numbers out of a report of the face-off, over its seeds."""

import pytest
from support.face_off_reports import put, put_right, typed, whole_report

from vqlearn.experiments.face_off.costs import Cost
from vqlearn.experiments.face_off.exposure_bias import ExposureBiasRun
from vqlearn.experiments.face_off.inpainting import DirectionsRun
from vqlearn.experiments.face_off.quality import QualityRun
from vqlearn.experiments.face_off.results import numbers
from vqlearn.experiments.face_off.results.numbers import (
    Seeds,
    cost,
    letter_bits,
    measured,
    right,
)
from vqlearn.experiments.report import Report
from vqlearn.experiments.systems import LABELS, SYSTEMS, VARIANTS


@pytest.fixture
def report():
    return whole_report()


def corrected(report, system, amount="one"):
    return numbers.corrected(typed(report), system, amount).values


def test_seeds_have_a_mean_and_ends():
    seeds = Seeds({2: 5.0, 0: 3.0, 1: 1.0})
    assert seeds.values == (3.0, 1.0, 5.0)
    assert seeds.mean == 3.0
    assert seeds.text(".1f") == "3.0 (1.0 to 5.0)"
    assert seeds.text(".0f") == "3 (1 to 5)"
    assert Seeds({1: 0.25}).text(".2f") == "0.25"
    assert Seeds({1: 0.25}).percent() == Seeds({1: 25.0})


def test_seeds_are_subtracted_one_by_one():
    gaps = Seeds({0: 3.0, 1: 1.0, 2: 5.0}).minus(Seeds({2: 7.0, 0: 1.0}))
    assert gaps == Seeds({0: 2.0, 2: -2.0})  # of those that both have
    with pytest.raises(ValueError, match=r"seeds \[0\] and \[1\] have none in common"):
        Seeds({0: 3.0}).minus(Seeds({1: 1.0}))


def test_a_number_of_every_seed_in_order(report):
    put(report, "errors", "raster", ("by_amount", "0.2", "corrected_share"), (0.1, 0.2, 0.3))
    assert corrected(report, "raster", "0.2") == (0.1, 0.2, 0.3)
    del report["errors/raster/1"]
    assert corrected(report, "raster", "0.2") == (0.1, 0.3)


def test_a_name_is_not_the_beginning_of_another(report):
    """vq-diffusion-paper is not vq-diffusion, absorbing-auxiliary-0 is not absorbing."""
    path = ("by_amount", "one", "corrected_share")
    put(report, "errors", "vq-diffusion-paper", path, (9.0, 9.0, 9.0))
    assert corrected(report, "vq-diffusion") == (0.25,) * 3
    assert len(letter_bits(typed(report), "absorbing").values) == 3


def test_what_was_not_run_is_named(report):
    with pytest.raises(KeyError, match="none of the runs errors/causal/0, errors/causal/1"):
        corrected(report, "causal")


def test_right_captions_by_way_and_steps(report):
    put_right(report, "raster", "held_out", (True, None), (0.1, 0.2, 0.3))
    put_right(report, "absorbing", "seen", (True, 25), (0.6, 0.7, 0.8))
    put_right(report, "absorbing", "seen", (True, 5), (0.9,))
    read = typed(report)
    for steps in (25, 5):  # a raster network has no choice
        assert right(read, "raster", "held_out", steps=steps).values == (0.1, 0.2, 0.3)
    assert right(read, "raster", "held_out", guided=False).values == (0.5,) * 3
    assert right(read, "raster", "seen").values == (0.5,) * 3
    assert right(read, "absorbing", "seen").values == (0.6, 0.7, 0.8)
    assert right(read, "absorbing", "seen", steps=5).values == (0.9,)  # the first seed only
    with pytest.raises(KeyError, match="no seed of direct was sampled guided=True with 25 steps"):
        right(read, "direct", "seen")
    with pytest.raises(KeyError, match="no seed of absorbing was sampled guided=True with 7 steps"):
        right(read, "absorbing", "seen", steps=7)


def test_who_was_measured_in_the_order_of_the_labels(report):
    assert set(LABELS) == {*SYSTEMS, *VARIANTS}
    assert measured(typed(report), QualityRun) == list(LABELS)
    assert measured(typed(report), DirectionsRun) == [
        *("vq-diffusion", "vq-diffusion-paper", "absorbing", "multinomial"),
        *("raster", "imagebart", "causal"),
    ]
    names = ("quality/raster/2", "quality/absorbing/0", "errors/raster/0")
    some = typed({name: report[name] for name in names})
    assert measured(some, QualityRun) == ["absorbing", "raster"]
    assert measured(some, ExposureBiasRun) == []


def test_a_cost_by_way_and_length(report):
    report["cost/raster guided/256"]["result"]["seconds_per_image"]["8"] = 7.5
    read = typed(report)
    assert cost(read, "raster guided", 256).seconds_per_image["8"] == 7.5
    assert cost(read, "raster", 256) == Cost({"1": 1.0, "8": 0.5, "32": 0.25}, 2_000_000_000)
    with pytest.raises(KeyError, match="cost/raster/64"):
        cost(Report("a command"), "raster", 64)

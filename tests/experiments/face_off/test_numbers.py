"""Numbers out of a report of the face-off, over its seeds."""

import pytest
from support.face_off_reports import put, put_right, typed, whole_report

from vqlearn.experiments.face_off.costs import Cost
from vqlearn.experiments.face_off.exposure_bias import ExposureBiasRun
from vqlearn.experiments.face_off.inpainting import DirectionsRun
from vqlearn.experiments.face_off.letters import LetterRun
from vqlearn.experiments.face_off.quality import QualityRun
from vqlearn.experiments.face_off.results import numbers
from vqlearn.experiments.face_off.results.numbers import (
    Seeds,
    accuracies,
    cost,
    measured,
    readable,
)
from vqlearn.experiments.report import Report
from vqlearn.experiments.systems import LABELS, SYSTEMS, VARIANTS


@pytest.fixture
def report():
    return whole_report()


def corrected(report, system, amount="one"):
    path = ("by_amount", amount, "corrected_share")
    return numbers.with_errors(typed(report), system, None, *path).values


def test_seeds_have_a_mean():
    seeds = Seeds({2: 5.0, 0: 3.0, 1: 1.0})
    assert seeds.values == (3.0, 1.0, 5.0)
    assert seeds.mean == 3.0
    assert Seeds({1: 0.25}).percent() == Seeds({1: 25.0})


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
    assert set(numbers.results_of(typed(report), LetterRun, "absorbing")) == {0, 1, 2}


def test_what_was_not_run_is_named(report):
    with pytest.raises(KeyError, match="none of the runs errors/causal/0, errors/causal/1"):
        corrected(report, "causal")


def test_accuracy_by_way_and_steps(report):
    put_right(report, "raster", "held_out", (True, None), (0.1, 0.2, 0.3))
    put_right(report, "absorbing", "seen", (True, 25), (0.6, 0.7, 0.8))
    put_right(report, "absorbing", "seen", (True, 5), (0.9,))
    read = typed(report)

    def shares(*way):
        return tuple(each.share for each in accuracies(read, *way).values)

    for steps in (25, 5):  # a raster network has no choice
        assert shares("raster", "held_out", True, steps) == (0.1, 0.2, 0.3)
    assert shares("raster", "held_out", False, 25) == shares("raster", "seen", True, 25)
    assert shares("raster", "seen", True, 25) == (0.5,) * 3
    assert shares("absorbing", "seen", True, 25) == (0.6, 0.7, 0.8)
    assert shares("absorbing", "seen", True, 5) == (0.9,)  # the first seed only
    with pytest.raises(KeyError, match="no seed of direct was sampled guided=True with 25 steps"):
        shares("direct", "seen", True, 25)
    with pytest.raises(KeyError, match="no seed of absorbing was sampled guided=True with 7 steps"):
        shares("absorbing", "seen", True, 7)


def test_an_image_may_be_unreadable(report):
    found = report["quality/raster/1"]["result"]["by_composition"]["seen"]["sampled"]
    (part,) = [each for each in found if each["guided"]]
    part["accuracy"]["unreadable"] = 30
    read = readable(typed(report), "raster", "seen", guided=True, steps=25)
    assert read.values == (1.0, 0.7, 1.0)


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

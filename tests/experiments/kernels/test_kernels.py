"""Every kernel on the same data: what is measured, the plots."""

import math
from dataclasses import replace

import pytest
from PIL import Image

from vqlearn.diffusion.objective import prior_term
from vqlearn.evaluation.caption_entropy import CaptionDistribution
from vqlearn.experiments import style
from vqlearn.experiments.data import LEVELS, SHOWN, Budget
from vqlearn.experiments.kernels.runs import RUNS
from vqlearn.experiments.kernels.study import STUDY
from vqlearn.experiments.sequences import DenoiserSize
from vqlearn.training.recipes import Recipe

TINY = Budget(
    Recipe(steps=2, batch_size=4, learning_rate=1e-6, ema_decay=0.9, warmup_steps=1),
    test_rows=6,
    samples=5,
)
TINY_RUNS = [replace(run, budget=TINY, size=DenoiserSize(5, 8, 1, 2)) for run in RUNS]
TINY_STUDY = replace(STUDY, runs=TINY_RUNS)
CLASSES = {"captions": 25, "digits": 17, "binary": 2}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The whole command at the smallest size: it takes two seconds."""
    folder = tmp_path_factory.mktemp("kernels") / "figures"
    TINY_STUDY.run(folder)
    return folder


@pytest.fixture(scope="module")
def report(folder):
    return TINY_STUDY.read(folder)


@pytest.fixture(scope="module")
def results(report):
    return [(run, report.runs[run.id].result) for run in TINY_STUDY.runs]


def test_the_report_holds_every_run_and_all_data(report):
    assert list(report.runs) == [run.id for run in RUNS]
    assert list(report.data) == list(CLASSES)
    assert TINY_STUDY.missing(report) == []


def test_the_networks_differ_only_in_what_they_read_and_predict(report):
    """10 weights of width 8 for each more class that is read, 9 for each more that is predicted."""
    weights = {id: record.result.weights for id, record in report.runs.items()}
    assert weights["digits/uniform"] == weights["digits/gaussian"]
    assert weights["digits/absorbing"] - weights["digits/uniform"] == 8
    assert weights["digits/gaussian"] - weights["digits/gaussian-logistic"] == 9 * (17 - 2)
    assert weights["captions/absorbing"] - weights["digits/absorbing"] == 8 * (31 + 8) + 9 * 8


def test_a_network_that_knows_nothing_costs_a_uniform_guess(report):
    """Of masks alone; five standard errors of the number of masks that happened to be drawn."""
    for data, classes in CLASSES.items():
        result = report.runs[f"{data}/absorbing"].result
        bits = result.bits_per_position or result.bits
        assert abs(bits.mean - math.log2(classes)) < 5 * bits.standard_error
        assert bits.standard_error < 0.3 * bits.mean


def test_no_bound_is_below_the_floor(report, results):
    for run, result in results:
        if run.data == "captions":
            assert result.bits_above_floor.mean > 0
            assert result.bits.mean > report.data["captions"].floor


def test_samples_are_counted_and_shown(results):
    distribution = CaptionDistribution("seen")
    for run, result in results:
        samples = result.samples
        if run.data == "captions":
            assert len(samples.shown) == TINY.samples
            assert samples.parsed.total == samples.possible.total == TINY.samples
            possible = sum(distribution.probability(text) > 0 for text in samples.shown)
            assert samples.possible.right == possible
        else:
            assert len(samples.shown) == SHOWN
            assert {len(text) for text in samples.shown} == {64}
            assert set("".join(samples.shown)) <= set(LEVELS[: CLASSES[run.data]])


@pytest.mark.parametrize("run", RUNS, ids=lambda run: run.id)
def test_the_kernels_forget_the_data_and_begin_gently(run):
    """At the size of the command: at most 0.002 bits are left at T, and level 1 moves under 5 %."""
    data = STUDY.data[run.data](TINY)
    process = run.fresh(data).process
    assert process.num_codes == data.num_codes
    assert process.num_timesteps == 100
    assert float(prior_term(process, data.test).mean()) / math.log(2) < 2e-3
    stay = process.log_marginal(data.test, 1).exp().gather(-1, data.test[..., None])
    assert 0.95 < float(stay.mean()) < 1 - 1e-4


def test_a_run_measured_again_is_the_same(report):
    (run,) = (run for run in TINY_STUDY.runs if run.name == "gaussian-logistic")
    data, seconds = STUDY.data["digits"](TINY), {"training_seconds": 0, "sampling_seconds": 0.0}
    again, stored = run.measure(data), report.runs[run.id].result
    assert replace(again, **seconds) == replace(stored, **seconds)
    other = replace(run, budget=run.budget.with_seed(1))
    assert other.measure(data).bits != stored.bits


def test_another_size_or_budget_is_another_run(report):
    for run in TINY_STUDY.runs:
        longer = replace(TINY, recipe=replace(TINY.recipe, steps=3))
        for other in (replace(run, size=DenoiserSize()), replace(run, budget=longer)):
            assert TINY_STUDY.missing(report, [other]) == [run.id]


def test_both_plots_are_made(folder):
    for name in ("kernels_bits.png", "kernels_samples.png"):
        with Image.open(folder / name) as image:
            assert min(image.size) > 600


def test_the_plot_of_bits_shows_every_number(report):
    rows = style.bits_rows(report, TINY_STUDY.runs, "captions")
    runs = [run.name for run in RUNS if run.data == "captions"]
    grams = ("uniform guess", "1-gram", "3-gram", "5-gram")
    assert list(rows) == [*grams, *runs, "floor: the entropy"]
    assert rows["absorbing"][:2] == report.runs["captions/absorbing"].result.bits
    assert rows["floor: the entropy"][0] == report.data["captions"].floor
    binary = style.bits_rows(report, TINY_STUDY.runs, "binary")
    assert list(binary)[-2:] == ["binomial", "absorbing"]


def test_the_stored_runs_lie_between_the_floor_and_a_uniform_guess(stored_folder):
    report = STUDY.read(stored_folder)
    assert list(report.runs) == [run.id for run in RUNS]
    for run in RUNS:
        facts, bits = report.data[run.data], report.runs[run.id].result.bits.mean
        assert (facts.floor or 0) < bits < facts.baselines["uniform guess"]

"""Letters in the face-off: one budget, one order of batches, one set of test captions; the plot."""

import math
from dataclasses import replace

import matplotlib.pyplot as plt
import pytest
import torch
from PIL import Image

from vqlearn.data.characters import NUM_CLASSES, decode
from vqlearn.experiments import sequences, style
from vqlearn.experiments.data import Budget, Captions
from vqlearn.experiments.face_off import letters
from vqlearn.experiments.face_off.letters import KERNELS, SYSTEMS, letter_runs
from vqlearn.experiments.face_off.results import plots
from vqlearn.experiments.processes import PROCESSES, Codes
from vqlearn.experiments.report import Facts, Record, Report, Samples
from vqlearn.experiments.runner import Study
from vqlearn.experiments.sequences import (
    DEFAULT_SIZE,
    DenoiserSize,
    Learned,
    count_weights,
)
from vqlearn.probability.estimates import Bits
from vqlearn.training.recipes import Recipe

TINY = Budget(
    Recipe(steps=2, batch_size=4, learning_rate=1e-6, ema_decay=0.9, warmup_steps=1),
    test_rows=6,
    samples=5,
)
RUNS = {run.id: run for run in letter_runs()}
TINY_RUNS = {run.id: run for run in letter_runs(TINY, DenoiserSize(5, 8, 1, 2))}
STUDY = Study(
    "letters",
    tuple(TINY_RUNS.values()),
    {"captions": Captions},
    plot=lambda report, folder: style.save(plots.plot(report, "captions"), folder / "letters.png"),
)
FIRST = [f"captions/{system}/0" for system in SYSTEMS]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """All runs at the smallest size: a few seconds."""
    folder = tmp_path_factory.mktemp("letters") / "figures"
    STUDY.run(folder)
    return folder


@pytest.fixture(scope="module")
def report(folder):
    return STUDY.read(folder)


@pytest.fixture(scope="module")
def data():
    return Captions(TINY)


def network_of(system, data):
    """A fresh network at the size of the experiment."""
    return RUNS[f"captions/{system}/0"].run.build(data)


def test_every_system_has_three_seeds_and_every_other_weight_has_one():
    assert len(RUNS) == 6 * 3 + 4 * 2
    for name in ("raster/0", "imagebart/2", "uniform/1", "absorbing-auxiliary-0.01/0"):
        assert f"captions/{name}" in RUNS
    assert "captions/nearest-neighbour-auxiliary-0/0" in RUNS
    assert "captions/absorbing-auxiliary-0/1" not in RUNS


def test_the_budget_is_the_same_for_all_but_for_two_percent_of_the_weights(data):
    """Those of the denoiser of the study of kernels, without MASK."""
    weights = {system: count_weights(network_of(system, data)) for system in SYSTEMS}
    assert DenoiserSize(100, 96, 3, 4) == DEFAULT_SIZE
    for system, count in weights.items():
        assert count == pytest.approx(weights["uniform"], rel=0.02), system
    for id, run in RUNS.items():
        recipe = run.settings()["recipe"]
        assert recipe.pop("seed") == int(id[-1]) == run.seed
        assert recipe == {
            **{"steps": 3000, "batch_size": 32, "learning_rate": 2e-3},
            **{"ema_decay": 0.99, "warmup_steps": 100},
        }


def test_the_weight_of_the_auxiliary_loss_is_told_even_where_it_is_the_default():
    for kernel in KERNELS:
        names = [kernel, f"{kernel}-auxiliary-0", f"{kernel}-auxiliary-0.01"]
        for system, weight in zip(names, (5e-4, 0, 0.01), strict=True):
            run = RUNS[f"captions/{system}/0"]
            assert run.settings()["auxiliary_weight"] == run.run.auxiliary_weight == weight


def test_the_report_holds_every_run(report):
    assert list(report.runs) == list(TINY_RUNS)
    assert STUDY.missing(report) == []
    for record in report.runs.values():
        samples = record.result.samples
        assert samples.parsed.total == samples.possible.total == TINY.samples


def test_a_network_that_knows_nothing_costs_a_uniform_guess(report):
    """Exact bits of a raster transformer, which starts with small scores: within 5 %.

    Bounds are estimates that can only be higher: not more than five standard errors below.
    """
    guess = math.log2(NUM_CLASSES)
    for id, record in report.runs.items():
        bits = record.result.bits_per_position
        if id.startswith("captions/raster/"):
            assert bits.mean == pytest.approx(guess, rel=0.05)
        assert bits.mean > 0.95 * guess - 5 * bits.standard_error, id


def test_all_seeds_are_measured_on_the_same_captions(report, data):
    """A cost of zero for each shows the captions: minus their negative log-likelihood."""
    zero = data.bits(torch.zeros(len(data.test)))["bits_above_floor"].mean
    floor = report.data["captions"].floor_on_test
    assert -zero == pytest.approx(floor, abs=1e-4)
    for record in report.runs.values():
        gap = record.result.bits.mean - record.result.bits_above_floor.mean
        assert gap == pytest.approx(floor, abs=2e-4)


def test_all_systems_learn_the_same_batches_in_the_same_order(data, monkeypatch):
    seen, make = [], letters.caption_rows

    def recorded(count, **options):
        rows = make(count, **options)
        seen.append(decode(rows))
        return rows

    monkeypatch.setattr(letters, "caption_rows", recorded)
    before, learnt = data.rows, {}
    for id in [*FIRST, "captions/uniform/1", "captions/raster/1"]:
        seen.clear()
        TINY_RUNS[id].measure(data)
        learnt[id] = [*seen]
    assert data.rows is before
    first = learnt[FIRST[0]]
    assert [len(batch) for batch in first] == [TINY.recipe.batch_size] * TINY.recipe.steps
    assert first[0] != first[1]
    assert all(learnt[id] == first for id in FIRST)
    assert learnt["captions/uniform/1"] == learnt["captions/raster/1"] != first


@pytest.mark.parametrize("system", ["raster", "imagebart", "nearest-neighbour"])
def test_a_seed_decides_all_but_the_seconds(system, report, data):
    id, seconds = f"captions/{system}/1", {"training_seconds": None, "sampling_seconds": None}
    again, stored = TINY_RUNS[id].measure(data), report.runs[id].result
    assert replace(again, **seconds) == replace(stored, **seconds)
    assert again.bits != report.runs[f"captions/{system}/0"].result.bits


def test_every_kernel_learns_with_its_weight(data, monkeypatch):
    told, train = [], sequences.train

    def recorded(model, *parts, **options):
        told.append(model.auxiliary_weight)
        assert options == {"bfloat16": True, "validation": None, "stream": "sequences"}
        return train(model, *parts, **options)

    monkeypatch.setattr(sequences, "train", recorded)
    for kernel in KERNELS:
        for system in (kernel, f"{kernel}-auxiliary-0", f"{kernel}-auxiliary-0.01"):
            TINY_RUNS[f"captions/{system}/0"].measure(data)
    assert told == [5e-4, 0, 0.01] * len(KERNELS)


def test_the_kernels_are_what_their_names_say():
    distributions = {}
    for kernel in KERNELS:
        run = RUNS[f"captions/{kernel}/0"].run
        process = PROCESSES[run.process](Codes(NUM_CLASSES, 10), **run.options)
        distributions[kernel] = process.log_prior().exp()
    assert [len(distributions[kernel]) for kernel in KERNELS] == [26, 26, 25, 25]
    assert distributions["absorbing"][-1] == 1
    assert 0.5 < distributions["mask-and-replace"][-1] < 1
    for kernel in ("nearest-neighbour", "uniform"):
        torch.testing.assert_close(
            distributions[kernel], torch.full_like(distributions[kernel], 1 / NUM_CLASSES)
        )


def test_the_plot_is_made(folder):
    with Image.open(folder / "letters.png") as image:
        assert image.size[0] > 1000


def points(axes):
    """(x, y) of everything that is drawn with a bar."""
    lines = [container.lines[0] for container in axes.containers]
    return sorted((x, y) for line in lines for x, y in line.get_xydata().tolist())


def numbered(without=()):
    """Mean number i for run number i."""
    runs = {
        id: Record({}, Learned(1, Bits(float(i), 9.0), Samples(()), None, Bits(i - 0.5, 0.25)))
        for i, id in enumerate(RUNS)
        if id not in without
    }
    facts = Facts("bits per character", 25, {"5-gram": 0.75}, floor=0.4, floor_on_test=0.5)
    return Report("a command", {"captions": facts}, runs)


def test_every_seed_is_a_point_in_the_row_of_its_system():
    figure, axes = plt.subplots()
    plots.plot_systems(axes, numbered())
    drawn = points(axes)
    assert [x for x, _ in drawn] == list(range(18))
    assert [round(y) for _, y in drawn] == [position for position in range(6) for _ in range(3)]
    assert len({round(y, 6) for _, y in drawn}) == 18
    assert [label.get_text() for label in axes.get_yticklabels()] == list(SYSTEMS)
    lines = {
        line.get_label(): line.get_xdata()[0] for line in axes.lines if ":" in line.get_label()
    }
    assert lines == {"the true distribution: 0.500": 0.5, "5-gram: 0.750": 0.75}
    (bar,) = axes.containers[0].lines[2]
    (left, _), (right, _) = bar.get_segments()[0]
    assert right - left == pytest.approx(2 * 2 * 0.25)
    plt.close(figure)


def test_every_weight_is_a_point_over_its_number():
    figure, axes = plt.subplots()
    report = numbered()
    plots.plot_weights(axes, report)
    wanted = []
    for kernel in KERNELS:
        ids = [f"captions/{kernel}/{seed}" for seed in (0, 1, 2)]
        wanted += [(1.0, report.runs[id].result.bits.mean) for id in ids]
        for x, weight in ((0.0, "0"), (2.0, "0.01")):
            id = f"captions/{kernel}-auxiliary-{weight}/0"
            wanted.append((x, report.runs[id].result.bits.mean))
    assert points(axes) == sorted(wanted)
    assert [label.get_text() for label in axes.get_xticklabels()] == ["0", "0.0005", "0.01"]
    plt.close(figure)


def test_runs_that_are_missing_leave_a_gap():
    names = ("uniform/0", "raster/0", "raster/1", "raster/2", "absorbing-auxiliary-0/0")
    report = numbered(without={f"captions/{name}" for name in names})
    figure, (left, right) = plt.subplots(1, 2)
    plots.plot_systems(left, report)
    plots.plot_weights(right, report)
    assert len(points(left)) == 18 - 4
    assert len(points(right)) == 4 * 5 - 2
    assert {round(y) for _, y in points(left)} == {1, 2, 3, 4, 5}
    plt.close(figure)
    plots.plot(Report("a command", report.data), "captions")
    plt.close("all")

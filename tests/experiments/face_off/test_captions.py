"""Captions in the face-off: one budget, one order of batches, one set of test rows; the image."""

import json
import math
from dataclasses import replace
from functools import partial

import matplotlib.pyplot as plt
import pytest
import torch
from PIL import Image

from vqlearn.data.characters import LENGTH, NUM_CLASSES, decode
from vqlearn.experiments.autoregressive.sequence_runs import count_weights
from vqlearn.experiments.face_off import caption_plots, captions
from vqlearn.experiments.face_off.captions import (
    ALL,
    BUDGET,
    KERNELS,
    NAMES,
    SYSTEMS,
    VARIANTS,
    name_of,
)
from vqlearn.experiments.kernels import runs as family
from vqlearn.experiments.kernels.data import Budget
from vqlearn.experiments.runner import Experiment, world_of
from vqlearn.training.recipes import Recipe
from vqlearn.training.rows import autoregressive_nats, imagebart_nats
from vqlearn.transformer.sequence import SequenceConfig, SequenceDenoiser

TINY = Budget(
    Recipe(steps=2, batch_size=4, learning_rate=1e-6, ema_decay=0.9, warmup_steps=1),
    num_timesteps=5,
    width=8,
    num_layers=1,
    num_heads=2,
    test_rows=6,
    samples=5,
)
FIRST = [name_of(system, 0) for system in SYSTEMS]


def tiny_experiment():
    return Experiment(
        "a command",
        NAMES,
        settings=partial(captions.settings, budget=TINY),
        open_world=lambda kind: captions.open_world(TINY),
        measure=lambda name, world: captions.measure(name, world, TINY),
    )


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    """All runs at the smallest size: a few seconds."""
    file = tmp_path_factory.mktemp("captions") / "face_off.json"
    tiny_experiment().go_on(file, NAMES)
    return file


@pytest.fixture(scope="module")
def report(file):
    return json.loads(file.read_text())


@pytest.fixture(scope="module")
def world():
    return captions.open_world(TINY)


def network_of(system):
    """A fresh network at the size of the experiment."""
    learner = ALL[system]
    if isinstance(learner, captions.Writer):
        return learner.run.build(captions.open_world(TINY))
    classes = learner.run.kernel(NUM_CLASSES, 5, **learner.run.options).num_classes
    sizes = (BUDGET.num_timesteps, BUDGET.width, BUDGET.num_layers, BUDGET.num_heads)
    return SequenceDenoiser(SequenceConfig(NUM_CLASSES, classes, LENGTH, *sizes))


def test_every_system_has_three_seeds_and_every_other_weight_has_one():
    assert len(NAMES) == len(set(NAMES)) == 6 * 3 + 4 * 2
    assert {world_of(name) for name in NAMES} == {"captions"}
    for name in ("raster/0", "imagebart/2", "uniform/1", "absorbing-auxiliary-0.01/0"):
        assert f"captions/{name}" in NAMES
    assert "captions/nearest-neighbour-auxiliary-0/0" in NAMES
    assert "captions/absorbing-auxiliary-0/1" not in NAMES


def test_the_budget_is_the_same_for_all_but_for_two_percent_of_the_weights():
    """Those of the denoiser of `family`: 96 wide, 3 layers, 4 heads, without MASK."""
    weights = {system: count_weights(network_of(system)) for system in SYSTEMS}
    assert (BUDGET.width, BUDGET.num_layers, BUDGET.num_heads) == (96, 3, 4)
    for system, count in weights.items():
        assert count == pytest.approx(weights["uniform"], rel=0.02), system
    for name in NAMES:
        recipe = captions.settings(name)["recipe"]
        assert recipe.pop("seed") == int(name[-1])
        assert recipe == {
            **{"steps": 3000, "batch_size": 32, "learning_rate": 2e-3},
            **{"ema_decay": 0.99, "warmup_steps": 100},
        }


def test_settings_tell_the_runs_apart_and_survive_json():
    """Two kernels differ by their own name; the weight is told even where it is the default."""
    told = {name: json.dumps(captions.settings(name), sort_keys=True) for name in NAMES}
    assert len(set(told.values())) == len(NAMES)
    for name in NAMES:
        assert json.loads(told[name]) == captions.settings(name)
    for kernel in KERNELS:
        weights = [5e-4, 0, 0.01]
        names = [kernel, f"{kernel}-auxiliary-0", f"{kernel}-auxiliary-0.01"]
        for system, weight in zip(names, weights, strict=True):
            assert captions.settings(name_of(system, 0))["auxiliary_weight"] == weight


def test_the_report_holds_every_run_and_nothing_is_measured_twice(file, report, monkeypatch):
    assert list(report["runs"]) == list(NAMES)
    assert tiny_experiment().missing(report) == []
    monkeypatch.setattr(captions, "measure", None)
    before = file.read_text()
    tiny_experiment().go_on(file, NAMES)
    assert file.read_text() == before
    for name, run in report["runs"].items():
        assert run["settings"] == captions.settings(name, TINY)
        assert run["weights"] > 0
        for part in ("bits", "above_floor"):
            assert set(run[part]) == {"mean", "standard_error"}
        for part in ("parsed", "possible"):
            assert run["samples"][part]["total"] == TINY.samples


def test_a_network_that_knows_nothing_costs_a_uniform_guess(report):
    """Exact bits of a raster transformer, which starts with small scores: within 5 %.

    Bounds are estimates that can only be higher: not more than five standard errors below.
    """
    guess = math.log2(NUM_CLASSES)
    for seed in captions.SEEDS:
        bits = report["runs"][name_of("raster", seed)]["bits_per_position"]["mean"]
        assert bits == pytest.approx(guess, rel=0.05)
    for name, run in report["runs"].items():
        bits = run["bits_per_position"]
        assert bits["mean"] > 0.95 * guess - 5 * bits["standard_error"], name


def test_all_seeds_are_measured_on_the_rows_of_the_family(report, world):
    """A cost of zero for each row shows the rows: minus their negative log-likelihood."""
    assert torch.equal(world.test, family.WORLDS["captions"](TINY).test)
    zero = world.bits(torch.zeros(len(world.test)))["above_floor"]["mean"]
    floor = report["worlds"]["captions"]["floor_on_test_rows"]
    assert -zero == pytest.approx(floor, abs=1e-4)
    for run in report["runs"].values():
        gap = run["bits"]["mean"] - run["above_floor"]["mean"]
        assert gap == pytest.approx(floor, abs=2e-4)


def test_all_systems_learn_the_same_batches_in_the_same_order(world, monkeypatch):
    seen, make = [], captions.caption_rows

    def recorded(count, **options):
        rows = make(count, **options)
        seen.append(decode(rows))
        return rows

    monkeypatch.setattr(captions, "caption_rows", recorded)
    before, learnt = world.rows, {}
    for name in [*FIRST, name_of("uniform", 1), name_of("raster", 1)]:
        seen.clear()
        captions.measure(name, world, TINY)
        learnt[name] = [*seen]
    assert world.rows is before
    first = learnt[FIRST[0]]
    assert [len(batch) for batch in first] == [TINY.recipe.batch_size] * TINY.recipe.steps
    assert first[0] != first[1]
    assert all(learnt[name] == first for name in FIRST)
    assert learnt[name_of("uniform", 1)] == learnt[name_of("raster", 1)] != first


@pytest.mark.parametrize("system", ["raster", "imagebart", "nearest-neighbour"])
def test_a_seed_decides_all_but_the_seconds(system, report, world):
    again = json.loads(json.dumps(captions.measure(name_of(system, 1), world, TINY)))
    stored = dict(report["runs"][name_of(system, 1)])
    for run in (again, stored):
        run.pop("seconds", None)
    assert again == stored
    assert again["bits"] != report["runs"][name_of(system, 0)]["bits"]


def test_every_kernel_learns_with_the_weight_of_its_name(world, monkeypatch):
    told, train = [], family.train_sequences

    def recorded(*parts, auxiliary_weight):
        told.append(auxiliary_weight)
        return train(*parts, auxiliary_weight=auxiliary_weight)

    monkeypatch.setattr(family, "train_sequences", recorded)
    for kernel in KERNELS:
        for system in (kernel, f"{kernel}-auxiliary-0", f"{kernel}-auxiliary-0.01"):
            captions.measure(name_of(system, 0), world, TINY)
    assert told == [5e-4, 0, 0.01] * len(KERNELS)
    assert list(VARIANTS) == [f"{kernel}-auxiliary-{w}" for kernel in KERNELS for w in (0, 0.01)]


def test_the_kernels_are_what_their_names_say():
    distributions = {}
    for kernel in KERNELS:
        run = SYSTEMS[kernel].run
        distributions[kernel] = run.kernel(NUM_CLASSES, 10, **run.options).log_prior().exp()
    assert [len(distributions[kernel]) for kernel in KERNELS] == [26, 26, 25, 25]
    assert distributions["absorbing"][-1] == 1
    assert 0.5 < distributions["mask-and-replace"][-1] < 1
    for kernel in ("nearest-neighbour", "uniform"):
        torch.testing.assert_close(
            distributions[kernel], torch.full_like(distributions[kernel], 1 / NUM_CLASSES)
        )
    near = SYSTEMS["nearest-neighbour"].run
    assert near.kernel.make is family.letter_neighbours
    assert near.options == {"num_neighbours": 4}


@pytest.mark.parametrize(
    ("system", "nats"), [("raster", autoregressive_nats), ("imagebart", imagebart_nats)]
)
def test_half_precision_is_for_learning_only(system, nats, world):
    """Without gradients the same bits; with them other numbers, within 1 %, of the same draws."""
    network, fast = network_of(system), captions.in_bfloat16(nats)
    assert SYSTEMS[system].run.nats.__qualname__ == fast.__qualname__

    def generator():
        return torch.Generator().manual_seed(0)

    with torch.no_grad():
        exact = nats(network, world.test, generator())
        assert torch.equal(SYSTEMS[system].run.nats(network, world.test, generator()), exact)
    half = SYSTEMS[system].run.nats(network, world.test, generator())
    assert half.dtype == exact.dtype != torch.bfloat16
    assert not torch.equal(half, exact)
    torch.testing.assert_close(half, exact, rtol=0.01, atol=0)
    half.sum().backward()
    assert all(weight.grad.dtype == torch.float32 for weight in network.parameters())


def test_the_picture_is_drawn(report, tmp_path):
    path = tmp_path / "captions.png"
    caption_plots.draw(report, path)
    with Image.open(path) as image:
        assert image.size[0] > 1000


def points(axes):
    """(x, y) of everything that is drawn with a bar."""
    lines = [container.lines[0] for container in axes.containers]
    return sorted((x, y) for line in lines for x, y in line.get_xydata().tolist())


def a_report():
    """Mean number i for run number i."""
    runs = {
        name: {
            "bits": {"mean": float(i), "standard_error": 9.0},
            "above_floor": {"mean": i - 0.5, "standard_error": 0.25},
        }
        for i, name in enumerate(NAMES)
    }
    world = {"unit": "bits per character", "floor": 0.4, "floor_on_test_rows": 0.5}
    return {
        "worlds": {"captions": {**world, "yardsticks": {"3-gram": 9, "5-gram": 0.75}}},
        "runs": runs,
    }


def test_every_seed_is_a_point_in_the_row_of_its_system():
    figure, axes = plt.subplots()
    caption_plots.draw_systems(axes, a_report())
    drawn = points(axes)
    assert [x for x, _ in drawn] == list(range(18))
    assert [round(y) for _, y in drawn] == [position for position in range(6) for _ in range(3)]
    assert len({round(y, 6) for _, y in drawn}) == 18
    assert [label.get_text() for label in axes.get_yticklabels()] == list(SYSTEMS)
    lines = {
        line.get_label(): line.get_xdata()[0] for line in axes.lines if ":" in line.get_label()
    }
    assert lines == {"the law itself: 0.500": 0.5, "5-gram: 0.750": 0.75}
    (bar,) = axes.containers[0].lines[2]
    (left, _), (right, _) = bar.get_segments()[0]
    assert right - left == pytest.approx(2 * 2 * 0.25)
    plt.close(figure)


def test_every_weight_is_a_point_over_its_number():
    figure, axes = plt.subplots()
    report = a_report()
    caption_plots.draw_weights(axes, report)
    wanted = []
    for kernel in KERNELS:
        names = [name_of(kernel, seed) for seed in (0, 1, 2)]
        wanted += [(1.0, report["runs"][name]["bits"]["mean"]) for name in names]
        for x, weight in ((0.0, "0"), (2.0, "0.01")):
            name = f"captions/{kernel}-auxiliary-{weight}/0"
            wanted.append((x, report["runs"][name]["bits"]["mean"]))
    assert points(axes) == sorted(wanted)
    assert [label.get_text() for label in axes.get_xticklabels()] == ["0", "0.0005", "0.01"]
    plt.close(figure)


def test_runs_that_are_missing_leave_a_gap(tmp_path):
    report = a_report()
    for name in ("uniform/0", "raster/0", "raster/1", "raster/2", "absorbing-auxiliary-0/0"):
        del report["runs"][f"captions/{name}"]
    figure, (left, right) = plt.subplots(1, 2)
    caption_plots.draw_systems(left, report)
    caption_plots.draw_weights(right, report)
    assert len(points(left)) == 18 - 4
    assert len(points(right)) == 4 * 5 - 2
    assert {round(y) for _, y in points(left)} == {1, 2, 3, 4, 5}
    plt.close(figure)
    caption_plots.draw({**report, "runs": {}}, tmp_path / "empty.png")


def test_another_budget_is_another_run(report):
    wider = replace(TINY, width=16)
    assert captions.settings("captions/uniform/0", wider) != captions.settings(
        "captions/uniform/0", TINY
    )
    longer = replace(TINY, recipe=replace(TINY.recipe, steps=3))
    for name in NAMES:
        assert captions.settings(name, longer) != report["runs"][name]["settings"]

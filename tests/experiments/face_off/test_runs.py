"""The face-off as a whole, with tiny networks: trained once, every run measured, resumable."""

import json
import math
from dataclasses import asdict, replace
from functools import cache, partial

import pytest
import torch
from support.accelerate_state import forget_accelerate

from vqlearn.checkpoints import folder as files
from vqlearn.checkpoints.shipped import resolve
from vqlearn.diffusion import kernels
from vqlearn.experiments.face_off import __main__ as command
from vqlearn.experiments.face_off import (
    captions,
    exposure_bias,
    page,
    quality,
    systems,
    trainings,
)
from vqlearn.experiments.face_off import (
    inpainting as halves,
)
from vqlearn.experiments.face_off import (
    runs as measures,
)
from vqlearn.experiments.face_off.players import Drawing
from vqlearn.experiments.face_off.runs import Setting
from vqlearn.experiments.face_off.systems import DENOISER_SIZE, IMAGEBART_SIZE, RASTER_SIZE
from vqlearn.experiments.face_off.trainings import ALL, RECIPE, Training
from vqlearn.experiments.kernels.data import TRAINING, Budget
from vqlearn.training.stages.autoregressive import Size
from vqlearn.training.stages.diffusion import DenoiserTask
from vqlearn.training.stages.frozen import Frozen

FEW_STEPS = replace(RECIPE, steps=3, batch_size=4)
ROWS = 2
LETTERS = Budget(replace(TRAINING, steps=2, batch_size=4), 5, 8, 1, 2, test_rows=6, samples=5)
STEPS = 6  # levels, in place of 100


@pytest.fixture(autouse=True, scope="module")
def fresh_accelerate():
    forget_accelerate()
    yield
    forget_accelerate()


def test_settings_tell_the_runs_apart_and_survive_json():
    """What is done with a system is told as well as its training: nothing hides in the code."""
    every = Setting()
    told = {name: json.dumps(measures.settings(name, every)) for name in measures.names()}
    measure_of = {name: name.partition("/")[0] for name in told}
    assert len({(measure_of[name], text) for name, text in told.items()}) == len(told)
    for name, text in told.items():
        assert json.loads(text) == measures.settings(name, every)


def test_settings_say_what_is_done_with_a_contender():
    guided, every = {"guidance": 1.5, "truncation": 0.9}, Setting()
    wanted = {
        "quality/vq-diffusion/0": {**guided, "calls": [100, 50, 25, 10, 5]},
        "quality/vq-diffusion/1": {**guided, "calls": [25]},
        "quality/direct/2": {**guided, "calls": [100]},
        "errors/raster/2": {**guided, "calls": 25, "shares": [0.05, 0.1, 0.2, 0.4]},
        "directions/causal/1": {**guided, "calls": 25},
        "forcing/imagebart/2": {"calls": 100, "judges": {"raster": 0, "vq-diffusion": 0}},
        "strangeness/raster/0": {"calls": 100, "judge": 1},
        "downstream/raster/1": {**guided, "calls": 25, "shares": ["one", "0.1"]},
    }
    for run, done in wanted.items():
        _, name, seed = run.split("/")
        training = Training(name, int(seed)).settings()
        assert measures.settings(run, every) == {"rows": 100, **done, "training": training}
    sizes = {"raster": RASTER_SIZE, "imagebart": IMAGEBART_SIZE, "denoiser": DENOISER_SIZE}
    assert measures.settings("cost/diffusion 25/256", every) == {
        **{"way": "diffusion 25", "tokens": 256, "batches": [1, 8, 32]},
        **{name: asdict(size) for name, size in sizes.items()},
    }
    name = "captions/absorbing/1"
    assert measures.settings(name, every) == captions.settings(name)


@pytest.fixture(scope="module")
def small():
    """Networks of 8 channels, and few levels: whatever they learn, all of the code runs."""
    with pytest.MonkeyPatch.context() as patch:
        tiny = {name: replace(each, size=Size(8, 1, 2)) for name, each in ALL.items()}
        patch.setattr(trainings, "ALL", tiny)
        patch.setattr(systems, "NUM_TIMESTEPS", STEPS)
        patch.setattr(measures, "NUM_TIMESTEPS", STEPS)
        patch.setattr(measures, "CALLS", (STEPS, 3))
        patch.setattr(quality, "Drawing", partial(Drawing, calls=3))
        for module in (measures, quality):
            patch.setattr(module, "USUAL_CALLS", 3)
        for module in (measures, halves):
            patch.setattr(module, "SHARES", (0.4,))
        patch.setattr(halves, "SIDES", ("upper", "left"))
        for module in (measures, exposure_bias):
            patch.setattr(module, "OWN", Drawing(calls=STEPS))
        vqvae = files.load_vqvae(resolve("scenes"))  # the same in every folder, and never changed
        patch.setattr(files, "load_vqvae", lambda folder: vqvae)
        patch.setattr(kernels, "nearest_neighbour", cache(kernels.nearest_neighbour))
        yield


@pytest.fixture(scope="module")
def read(small):
    """What each training has read, by name."""
    seen, original = [], Frozen.read

    def spy(self, batch):
        found = original(self, batch)
        seen.append((batch.captions, *found))
        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Frozen, "read", spy)
        yield seen


@pytest.fixture(scope="module")
def setting(tmp_path_factory, small):
    folder = tmp_path_factory.mktemp("trainings")
    return Setting(ROWS, partial(Training, recipe=FEW_STEPS, folder=folder), LETTERS)


@pytest.fixture(scope="module")
def batches(setting, read):
    """Every system with seed 0, one with seed 1: what each has read."""
    found = {}
    for name, seed in (*((name, 0) for name in ALL), ("raster", 1)):
        del read[:]
        setting.training(name, seed).trained()
        found[name, seed] = list(read)
    return found


def test_all_see_the_same_pictures_in_the_same_order(batches):
    expected = batches["vq-diffusion", 0]
    assert len(expected) == FEW_STEPS.steps
    for (name, seed), found in batches.items():
        if seed == 0:
            for (captions, x, text), (wanted, tokens, states) in zip(found, expected, strict=True):
                assert captions == wanted, name
                assert torch.equal(x, tokens)
                assert torch.equal(text, states)
    assert batches["raster", 1][0][0] != expected[0][0]
    assert expected[0][0] != expected[1][0]


def test_a_training_is_kept_and_not_repeated(batches, setting, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(trainings, "fit", None)
        task = setting.training("raster", 0).trained()
        again = setting.training("raster", 0).trained()
        with pytest.raises(TypeError, match="NoneType"):
            setting.training("raster", 2).trained()
        other = replace(setting.training("raster", 0), recipe=replace(FEW_STEPS, steps=2))
        with pytest.raises(TypeError, match="NoneType"):
            other.trained()
        often = replace(setting.training("raster", 0), recipe=replace(FEW_STEPS, save_every=1))
        often.trained()  # how often a state is written decides nothing
    assert not task.network.training
    assert not any(weight.requires_grad for weight in task.network.parameters())
    assert same(task.network, again.network)
    assert not same(task.network, setting.training("raster", 1).trained().network)


def same(a, b):
    a, b = a.state_dict(), b.state_dict()
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_what_is_kept_is_what_was_trained(small, tmp_path, monkeypatch):
    """The running mean that `fit` returns, bit for bit; other settings are trained again."""
    made, original = [], trainings.fit

    def spy(*given):
        made.append(original(*given))
        return made[-1]

    monkeypatch.setattr(trainings, "fit", spy)
    training = Training("imagebart", 0, FEW_STEPS, tmp_path)
    assert same(training.trained().network, made[0])
    other = replace(training, recipe=replace(FEW_STEPS, learning_rate=1e-3))
    assert same(other.trained().network, made[1])
    assert not same(made[0], made[1])
    assert same(other.trained().network, made[1])
    assert len(made) == 2
    assert not (tmp_path / "imagebart-0" / ".training" / "imagebart").exists()


def test_a_stopped_training_goes_on(small, tmp_path, monkeypatch):
    """Stopped after 3 of 5 steps with its state of 2: the weights are those of a whole one."""
    recipe = replace(FEW_STEPS, steps=5, save_every=2)
    whole = Training("vq-diffusion", 0, recipe, tmp_path / "whole").trained().network
    stopped, steps = Training("vq-diffusion", 0, recipe, tmp_path / "stopped"), []
    original = DenoiserTask.after_step

    def stop(self, step, seen):
        original(self, step, seen)
        steps.append(step)
        if steps == [0, 1, 2]:
            raise KeyboardInterrupt

    monkeypatch.setattr(DenoiserTask, "after_step", stop)
    with pytest.raises(KeyboardInterrupt):
        stopped.trained()
    assert same(stopped.trained().network, whole)
    assert steps == [0, 1, 2, 2, 3, 4]


TRAINED = [
    name
    for name in measures.names()
    if name.endswith("/0") and not name.startswith(("captions/", "cost/"))
]
LETTER_BY_LETTER = ["captions/raster/0", "captions/absorbing/0"]
RUNS = [*TRAINED, *LETTER_BY_LETTER]


@pytest.fixture(scope="module")
def report(setting, batches, tmp_path_factory):
    """Every measure of seed 0, once; judges are of seed 1. Each network is read once."""
    file = tmp_path_factory.mktemp("report") / "face_off.json"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Training, "trained", cache(Training.trained))
        command.main(RUNS, file, setting)
    return file


@pytest.mark.parametrize("run", TRAINED)
def test_every_run_can_be_measured(run, report, setting):
    found = json.loads(report.read_text())["runs"][run]
    measure, name, _ = run.split("/")
    settings = found.pop("settings")
    assert settings == measures.settings(run, setting)
    assert settings["rows"] == ROWS
    assert settings["training"] == setting.training(name, 0).settings()
    assert (settings["training"]["steps"], settings["training"]["seed"]) == (3, 0)
    guess = math.log2(384)
    if measure == "quality":
        ways = {"plain 6", "plain 3", "guided 6", "guided 3"}
        ways = {"plain", "guided"} if name in ("raster", "imagebart") else ways
        ways = {"plain 6"} if name == "direct" else ways
        for composition in ("seen", "held_out"):
            assert set(found[composition]["drawn"]) == ways
            assert ("shown" in found[composition]) == (name != "direct")
            assert 0.9 * guess < found[composition]["bits"]["mean"] < 10 * guess
        assert found["weights"] > 1000
    elif measure == "errors":
        assert 0.25 < found["none"]["left"] < 0.75  # 6 levels do not hit half well
        assert found["0.4"]["replaced"] >= found["0.4"]["mended"]
        denoises = name not in ("raster", "imagebart")
        for key in ("belief in true", "belief in seen"):
            assert (key in found["0.4"]) == denoises
        if name in ("raster", "absorbing"):
            assert found["0.4"]["replaced"] == 0
    elif measure == "directions":
        assert all(list(found[each]) == ["upper", "left"] for each in ("seen", "held_out"))
    elif measure == "downstream":
        assert list(found) == ["keeps", *(["free"] if name == "vq-diffusion" else []), "machine"]
        assert list(found["keeps"]) == ["none", "one", "0.1"]
        assert len(found["keeps"]["one"]["changed by row"]) == 8
    elif measure == "strangeness":
        assert found["true"]["rows"] == found["right"]["rows"] + found["wrong"]["rows"] == ROWS
        assert found["true"]["mean"] > 0.9 * guess
    else:
        assert len(found["raster"]["own by row"]) == 8
        assert found["raster"]["own"]["mean"] > 0.9 * guess
        assert set(found["vq-diffusion"]) == {"data", "own"}


def test_the_judges_are_of_another_seed(setting, batches, monkeypatch):
    asked = []

    def load_model(training):
        asked.append((training.name, training.seed))
        return None, None, 1

    monkeypatch.setattr(measures, "load_model", load_model)
    monkeypatch.setattr(measures, "measure_forcing", lambda *given: {"judges": list(given[3])})
    for seed in measures.SEEDS:
        del asked[:]
        world = measures.open_world("forcing", setting)
        found = measures.measured(f"forcing/raster/{seed}", world, setting)
        settings = measures.settings(f"forcing/raster/{seed}", setting)
        assert found["settings"] == settings
        assert found["judges"] == ["raster", "vq-diffusion"]
        assert asked[0] == ("raster", seed)
        others = {other for _, other in asked[1:]}
        assert len(others) == 1
        assert seed not in others
        assert others <= set(measures.SEEDS)
        assert settings["judges"] == dict.fromkeys(measures.JUDGES, others.pop())


def test_a_finished_run_is_not_measured_again(report, setting, monkeypatch):
    before = report.read_text()

    def never(*given, **named):
        raise AssertionError("it was measured already")

    monkeypatch.setattr(measures, "measured", never)
    monkeypatch.setattr(measures, "open_world", never)
    command.main(RUNS, report, setting)
    assert report.read_text() == before
    other = replace(setting, rows=ROWS + 1)
    missing = command.experiment(other).missing(json.loads(before), RUNS)
    assert missing == TRAINED
    other = replace(setting, captions=replace(LETTERS, test_rows=7))
    assert command.experiment(other).missing(json.loads(before), RUNS) == LETTER_BY_LETTER


def test_the_page_is_made_as_soon_as_there_is_enough(report, setting, capsys, monkeypatch):
    command.main(RUNS, report, setting)
    assert "no page yet: it needs" in capsys.readouterr().out
    assert not report.with_suffix(".md").exists()
    made = []
    monkeypatch.setattr(page, "missing", lambda found: [])
    monkeypatch.setattr(page, "write", lambda *given: made.append(given))
    command.main(RUNS, report, setting)
    assert made == [(json.loads(report.read_text()), report)]
    assert not capsys.readouterr().out


def test_the_file_knows_the_scenes_of_every_measure(report):
    known = json.loads(report.read_text())
    assert known["command"] == command.COMMAND
    assert list(known["runs"]) == RUNS
    assert set(known["worlds"]) == {*measures.MEASURES, "captions"}
    letters = known["worlds"].pop("captions")
    assert letters == json.loads(json.dumps(captions.open_world(LETTERS).describe()))
    for kind in known["worlds"].values():
        assert kind["round trip"]["seen"]["total"] == ROWS

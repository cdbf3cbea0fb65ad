"""The face-off as a whole, with tiny networks: trained once, every run measured."""

import math
from dataclasses import asdict, replace
from functools import cache

import pytest
import torch
from support.accelerate_state import forget_accelerate

from vqlearn.checkpoints import folder as files
from vqlearn.checkpoints.shipped import resolve
from vqlearn.diffusion import kernels
from vqlearn.experiments.data import Budget as LetterBudget
from vqlearn.experiments.face_off import exposure_bias, inpainting, letters, quality, training
from vqlearn.experiments.face_off.costs import COSTS, LENGTHS, CostRun
from vqlearn.experiments.face_off.exposure_bias import BitsByCorrectnessRun, ExposureBiasRun
from vqlearn.experiments.face_off.inpainting import DirectionsRun, DownstreamRun, ErrorsRun
from vqlearn.experiments.face_off.letters import LetterRun
from vqlearn.experiments.face_off.quality import QualityRun
from vqlearn.experiments.face_off.study import STUDY, face_off_study
from vqlearn.experiments.face_off.training import (
    RECIPE,
    REFERENCES,
    SEEDS,
    Budget,
    SystemRun,
    Trained,
    Training,
)
from vqlearn.experiments.sequences import DenoiserSize
from vqlearn.experiments.systems import (
    ALL,
    DENOISER_SIZE,
    IMAGEBART_SIZE,
    RASTER_SIZE,
    Diffusion,
)
from vqlearn.probability.model import Sampling
from vqlearn.training.sizes import Size
from vqlearn.training.tasks.captioned import Frozen
from vqlearn.training.tasks.diffusion import DiffusionTask

FEW_STEPS = replace(RECIPE, steps=3, batch_size=4)
ROWS = 2
STEPS = 6  # levels, in place of 100
LETTERS = LetterBudget(replace(letters.RECIPE, steps=2, batch_size=4), test_rows=6, samples=5)
TINY = {
    name: replace(each, size=Size(8, 1, 2), num_timesteps=STEPS)
    if isinstance(each, Diffusion)
    else replace(each, size=Size(8, 1, 2))
    for name, each in ALL.items()
}


@pytest.fixture(autouse=True, scope="module")
def fresh_accelerate():
    forget_accelerate()
    yield
    forget_accelerate()


def test_the_runs_are_measures_of_systems_with_seeds():
    """First every measure of one seed, then letters, then costs."""
    kinds = [type(run) for run in STUDY.runs]
    of_systems = [run for run in STUDY.runs if isinstance(run, SystemRun)]
    assert len(of_systems) == 3 * (10 + 7 + 7 + 7 + 2 + 2)
    assert [run.seed for run in of_systems] == sorted(run.seed for run in of_systems)
    assert kinds.count(LetterRun) == 6 * 3 + 4 * 2
    assert kinds[-2 * len(COSTS) * len(LENGTHS) :] == [CostRun] * 2 * len(COSTS) * len(LENGTHS)
    ids = [run.id for run in STUDY.runs]
    assert len(set(ids)) == len(ids)
    assert "directions/nearest-neighbour/0" not in ids
    assert {"directions/causal/0", "cost/diffusion 25 guided/1024"} <= set(ids)


def test_settings_say_what_is_done_with_a_system():
    guided = {"guidance": 1.5, "truncation": 0.9}
    wanted = [
        (QualityRun("vq-diffusion", 0), {**guided, "calls": [100, 50, 25, 10, 5]}),
        (QualityRun("vq-diffusion", 1), {**guided, "calls": [25]}),
        (QualityRun("direct", 2), {**guided, "calls": [100]}),
        (ErrorsRun("raster", 2), {**guided, "calls": 25, "shares": [0.05, 0.1, 0.2, 0.4]}),
        (DirectionsRun("causal", 1), {**guided, "calls": 25}),
        (
            ExposureBiasRun("imagebart", 2),
            {
                "calls": 100,
                "judges": {"raster": 0, "vq-diffusion": 0},
            },
        ),
        (BitsByCorrectnessRun("raster", 0), {"calls": 100, "judge": 1}),
        (DownstreamRun("raster", 1), {**guided, "calls": 25, "shares": ["one", "0.1"]}),
    ]
    for run, done in wanted:
        trained = Training(run.system, run.seed).settings()
        assert run.settings() == {"rows": 100, **done, "training": trained}
    sizes = {"raster": RASTER_SIZE, "imagebart": IMAGEBART_SIZE, "denoiser": DENOISER_SIZE}
    assert CostRun("diffusion 25", 256).settings() == {
        **{"way": "diffusion 25", "tokens": 256, "batches": [1, 8, 32]},
        **{name: asdict(size) for name, size in sizes.items()},
    }


def test_references_are_of_another_seed():
    for seed in SEEDS:
        run = ExposureBiasRun("raster", seed)
        assert run.reference_seed() in set(SEEDS) - {seed}
        assert run.details()["judges"] == dict.fromkeys(REFERENCES, run.reference_seed())


@pytest.fixture(scope="module")
def few_steps():
    """Few levels, steps and errors: whatever the networks learn, all of the code runs."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(quality, "NUM_TIMESTEPS", STEPS)
        patch.setattr(quality, "CALLS", (STEPS, 3))
        patch.setattr(quality, "USUAL_CALLS", 3)
        patch.setattr(inpainting, "AMOUNTS", ("one", "0.4"))
        patch.setattr(inpainting, "SIDES", ("upper", "left"))
        patch.setattr(exposure_bias, "OWN", Sampling(num_inference_steps=STEPS))
        vqvae = files.load_vqvae(resolve("scenes"))  # the same in every folder, and never changed
        patch.setattr(files, "load_vqvae", lambda folder: vqvae)
        patch.setattr(kernels, "nearest_neighbour", cache(kernels.nearest_neighbour))
        yield


@pytest.fixture(scope="module")
def read():
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
def budget(tmp_path_factory, few_steps):
    return Budget(ROWS, FEW_STEPS, tmp_path_factory.mktemp("trainings"), TINY)


@pytest.fixture(scope="module")
def batches(budget, read):
    """Every system with seed 0, one with seed 1: what each has read."""
    found = {}
    for name, seed in (*((name, 0) for name in ALL), ("raster", 1)):
        del read[:]
        Training(name, seed, budget).trained()
        found[name, seed] = list(read)
    return found


def test_all_see_the_same_images_in_the_same_order(batches):
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


def test_a_training_is_kept_and_not_repeated(batches, budget, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(training, "fit", None)
        kept = Training("raster", 0, budget).trained()
        again = Training("raster", 0, budget).trained()
        with pytest.raises(TypeError, match="NoneType"):
            Training("raster", 2, budget).trained()
        fewer = replace(budget, recipe=replace(FEW_STEPS, steps=2))
        with pytest.raises(TypeError, match="NoneType"):
            Training("raster", 0, fewer).trained()
        often = replace(budget, recipe=replace(FEW_STEPS, save_every=1))
        Training("raster", 0, often).trained()  # how often a state is written decides nothing
    assert not kept.model.training
    assert not any(weight.requires_grad for weight in kept.model.parameters())
    assert not kept.null.requires_grad
    assert same(kept, again)
    assert not same(kept, Training("raster", 1, budget).trained())


def same(a, b):
    ours, theirs = a.model.state_dict(), b.model.state_dict()
    equal = all(torch.equal(ours[name], theirs[name]) for name in ours)
    return ours.keys() == theirs.keys() and equal and torch.equal(a.null, b.null)


def test_what_is_kept_is_what_was_trained(tmp_path, monkeypatch):
    """The running mean that `fit` returns, bit for bit; other settings are trained again."""
    made, original = [], training.fit

    def spy(*given):
        made.append(original(*given))
        return made[-1]

    monkeypatch.setattr(training, "fit", spy)

    def returned(network):
        return Trained(network.model, network.null_text(1), 0)

    budget = Budget(ROWS, FEW_STEPS, tmp_path, TINY)
    assert same(Training("imagebart", 0, budget).trained(), returned(made[0]))
    faster = replace(budget, recipe=replace(FEW_STEPS, learning_rate=1e-3))
    other = Training("imagebart", 0, faster)
    assert same(other.trained(), returned(made[1]))
    assert not same(returned(made[0]), returned(made[1]))
    assert same(other.trained(), returned(made[1]))
    assert len(made) == 2
    assert not (tmp_path / "imagebart-0" / ".training" / "imagebart").exists()


def test_a_stopped_training_goes_on(tmp_path, monkeypatch):
    """Stopped after 3 of 5 steps with its state of 2: the weights are those of a whole one."""
    recipe = replace(FEW_STEPS, steps=5, save_every=2)
    whole, stopped = (
        Training("vq-diffusion", 0, Budget(ROWS, recipe, tmp_path / name, TINY))
        for name in ("whole", "stopped")
    )
    wanted, steps = whole.trained(), []
    original = DiffusionTask.after_step

    def stop(self, step, seen):
        original(self, step, seen)
        steps.append(step)
        if steps == [0, 1, 2]:
            raise KeyboardInterrupt

    monkeypatch.setattr(DiffusionTask, "after_step", stop)
    with pytest.raises(KeyboardInterrupt):
        stopped.trained()
    assert same(stopped.trained(), wanted)
    assert steps == [0, 1, 2, 2, 3, 4]


@pytest.fixture(scope="module")
def study(budget):
    return face_off_study(budget, LETTERS, DenoiserSize(5, 8, 1, 2))


@pytest.fixture(scope="module")
def folder(study, batches, tmp_path_factory):
    """Every measure of seed 0, once; references are of seed 1. Each network is read once."""
    folder = tmp_path_factory.mktemp("report") / "figures"
    runs = [run.id for run in study.runs if isinstance(run, SystemRun) and run.seed == 0]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Training, "__hash__", lambda self: hash((self.system, self.seed)))
        patch.setattr(Training, "trained", cache(Training.trained))
        study.run(folder, [*runs, "captions/raster/0", "captions/absorbing/0"])
    return folder


@pytest.fixture(scope="module")
def results(study, folder):
    report = study.read(folder)
    assert list(report.data) == ["tokens", "captions"]
    assert report.data["tokens"].round_trip["seen"].total == ROWS
    return [(run, report.runs[run.id].result) for run in study.runs if run.id in report.runs]


def of_measure(results, measure):
    found = [(run, result) for run, result in results if type(run) is measure]
    assert len(found) > 1
    return found


GUESS = math.log2(384)


def test_quality_is_measured_in_every_way(results):
    for run, result in of_measure(results, QualityRun):
        ways = {(False, 6), (False, 3), (True, 6), (True, 3)}
        ways = {(False, None), (True, None)} if run.system in ("raster", "imagebart") else ways
        ways = {(False, 6)} if run.system == "direct" else ways
        for part in result.by_composition.values():
            assert {(way.guided, way.steps) for way in part.sampled} == ways
            assert (part.shown is not None) == (run.system != "direct")
            assert 0.9 * GUESS < part.bits_per_token.mean < 10 * GUESS
        assert result.weights > 1000


def test_errors_are_replaced_only_where_they_can_be(results):
    for run, result in of_measure(results, ErrorsRun):
        effect = result.by_amount["0.4"]
        assert 0.25 < result.left_share < 0.75  # 6 levels do not hit half well
        assert effect.replaced_share >= effect.corrected_share
        denoises = run.system not in ("raster", "imagebart")
        assert (effect.p_true_code is not None) == denoises
        if run.system in ("raster", "absorbing"):
            assert effect.replaced_share == 0


def test_the_other_measures_have_all_their_parts(results):
    for _, result in of_measure(results, DirectionsRun):
        assert [list(part) for part in result.values()] == [["upper", "left"]] * 2
    for run, result in of_measure(results, DownstreamRun):
        free = ["free"] if run.system == "vq-diffusion" else []
        assert list(result) == ["keeps", *free]
        assert list(result["keeps"].by_amount) == ["one", "0.1"]
        assert len(result["keeps"].by_amount["one"].changed_share_by_row) == 8
    for _, result in of_measure(results, BitsByCorrectnessRun):
        assert result.true.sequences == result.right.sequences + result.wrong.sequences == ROWS
        assert result.true.bits_per_token.mean > 0.9 * GUESS
    for _, result in of_measure(results, ExposureBiasRun):
        assert len(result["raster"].own_by_row) == 8
        assert result["raster"].own.mean > 0.9 * GUESS
        assert result["vq-diffusion"].own_by_row is None


def test_a_finished_run_is_not_measured_again(study, folder, budget, monkeypatch, capsys):
    before = (folder / study.file).read_text()
    monkeypatch.setattr(Training, "trained", None)
    runs = list(study.read(folder).runs)
    study.run(folder, runs)
    assert (folder / study.file).read_text() == before
    assert "no plots yet: they need" in capsys.readouterr().out
    known = [run for run in study.runs if run.id in runs]
    for other, measured_again in (
        (face_off_study(replace(budget, rows=3), LETTERS, DenoiserSize(5, 8, 1, 2)), SystemRun),
        (face_off_study(budget, LETTERS, DenoiserSize(5, 16, 1, 2)), LetterRun),
    ):
        some = [run for run in other.runs if run.id in runs]
        missing = set(other.missing(study.read(folder), some))
        assert missing <= {run.id for run in known if isinstance(run, measured_again)}
        assert missing

"""How long a training will take is said once, before it, and leaves nothing behind."""

import gc
import logging
import weakref
from dataclasses import replace

import pytest
from filelock import FileLock
from support.accelerate_state import forget_accelerate
from support.training import make_small

from vqlearn.data import Scenes
from vqlearn.training.interruption import Interrupted
from vqlearn.training.loop import Run, best_accelerator
from vqlearn.training.recipes import RECIPES, Recipe
from vqlearn.training.stages import estimate, order
from vqlearn.training.stages.estimate import STEPS, TimedScenes, minutes, tell_time

OPTIONS = {name: {} for name in order.STAGES}


@pytest.fixture(autouse=True)
def _small(monkeypatch):
    make_small(monkeypatch.setattr)
    yield
    forget_accelerate()


def recipes(steps=(100, 4000, 36000)):
    return {
        name: replace(RECIPES[name], steps=each, batch_size=2)
        for name, each in zip(order.VQ_DIFFUSION, steps, strict=True)
    }


def run_in(folder, recipe):
    return Run(folder, Scenes(32, "seen"), recipe, best_accelerator(), workers=2)


def tell(folder, given):
    tell_time(run_in(folder, next(iter(given.values()))), given, OPTIONS)


def test_a_step_lasts_from_one_batch_to_the_next():
    scenes = TimedScenes(32, "seen", asked=[0.0, 9.0, 10.0, 11.5, 13.5])
    assert scenes.seconds == 1.75
    assert TimedScenes(32, "seen").asked == []


def test_every_stage_is_told_and_nothing_is_left_behind(tmp_path, monkeypatch, caplog):
    caplog.set_level(logging.INFO)
    counts = []

    def one_second(self):
        counts.append(len(self.asked))
        return 1.0

    monkeypatch.setattr(TimedScenes, "seconds", property(one_second))
    tell(tmp_path, recipes())
    assert counts == [STEPS] * 3
    assert caplog.messages == [
        "first 5 steps of each stage, to tell how long it takes",
        "about 11.1 h in all: tokens 2 min, text 67 min, diffusion 10.0 h (from 5 steps of each)",
    ]
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["lock"]
    order.train("tokens", run_in(tmp_path, Recipe(2, 2, 1e-3, 0.9)))
    caplog.clear()
    tell(tmp_path, recipes())
    assert caplog.messages[1:] == [
        "about 11.1 h in all: text 67 min, diffusion 10.0 h (from 5 steps of each)"
    ]


def test_a_training_that_goes_on_is_not_timed_again(tmp_path, monkeypatch, caplog):
    """What is wrong with its options is then said at once."""
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(estimate, "_seconds", lambda *given: pytest.fail("it was timed"))
    (tmp_path / ".training" / "tokens" / "60").mkdir(parents=True)
    tell(tmp_path, recipes())
    assert caplog.messages == []


def test_the_networks_of_the_estimate_are_gone_before_the_training(tmp_path, monkeypatch):
    seen, task = [], order.STAGES["tokens"].task

    def noted(run, **options):
        made = task(run, **options)
        seen.append(weakref.ref(made.network))
        return made

    monkeypatch.setitem(order.STAGES, "tokens", order.STAGES["tokens"]._replace(task=noted))
    tell(tmp_path, recipes())
    gc.collect()
    assert [ref() for ref in seen] == [None]


def test_stopped_in_the_middle_it_says_so_and_leaves_nothing(tmp_path, monkeypatch):
    def stop(*given, **options):
        raise Interrupted("tokens: stopped at step 3 of 5, and saved", 2)

    monkeypatch.setattr(order, "train", stop)
    with pytest.raises(Interrupted, match="stopped while the time was estimated") as stopped:
        tell(tmp_path, recipes())
    assert stopped.value.exit_code == 130
    assert not (tmp_path / ".training" / "estimate").exists()


def test_a_folder_in_use_is_not_touched(tmp_path):
    note = tmp_path / ".training" / "estimate" / "note"
    note.parent.mkdir(parents=True)
    note.touch()
    lock = FileLock(tmp_path / ".training" / "lock")
    with lock, pytest.raises(BlockingIOError, match="is used by another training"):
        tell(tmp_path, recipes())
    assert note.exists()


@pytest.mark.parametrize("steps", [(1, 1, 997), (300, 300, 399)])
def test_of_a_short_training_nothing_is_said(steps, tmp_path, monkeypatch, caplog):
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(estimate, "_seconds", lambda *given: pytest.fail("it was timed"))
    tell(tmp_path, recipes(steps))
    tell(tmp_path, {"diffusion": recipes()["diffusion"]})
    assert caplog.messages == []


@pytest.mark.parametrize(
    ("seconds", "told"),
    [(1.4, "1 s"), (99.4, "99 s"), (100, "2 min"), (5990, "100 min"), (6000, "1.7 h")],
)
def test_times_are_told_in_two_digits(seconds, told):
    assert minutes(seconds) == told

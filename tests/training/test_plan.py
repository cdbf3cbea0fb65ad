"""`Plan`, the Python of `vqlearn train`: the same bytes, and what is refused or told before."""

import logging
from dataclasses import replace

import pytest
from support.accelerate_state import forget_accelerate
from support.command import run_command
from support.training import make_small, write_images

from vqlearn.data import Reading
from vqlearn.storage import sha256
from vqlearn.training.optimizers import warm_up_and_cosine
from vqlearn.training.recipes import RECIPES
from vqlearn.training.stages import Plan
from vqlearn.training.stages.order import tell_if_short

SIZE = 16


@pytest.fixture(autouse=True)
def _small(monkeypatch):
    make_small(monkeypatch.setattr)
    yield
    forget_accelerate()


def digests(folder):
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {path.relative_to(folder): sha256(path) for path in files}


def test_python_trains_what_the_command_trains(tmp_path, monkeypatch, capsys):
    data = write_images(tmp_path / "images", ["red", "green", "blue"])
    options = ["--data", data, "--image-size", SIZE, "--steps", 2, "--flip", "--preview", 1]
    options += ["--codes", 16, "--levels", 7, "--out", tmp_path / "command"]
    assert run_command(monkeypatch, capsys, "train", *options)[0] == 0
    plan = Plan(
        data=str(data),
        image_size=SIZE,
        recipe={"steps": 2},
        options={"codes": 16, "levels": 7},
        reading=Reading(flip=True),
        preview=1,
    )
    assert plan.train(tmp_path / "python") == tmp_path / "python"
    assert digests(tmp_path / "python") == digests(tmp_path / "command")


def test_a_preview_of_text_is_refused(tmp_path):
    with pytest.raises(ValueError, match="preview is 5; allowed: none for the stage 'text'"):
        Plan("text", preview=5).train(tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_stage_that_ends_while_its_rate_rises_is_told(caplog):
    caplog.set_level(logging.WARNING)
    rates = {}
    for steps in (100, 200, 300, 3500):
        recipe = replace(RECIPES["text"], steps=steps)
        tell_if_short("text", recipe)
        rates[steps] = max(warm_up_and_cosine(i, recipe) for i in range(steps))
    told = [
        f"text: in {n} steps the learning rate rises to {1e-3 * rates[n]:.2g}" for n in (100, 200)
    ]
    assert caplog.messages == [f"{line} at most, not to 0.001" for line in told]
    assert rates[100] < rates[200] < 0.75 < rates[300] < 0.9 < rates[3500]

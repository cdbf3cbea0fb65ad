"""A training that is killed goes on bit for bit, and only as the same training."""

import os
import signal
import subprocess
import sys
import time

import pytest
import torch
from PIL import Image, ImageColor
from support.training import write_images

from vqlearn.training.state import TrainingState, forget

COMMAND = [sys.executable, "-m", "vqlearn", "train", "--discriminator"]
SIZE = ["--steps", "12", "--batch-size", "2", "--save-every", "1"]
CONFIG = {"steps": 30, "data": "scenes", "schedule": None}
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}


def start(folder, *options, command=COMMAND):
    return subprocess.Popen(
        [*command, *SIZE, *options, "--out", str(folder)],
        env=ENVIRONMENT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def steps_done(folder, stage):
    states = (folder / ".training" / stage).glob("*")
    return max((int(path.name) for path in states if path.name.isdigit()), default=0)


def kill_in(stage, folder, *options, command=COMMAND):
    """Start, wait until this stage has written a state, and kill -9 without a warning."""
    process = start(folder, "--preview", "5", *options, command=command)
    while steps_done(folder, stage) < 2:
        assert process.poll() is None, f"{stage} ended before it could be killed"
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    return steps_done(folder, stage)


def test_killed_in_every_stage_it_ends_with_the_same_bytes(tmp_path):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert start(whole).wait() == 0
    for stage in ("tokens", "text", "diffusion"):
        assert 2 <= kill_in(stage, killed) < 12
    assert start(killed).wait() == 0
    assert (killed / "SHA256SUMS").read_text() == (whole / "SHA256SUMS").read_text()
    assert [path.name for path in (killed / ".training").iterdir()] == ["lock"]


def test_own_images_with_every_option_end_with_the_same_bytes_too(tmp_path):
    colours = ["red", "green", "blue", "white", "black", "orange", "purple", "pink"]
    data = write_images(tmp_path / "images", colours)
    for number, colour in enumerate(colours):
        Image.new("RGBA", (24, 16), (*ImageColor.getrgb(colour), 32 * number)).save(
            data / f"{colour}.png"
        )
    options = {
        **{"--data": data, "--image-size": 16, "--crop": "random", "--background": "gold"},
        **{"--caption-column": "text", "--hold-out": 0.3, "--codes": 16, "--downsample": 8},
        **{"--width": 32, "--layers": 1, "--text-length": 8, "--vocabulary": 514, "--levels": 9},
        "--learning-rate": "tokens=1e-3,text=1e-3,diffusion=1e-3",
    }
    words = ["--flip", *(str(word) for pair in options.items() for word in pair)]
    plain = [*COMMAND[:-1]]
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert start(whole, *words, command=plain).wait() == 0
    for stage in ("tokens", "text", "diffusion"):
        assert 2 <= kill_in(stage, killed, *words, command=plain) < 12
    assert start(killed, *words, command=plain).wait() == 0
    assert (killed / "SHA256SUMS").read_text() == (whole / "SHA256SUMS").read_text()


@pytest.fixture
def stopped(tmp_path):
    """A state of step 7 that holds one weight."""
    weight = torch.nn.Linear(1, 1)
    state = TrainingState(tmp_path, "tokens", {"network": weight})
    state.save(7, CONFIG)
    return state, weight


def test_a_state_comes_back(stopped):
    state, weight = stopped
    before = weight.weight.detach().clone()
    with torch.no_grad():
        weight.weight.zero_()
    assert state.resume(CONFIG) == 7
    assert torch.equal(weight.weight, before)


def test_an_unfinished_state_is_not_loaded_and_older_ones_go(stopped, tmp_path):
    state, _ = stopped
    (state.folder / ".part-9").mkdir()
    assert state.resume(CONFIG) == 7
    state.save(9, CONFIG)
    assert [path.name for path in state.folder.iterdir()] == ["9"]
    forget(tmp_path, "tokens")
    assert not state.folder.exists()


def test_other_settings_are_refused(stopped):
    state, _ = stopped
    with pytest.raises(ValueError, match=r"steps 7 is not allowed: steps 30"):
        state.resume({**CONFIG, "steps": 7})
    with pytest.raises(ValueError, match=r"schedule 'paper' is not allowed: schedule None"):
        state.resume({**CONFIG, "schedule": "paper"})
    assert state.resume(CONFIG) == 7

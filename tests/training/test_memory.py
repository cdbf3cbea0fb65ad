"""A training takes as much memory at its end as in its middle.

`make soak` trains on 10,000 images of 64 pixels and sees a leak of 0.05 MB a step; `make test`, 40
steps of tiny networks, only one of 1 MB.
"""

import json
import os
from statistics import median

import numpy as np
import psutil
import pytest
from PIL import Image
from support.accelerate_state import forget_accelerate
from support.training import make_small

from vqlearn.training.learner import Learner
from vqlearn.training.stages import Plan

LARGE = os.environ.get("VQLEARN_LARGE_FOLDER") == "1"
IMAGES, SIZE, STEPS = (10_000, 64, 400) if LARGE else (100, 16, 40)
SLACK = 1.02
NOISE = 8  # megabytes


def is_flat(memory):
    """Is the last quarter no higher than the second, but for what an allocator may do?"""
    quarter = len(memory) // 4
    second, last = median(memory[quarter : 2 * quarter]), median(memory[-quarter:])
    return last <= SLACK * second + NOISE


def test_memory_that_grows_is_not_flat():
    assert is_flat([500.0 + i % 3 for i in range(400)])
    assert is_flat([300.0] * 50 + [500.0] * 350)  # what is allocated in the first quarter
    assert not is_flat([500.0 + 0.2 * i for i in range(400)])


@pytest.fixture
def folder(tmp_path):
    generator = np.random.default_rng(0)
    (tmp_path / "images").mkdir()
    with (tmp_path / "images" / "metadata.jsonl").open("w") as lines:
        for number in range(IMAGES):
            file = f"{number}.png"
            pixels = generator.integers(256, size=(SIZE, SIZE, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "images" / file)
            lines.write(json.dumps({"file_name": file, "text": f"a picture, number {number}"}))
            lines.write("\n")
    return tmp_path / "images"


def test_memory_is_flat_in_every_stage(folder, tmp_path, monkeypatch):
    if not LARGE:
        make_small(monkeypatch.setattr)
    stages, step = [], Learner.step

    def watched(learner, losses, number, *args, **options):
        if number == 1:
            stages.append([])
        stages[-1].append(psutil.Process().memory_info().rss / 1e6)
        return step(learner, losses, number, *args, **options)

    monkeypatch.setattr(Learner, "step", watched)
    Plan(data=str(folder), image_size=SIZE, recipe={"steps": STEPS}).train(tmp_path / "out")
    forget_accelerate()
    timed, trained = stages[:-3], stages[-3:]
    assert all(len(memory) < STEPS for memory in timed)
    for name, memory in zip(("tokens", "text", "diffusion"), trained, strict=True):
        assert len(memory) == STEPS
        print(f"{name}: {max(memory):.0f} MB at most")
        assert is_flat(memory), (name, memory)

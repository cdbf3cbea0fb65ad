"""Memory is that of whole processes, and of their highest moment."""

import diffusers
import numpy as np
import psutil
import pytest
from bench import memory, process
from bench.case import LINUX, Setting
from bench.pairs import Comparison
from bench.twins import SCENES

pytestmark = pytest.mark.filterwarnings("ignore:.*Transformer2DModel:FutureWarning")
TWO = Setting(pairs=2)


def test_memory_is_what_each_process_says(tiny, monkeypatch):
    told = []

    def python(*arguments):
        told.append(arguments[2:])
        return "noise\n300.5\n" if "theirs" in arguments else "200.5\n"

    monkeypatch.setattr(memory, "python", python)
    assert memory.peaks_of_twins(tiny, TWO) == Comparison((300.5,) * 2, (200.5,) * 2, "MiB")
    assert [arguments[0] for arguments in told] == ["theirs", "ours"] * 2
    assert memory.peaks(SCENES, 25, 64, Setting(pairs=10)).ratios == (300.5 / 200.5,) * 3
    assert told[-1] == ("ours", str(SCENES), "25", "64", "cpu")


@pytest.mark.parametrize("side", ["theirs", "ours"])
@pytest.mark.skipif(not Setting().has(LINUX), reason="reads /proc")
def test_a_process_generates_and_says_how_much_memory_it_had(side, capsys, monkeypatch):
    monkeypatch.setattr(diffusers, "LearnedClassifierFreeSamplingEmbeddings", None, raising=False)
    loaded, load = [], getattr(process, f"load_{side}")
    monkeypatch.setattr(process, f"load_{side}", lambda name: watched(*load(name), loaded))
    process.main(side, str(SCENES), "2", "3", "cpu")
    assert float(capsys.readouterr().out) == pytest.approx(process.peak("cpu"), rel=0.05)
    ((images, steps, told),) = loaded
    assert (images, steps) == ((3, 32, 32, 3), 2)
    assert told == ({} if side == "theirs" else {"noise": "fast"})


class Watched:
    """A pipeline that writes down what comes out of it."""

    def __init__(self, pipeline, seen):
        self.pipeline, self.seen = pipeline, seen
        self.set_progress_bar_config = pipeline.set_progress_bar_config

    def to(self, device):
        return self

    def __call__(self, prompt, steps, *arguments, **told):
        images = self.pipeline(prompt, steps, *arguments, **told).images
        self.seen.append((images.shape, steps, {k: v for k, v in told.items() if k == "noise"}))


def watched(pipeline, more, seen):
    return Watched(pipeline, seen), more


@pytest.mark.skipif(not Setting().has(LINUX), reason="reads /proc")
def test_memory_that_is_gone_again_counts():
    """A block that lifts this process 100 MiB above all that it had."""
    before = process.peak("cpu")
    more = before - psutil.Process().memory_info().rss / process.MIB + 100
    np.ones(int(more * process.MIB), np.uint8)
    assert before + 90 < process.peak("cpu") < before + 150

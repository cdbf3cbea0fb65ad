"""How many images: each run trains on its part, and is measured on what nobody trained on."""

import json

import pytest
from support.accelerate_state import forget_accelerate
from support.emoji_package import entry, make_package
from support.training import make_small

from vqlearn.data.emoji.folder import METADATA, build
from vqlearn.experiments.own_images import runs
from vqlearn.experiments.own_images.runs import SizeRun, drawn_images
from vqlearn.experiments.own_images.study import COLUMNS, STUDY, mean, percent
from vqlearn.experiments.report import Record, Report
from vqlearn.training.stages import Plan


@pytest.fixture
def data(tmp_path, monkeypatch):
    """Twelve images; five are for measuring, of which four are measured."""
    make_small(monkeypatch.setattr)
    things = [entry(f"THING {i}", f"thing_{i}", "tool", order=i) for i in range(12)]
    build(tmp_path / "emoji", make_package(tmp_path / "package.tgz", things))
    monkeypatch.setattr(runs, "DATA", tmp_path / "emoji")
    monkeypatch.setattr(runs, "NEVER_SEEN", 5)
    monkeypatch.setattr(runs, "MEASURED", 4)
    monkeypatch.setattr(runs, "STEPS", {"tokens": 1, "text": 1, "diffusion": 1})
    yield tmp_path / "emoji"
    forget_accelerate()


@pytest.fixture
def trained(monkeypatch):
    """The captions that each training was given."""
    seen, train = [], Plan.train

    def watch(plan, out):
        with open(f"{plan.data}/{METADATA}") as file:
            seen.append([json.loads(line)["text"] for line in file])
        return train(plan, out)

    monkeypatch.setattr(Plan, "train", watch)
    return seen


def test_runs_share_their_images_and_none_is_measured_as_never_seen(data, trained):
    found = [SizeRun(count).measure(None) for count in (3, 6)]
    lines, files = drawn_images(data / "train")
    kept_back = {f"a {file.removesuffix('.png').replace('-', ' ')}" for file in files[:5]}
    few, many = map(set, trained)
    assert kept_back <= {line["text"] for line in lines}
    assert (len(few), len(many)) == (6, 12)  # two captions each
    assert few < many
    assert not kept_back & many
    for scores, count in zip(found, (3, 4), strict=True):
        assert scores.seen.images == count
        assert scores.never_seen.images == scores.never_seen.matched_truth.total == 4


def test_a_line_for_each_number_of_images_in_order(data):
    scores = SizeRun(3).measure(None)
    report = Report("", runs={run.id: Record({}, scores) for run in STUDY.runs})
    lines = STUDY.tables(report)["own-images"].splitlines()
    first = [line.split(" | ")[0] for line in lines[2:]]
    assert first == ["| 50", "| 150", "| 400", "| 800", "| 1,442"]
    assert all(line.count("|") == len(COLUMNS) + 1 for line in lines)
    assert f"| {mean(scores.never_seen.bits_per_token)} |" in lines[2]
    assert lines[2].endswith(f"| {percent(scores.never_seen.matched_truth)} |")

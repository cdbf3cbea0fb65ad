"""What is measured of the model of emoji: on which images, and the nearest one."""

from dataclasses import replace

import pytest
import torch

from vqlearn.checkpoints import resolve
from vqlearn.evaluation import Evaluation, Share
from vqlearn.experiments.emoji import runs
from vqlearn.experiments.emoji.runs import EmojiRun, nearest_share
from vqlearn.experiments.emoji.study import COLUMNS, RUNS, STUDY, tables, told


@pytest.fixture
def study(monkeypatch, data):
    """The shipped model stands for one of emoji; two prompts each, one strength of guidance."""
    monkeypatch.setattr(runs, "MODEL", resolve("scenes"))
    monkeypatch.setattr(runs, "DATA", data)
    few = Evaluation(num_inference_steps=2, prompts=2)
    monkeypatch.setattr(
        EmojiRun, "evaluation", property(lambda run: replace(few, guidance_scale=run.guidance))
    )
    return replace(STUDY, runs=[run for run in RUNS if run.guidance == 1.5])


def test_both_parts_are_measured(study, tmp_path):
    report = study.run(tmp_path / "figures")
    assert list(report.runs) == ["train/1.5", "held_out/1.5"]
    for record in report.runs.values():
        assert record.result.scores.images == record.result.nearest.total == 2
        assert record.result.scores.matched_truth.total == 2
        assert 5 < record.result.scores.round_trip_psnr.mean < 54
    assert study.missing(report) == []


def test_other_weights_are_another_run(study, monkeypatch, tmp_path):
    before = RUNS[0].settings()
    monkeypatch.setattr(runs, "MODEL", tmp_path)
    assert RUNS[0].settings() != before


def test_the_nearest_image_is_that_of_the_smallest_squared_error():
    known = torch.rand(6, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    images = known[[2, 5, 0]] + 0.01
    assert nearest_share(images, known, torch.tensor([2, 5, 1])) == Share(2, 3)


def test_a_line_of_the_table_has_every_figure(study, tmp_path):
    report = study.run(tmp_path / "figures")
    lines = tables(report)["emoji"].splitlines()
    assert len(lines) == 2 + 2
    assert all(line.count("|") == len(COLUMNS) + 1 for line in lines)
    assert "seen in training | 1.5 |" in lines[2]
    nearest = report.runs["held_out/1.5"].result.nearest
    assert lines[3].endswith(f"| {told(nearest)} |")
    assert told(Share(150, 200)) == "150 of 200 (69 to 80 %)"

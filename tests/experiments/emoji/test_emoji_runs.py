"""What is measured of the model of emoji: on which images, and the nearest one."""

from dataclasses import replace

import pytest
import torch
from support.emoji_package import entry, make_package

from vqlearn import VQDiffusionPipeline
from vqlearn.checkpoints import resolve
from vqlearn.data import ImageFolder
from vqlearn.data.emoji.captions import TONES
from vqlearn.data.emoji.folder import build
from vqlearn.evaluation import Evaluation, Share
from vqlearn.experiments.emoji import runs
from vqlearn.experiments.emoji.runs import PARTS, EmojiRun, nearest_share
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
    chosen = [run for run in RUNS if run.guidance == 1.5 and run.part != "swapped"]
    return replace(STUDY, runs=chosen, plot=lambda report, folder: None)


def test_both_parts_are_measured_on_one_sample_of_each_caption(study, tmp_path, monkeypatch):
    asked, call = [], VQDiffusionPipeline.__call__

    def watched(pipeline, prompt, *args, **options):
        asked.extend(prompt)
        return call(pipeline, prompt, *args, **options)

    monkeypatch.setattr(VQDiffusionPipeline, "__call__", watched)
    report = study.run(tmp_path / "figures")
    assert len(asked) == 2 * len(report.runs)
    assert list(report.runs) == ["seen/1.5", "never_seen/1.5"]
    for record in report.runs.values():
        assert record.result.scores.images == record.result.nearest.total == 2
        assert record.result.scores.matched_truth.total == 2
        assert 5 < record.result.scores.round_trip_psnr.mean < 54
    assert study.missing(report) == []


def test_two_skin_tones_are_a_part_of_their_own(entries, tmp_path):
    """The training has them the other way round."""
    tones = [f"{left}-{right}" for left in TONES for right in TONES]
    pair = entry("KISS", "couplekiss", "family", tones=tones, order=99)
    build(tmp_path / "emoji", make_package(tmp_path / "package.tgz", [*entries, pair]))
    held_out = ImageFolder(tmp_path / "emoji" / "held_out", 32)
    lines = {part: EmojiRun(part, 1.0).lines(held_out).tolist() for part in PARTS}
    captions = held_out.captions()
    swapped = {captions[line] for line in lines["swapped"]}
    assert len(swapped) == 5
    assert all(each.count(" skin") == 2 for each in swapped)
    assert sorted(lines["swapped"] + lines["never_seen"]) == list(range(len(captions)))
    assert lines["seen"] == list(range(len(captions)))


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
    nearest = report.runs["never_seen/1.5"].result.nearest
    assert lines[3].endswith(f"| {told(nearest)} |")
    assert told(Share(150, 200)) == "150 of 200 (69 to 80 %)"

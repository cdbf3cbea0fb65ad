"""The nulls of the shipped model: who is fine-tuned with what, and how answers are compared."""

from dataclasses import replace

import pytest
import torch
from support.accelerate_state import forget_accelerate

from vqlearn.experiments.null_text import runs, study
from vqlearn.training.tasks import captioned


@pytest.fixture
def small(monkeypatch, tmp_path):
    """Two batches of two captions, all of them replaced; two prompts in two steps."""
    monkeypatch.setattr(runs, "FOLDER", tmp_path / "runs")
    monkeypatch.setattr(runs, "RECIPE", replace(runs.RECIPE, steps=2, batch_size=2))
    monkeypatch.setattr(runs, "PRECISION", "no")
    for name in ("GUIDED", "CONDITIONAL"):
        few = replace(getattr(runs, name), num_inference_steps=2, prompts=2)
        monkeypatch.setattr(runs, name, few)
    monkeypatch.setattr(captioned, "CAPTION_DROPOUT", 1.0)
    runs.fine_tuned.cache_clear()
    yield tmp_path
    runs.fine_tuned.cache_clear()
    forget_accelerate()


def test_every_null_is_measured(small):
    report = study.STUDY.run(small / "figures")
    assert study.STUDY.missing(report) == []
    assert len(study.tables(report)["null-text"].splitlines()) == 2 + len(study.ROWS)
    assert all(len(record.result.held_out) == 2 for record in report.runs.values())
    empty, learned = (runs.load_pipeline(tuned) for tuned in ("empty", "learned"))
    states = empty.text_encoder([""])
    torch.testing.assert_close(empty.null_text(1), states)
    assert not torch.allclose(learned.null_text(1), states)
    before = runs.load_pipeline(None).denoiser.to_logits.weight
    assert not torch.equal(empty.denoiser.to_logits.weight, before)


def test_gains_are_of_the_same_prompts():
    """Where both answers agree the difference has no spread, however hard the prompts are."""
    value, low, high = study.gain((1, 0, 1, 0), (1, 0, 1, 0))
    assert value == low == high == 0
    value, low, high = study.gain((1, 1, 1, 0), (1, 0, 1, 0))
    assert value == 0.25
    assert high - value == pytest.approx(1.96 * 0.25, abs=1e-3)  # the deviation is 1/2, of 4


def test_ids_are_frozen():
    ids = ["shipped/none", "shipped/empty", "empty/own", "learned/own", "shipped/own"]
    assert [run.id for run in study.ROWS] == [*ids, "empty/none", "learned/none"]

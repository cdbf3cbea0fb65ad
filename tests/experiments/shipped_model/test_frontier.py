"""The study of the frontier: its runs, and a page whose numbers are counted here by hand."""

import pytest
import torch
from support.tiny import write_diffusers_folder

from vqlearn import VQDiffusionPipeline
from vqlearn.evaluation.diversity import Diversity
from vqlearn.evaluation.frontier import Point
from vqlearn.evaluation.frontier_rules import RULES
from vqlearn.experiments.report import Record, Report, from_json, to_json
from vqlearn.experiments.shipped_model import frontier_page, frontier_runs

PROMPTS = 4


def point(right_images, steps):
    kinds = ("all", "position", "background", "size")
    different = {kind: Diversity(0.5 + i / 8, (0.25, 1.25), 4) for i, kind in enumerate(kinds)}
    return Point(right_images, different, steps, 2 * steps)


@pytest.fixture(scope="module")
def report():
    """Ancestral sampling in 100 steps has 5 of 8 images right, all others 6, true scenes 8."""
    report = Report("a command")
    for run in frontier_runs.frontier_runs():
        steps = 0.0 if run.id == "true scenes" else run.evaluation.num_inference_steps
        right = {"true scenes": "2222", frontier_page.REFERENCE: "2111"}.get(run.id, "2112")
        found = {part: point(right, steps) for part in ("seen", "held_out")}
        report.runs[run.id] = Record(run.settings(), found)
    return report


def test_every_line_is_measured_and_no_id_comes_twice():
    runs = frontier_runs.frontier_runs()
    ids = [run.id for run in runs]
    assert len(set(ids)) == len(ids) == 1 + sum(len(rule.steps) for rule in RULES) + 3
    assert {f"{rule.name}/{n}" for rule in RULES for n in rule.steps} < set(ids)
    plain = {run.id: run.settings() for run in runs}["top purity/10/plain"]
    assert (plain["guidance"], plain["truncation"]) == (1, 1)


def test_runs_are_measured_on_both_kinds_of_prompts(tmp_path, monkeypatch):
    pipe = VQDiffusionPipeline.from_pretrained(write_diffusers_folder(tmp_path / "model", grid=8))
    monkeypatch.setattr(frontier_runs, "load_pipeline", lambda: pipe)
    true, *_, last = frontier_runs.frontier_runs(prompts=2)
    for run, steps in ((true, 0), (last, 10)):
        found = run.measure(None)
        assert list(found) == ["seen", "held_out"]
        for each in found.values():
            assert len(each.right_images) == 2
            assert each.steps == each.evaluations == steps, "not guided"
        assert from_json(run.result, to_json(found)) == found


def test_the_tables_hold_what_was_measured(report):
    tables = frontier_page.tables(report)
    first, *_, last = tables["frontier-points"].splitlines()[2:]
    assert first.startswith("| true scenes through their tokens |  | 100 (51 to 100) |")
    assert last.startswith("| top purity, neither guided nor truncated | 10 | 75 (")
    assert last.endswith("0.50 (0.25 to 1.25) | 0.50 (0.25 to 1.25) |")
    rows = tables["frontier-differences"].splitlines()[2:]
    assert len(rows) == len(RULES)
    half = 100 * 1.959964 * torch.tensor([0, 0, 0, 0.5]).std().item() / 2
    expected = f"+12.5 ({12.5 - half:+.1f} to {12.5 + half:+.1f})"
    assert all(row.count(expected) == 2 for row in rows)
    assert "| true scenes through their tokens |  | 0.62 (" in tables["frontier-kinds"]
    assert "| Halton | 10 | 0.62 (" in tables["frontier-kinds"]
    assert "| 25 |" not in tables["frontier-kinds"]


def test_the_plot_has_a_line_for_each_rule(report, tmp_path, monkeypatch):
    figures = []
    monkeypatch.setattr(frontier_page.style, "save", lambda figure, file: figures.append(figure))
    frontier_page.plot_all(report, tmp_path)
    (figure,) = figures
    for axes in figure.axes:
        assert len(axes.containers) == len(RULES)
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels == [rule.name for rule in RULES]
    heights = figure.axes[0].containers[0].lines[0].get_ydata()
    assert list(heights) == [62.5, 75, 75, 75]
    frontier_page.plt.close(figure)

"""The images and the numbers of the shipped model can be made again."""

from pathlib import Path

import pytest
from PIL import Image

from vqlearn.data.scenes.captions import parse
from vqlearn.evaluation.prompts import Evaluation
from vqlearn.experiments.__main__ import STUDIES
from vqlearn.experiments.shipped_model import plots, study

FIGURES = Path(__file__).parents[3] / "figures"


def test_every_figure_is_made(tmp_path, capsys):
    tiny, folder = study.shipped_model_study(10, {1: 10, 10: 10, 100: 2}), tmp_path / "figures"
    report = tiny.run(folder)
    others = [name.replace("-", "_") for name in STUDIES if name != "shipped-model"]
    others += ["comparison", "faults", "mutants"]  # of face-off, `make soak` and `make mutants`
    others += ["bench", "growth"]  # of `make bench`
    stored = {
        file.name
        for file in FIGURES.iterdir()
        if not file.name.startswith(tuple(others)) and file.suffix != ".md"
    }
    assert {file.name for file in folder.iterdir()} == stored
    for file in (*folder.glob("*.png"), *folder.glob("*.gif")):
        with Image.open(file) as image:
            assert min(image.size) > 200
    with Image.open(folder / "denoising.gif") as gif:
        assert gif.n_frames == Evaluation().num_inference_steps + 1
    assert report.runs["evaluation"].result["seen"].model.total == 10
    by_steps = study.by_steps(report)
    assert list(by_steps) == [1, 10, 25, 100]
    calls = [part["held_out"].calls_per_image for part in by_steps.values()]
    assert calls == [2, 20, 50, 200]


def test_the_prompts_of_the_figures_are_of_both_kinds():
    assert len(set(plots.PROMPTS)) == 16
    assert set(plots.FILM_PROMPTS) <= set(plots.PROMPTS)
    unseen = [prompt for prompt in plots.PROMPTS if plots.has_unseen_pair(prompt)]
    assert 4 <= len(unseen) <= 8
    assert plots.has_unseen_pair("a red heart")
    assert not plots.has_unseen_pair("a red circle")
    assert {len(parse(prompt).objects) for prompt in unseen} == {1, 2}


def test_the_tables_have_intervals_and_shares():
    report = study.SHIPPED_MODEL.read(FIGURES)
    rows = study.accuracy_table(report).splitlines()
    assert len(rows) == 2 + 2 + 2 * len(study.STEPS_IN_TABLE)
    assert rows[2].endswith("pairs seen in training | 288 of 300 | 93.1 to 97.7 % |")
    assert "with a pair never seen: count 87 %, " in study.attributes_sentence(report)


@pytest.mark.parametrize("run", study.SHIPPED_MODEL.runs, ids=lambda run: run.id)
def test_the_stored_runs_are_of_the_default_sampling(run):
    usual, settings = Evaluation(), run.settings()
    assert settings["guidance"] == usual.guidance_scale
    assert settings["truncation"] == usual.truncation_rate
    assert settings["seed"] == usual.seed

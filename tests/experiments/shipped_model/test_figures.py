"""The images and the numbers of the README can be made again, and are those that stand there."""

import json
from pathlib import Path

import pytest
from PIL import Image

from vqlearn.data.scenes.captions import parse
from vqlearn.evaluation.prompts import Evaluation
from vqlearn.experiments.shipped_model import __main__ as figures
from vqlearn.experiments.shipped_model import accuracy, denoising, samplers
from vqlearn.experiments.shipped_model import images as pictures

ROOT = Path(__file__).parents[3]
REPORT = ROOT / "figures" / "evaluation.json"


def test_every_figure_is_made(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(figures, "FIGURES", tmp_path)
    monkeypatch.setattr(accuracy, "PROMPTS", 10)
    monkeypatch.setattr(accuracy, "PROMPTS_OF_STEPS", {1: 10, 3: 10})
    figures.main()
    other_commands = ("family", "raster", "face_off", samplers.FILE.stem)
    files = (file.name for file in (ROOT / "figures").iterdir())
    stored = {name for name in files if not name.startswith(other_commands)}
    assert {file.name for file in tmp_path.iterdir()} == stored
    for file in (*tmp_path.glob("*.png"), *tmp_path.glob("*.gif")):
        with Image.open(file) as picture:
            assert min(picture.size) > 200
    with Image.open(tmp_path / "denoising.gif") as gif:
        assert gif.n_frames == Evaluation().num_inference_steps + 1
    numbers = json.loads((tmp_path / "evaluation.json").read_text())
    assert json.loads(capsys.readouterr().out) == numbers
    assert numbers["evaluation"]["seen"]["model"]["total"] == 10
    steps = {int(steps): part for steps, part in numbers["by_steps"].items()}
    assert list(steps) == [1, 3, 25]
    assert [part["held_out"]["calls_per_image"] for part in steps.values()] == [2, 6, 50]


def test_the_sentences_of_the_figures_are_of_both_kinds():
    assert len(set(pictures.PROMPTS)) == 16
    assert set(denoising.PROMPTS) <= set(pictures.PROMPTS)
    unseen = [prompt for prompt in pictures.PROMPTS if pictures.has_unseen_pair(prompt)]
    assert 4 <= len(unseen) <= 8
    assert pictures.has_unseen_pair("a red heart")
    assert not pictures.has_unseen_pair("a red circle")
    assert {parse(prompt).count for prompt in unseen} == {1, 2}


def row(part):
    low, high = (f"{100 * end:.1f}" for end in part["interval_95"])
    return f"| {part['right']} of {part['total']} | {low} to {high} % |"


@pytest.mark.parametrize("page", ["README.md", "vqlearn/weights/README.md"])
@pytest.mark.parametrize("composition", ["seen", "held_out"])
def test_the_numbers_of_the_pages_are_those_of_the_figures(page, composition):
    numbers = json.loads(REPORT.read_text())
    text = (ROOT / page).read_text()
    assert row(numbers["evaluation"][composition]["ceiling"]) in text
    for steps in ("10", "25", "100"):
        assert row(numbers["by_steps"][steps][composition]) in text


def test_the_report_is_of_the_settings_that_are_the_default():
    evaluation = json.loads(REPORT.read_text())["evaluation"]
    usual = Evaluation()
    assert evaluation["steps"] == usual.num_inference_steps
    assert evaluation["guidance"] == usual.guidance_scale
    assert evaluation["truncation"] == usual.truncation_rate
    assert evaluation["seed"] == usual.seed

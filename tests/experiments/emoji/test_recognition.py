"""The questions: right names, no hint in their order; answers are counted as they were given."""

import json
from collections import Counter
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from support.emoji_package import entry

from vqlearn.checkpoints import resolve
from vqlearn.evaluation import Share
from vqlearn.experiments.emoji import __main__ as command
from vqlearn.experiments.emoji import recognition
from vqlearn.experiments.emoji.recognition import (
    LETTERS,
    Question,
    draw_sheets,
    keep_answers,
    questions,
    recognised,
    table,
)

ANSWERS = Path(__file__).parents[3] / "figures" / "emoji_recognition.json"
ASKED = [Question("a", (*"abcde",)), Question("b", (*"cdbea",)), Question("c", (*"edabc",))]


@pytest.fixture
def index(tmp_path):
    """300 things; a woman, in two skin tones too; a green heart, which is held out."""
    things = [entry(f"THING {i}", f"thing_{i}", "tool", order=i) for i in range(300)]
    tones = ("1F3FB", "1F3FF")
    woman = entry("WOMAN SURFING", "woman-surfing", "person-sport", tones=tones, order=301)
    heart = entry("GREEN HEART", "green_heart", "heart", order=302)
    (tmp_path / "emoji.json").write_text(json.dumps([*things, woman, heart]))
    return tmp_path


def test_each_question_has_its_prompt_among_five_names_seen_in_training(index):
    asked = questions(index, count=301)
    assert len({each.prompt for each in asked}) == 301  # all, each once: no tone, no heart
    for each in asked:
        assert len(set(each.names)) == 5
        assert each.prompt == each.names[LETTERS.index(each.right)]
        assert not any("skin" in name or "heart" in name for name in each.names)
    assert questions(index, count=301) == asked
    assert questions(index, count=7) == asked[:7]


def test_every_letter_is_right_about_as_often(index):
    """Each of 301 with probability 1/5: within 5 standard deviations, 6.9 each."""
    found = Counter(each.right for each in questions(index, count=301))
    assert set(found) == set(LETTERS)
    assert all(abs(count - 60.2) < 35 for count in found.values())


def test_a_sheet_shows_images_in_the_order_of_the_questions(tmp_path):
    names = tuple("abcde")
    asked = [Question("a", names)] * 22
    images = torch.zeros(22, 3, 8, 8)
    images[0, 0], images[1, 2], images[21, 1] = 1, 1, 1  # red, blue; green
    files = draw_sheets(asked, images, tmp_path / "sheets")
    assert [file.name for file in files] == ["sheet_1.png", "sheet_2.png"]
    red, blue, green = (
        np.argwhere((np.asarray(Image.open(file).convert("RGB")) == colour).all(2))
        for file, colour in zip(
            (files[0], files[0], files[1]), ((255, 0, 0), (0, 0, 255), (0, 255, 0)), strict=True
        )
    )
    assert red[:, 1].max() < blue[:, 1].min()
    assert abs(red[:, 0].mean() - blue[:, 0].mean()) < 1
    assert len(green) > 1000


def keep(folder, *answers):
    """Three questions, of which a, c, e are right; a file of each reader's answers."""
    told = {"model": "some weights", "questions": [asdict(each) for each in ASKED]}
    (folder / "questions.json").write_text(json.dumps(told))
    files = [folder / f"{number}.txt" for number in range(len(answers))]
    for file, letters in zip(files, answers, strict=True):
        file.write_text(letters)
    keep_answers(folder, files, folder / "answers.json")
    return folder / "answers.json"


def test_answers_are_counted_for_each_reader_and_for_most(tmp_path):
    file = keep(tmp_path, "ace", "a\nc\nb\n", "bdb")
    assert recognised(file) == {
        "reader 1": Share(3, 3),
        "reader 2": Share(2, 3),
        "reader 3": Share(0, 3),
        "more than half of them": Share(2, 3),
    }
    assert table(file).splitlines()[2] == "| reader 1 | 3 of 3 | 44 to 100 % |"
    assert json.loads(file.read_text())["model"] == "some weights"


@pytest.mark.parametrize("letters", ["ac", "acea", "acf", "ACE"])
def test_answers_of_another_form_are_refused(tmp_path, letters):
    with pytest.raises(ValueError, match=f"0.txt holds '{letters}'; allowed: 3 letters, each one"):
        keep(tmp_path, letters)
    assert not (tmp_path / "answers.json").exists()


def test_commands_draw_the_questions_and_keep_the_answers(index, tmp_path, monkeypatch, capsys):
    """The images are those of the prompts, by the model that is named beside them."""
    drawn = []

    def generate(pipeline, prompts, evaluation):
        drawn.extend(prompts)
        return torch.zeros(len(prompts), 3, 8, 8)

    monkeypatch.setattr(command, "build", lambda data: [])
    for name, value in {"DATA": index, "SHEETS": tmp_path / "sheets"}.items():
        monkeypatch.setattr(command, name, value)
    monkeypatch.setattr(command, "ANSWERS", tmp_path / "kept.json")
    monkeypatch.setattr(recognition.runs, "MODEL", resolve("scenes"))
    monkeypatch.setattr(recognition, "generate", generate)
    command.main(["questions"])
    sheets = [tmp_path / "sheets" / f"sheet_{number}.png" for number in (1, 2, 3)]
    assert capsys.readouterr().out.split() == list(map(str, sheets))
    asked = questions(index)
    assert drawn == [each.prompt for each in asked]
    (tmp_path / "one.txt").write_text("".join(each.right for each in asked))
    command.main(["answers", str(tmp_path / "one.txt")])
    assert recognised(tmp_path / "kept.json")["reader 1"] == Share(60, 60)
    told = json.loads((tmp_path / "kept.json").read_text())
    assert told["model"] == recognition.runs.model_digest()


def test_the_stored_answers_are_about_the_shipped_model():
    told = json.loads(ANSWERS.read_text())
    assert told["model"] == recognition.runs.model_digest()
    assert len(told["questions"]) == 60
    assert len(told["answers"]) >= 3

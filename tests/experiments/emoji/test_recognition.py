"""The questions: right names, no hint in their order; answers are counted as they were given."""

import json
from collections import Counter

import numpy as np
import pytest
import torch
from PIL import Image
from support.emoji_package import entry

from vqlearn.evaluation import Share
from vqlearn.experiments.emoji import __main__ as command
from vqlearn.experiments.emoji import recognition
from vqlearn.experiments.emoji.recognition import (
    LETTERS,
    Question,
    draw_sheets,
    questions,
    recognised,
    table,
    write_answers,
)

ASKED = [Question("a", (*"abcde",)), Question("b", (*"cdbea",)), Question("c", (*"edabc",))]


@pytest.fixture
def index(tmp_path):
    """300 things; a woman in five skin tones; a green heart, which is held out."""
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
    assert questions(index, count=7) != questions(index, count=8)[1:]


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


def test_answers_are_counted_for_each_reader_and_for_most(tmp_path):
    """Right are a, c, e."""
    file = tmp_path / "answers.json"
    answers = {"reader 1": "ace", "reader 2": "acb", "reader 3": "bdb"}
    write_answers(ASKED, answers, "model", file)
    assert recognised(file) == {
        "reader 1": Share(3, 3),
        "reader 2": Share(2, 3),
        "reader 3": Share(0, 3),
        "most": Share(2, 3),
    }
    lines = table(file).splitlines()
    assert lines[2] == "| reader 1 | 3 of 3 | 44 to 100 % |"
    assert lines[-1].startswith("| right for most readers | 2 of 3 |")


@pytest.mark.parametrize("letters", ["ac", "acea", "acf", "ACE"])
def test_answers_of_another_form_are_refused(tmp_path, letters):
    with pytest.raises(ValueError, match=f"of Anna are '{letters}'; allowed: 3 letters, each one"):
        write_answers(ASKED, {"Anna": letters}, "model", tmp_path / "answers.json")
    assert not list(tmp_path.iterdir())


def test_the_command_keeps_what_files_say(index, tmp_path, monkeypatch):
    monkeypatch.setattr(command, "build", lambda data: [])
    monkeypatch.setattr(command.runs, "DATA", index)
    monkeypatch.setattr(command.runs, "model_digest", lambda: "some weights")
    monkeypatch.setattr(command, "ANSWERS", tmp_path / "kept.json")
    files = [tmp_path / "one.txt", tmp_path / "two.txt"]
    right = "".join(each.right for each in questions(index))
    files[0].write_text("\n".join(right) + "\n")
    files[1].write_text("a" * recognition.QUESTIONS)
    command.main(["answers", *map(str, files)])
    found = recognised(tmp_path / "kept.json")
    assert found["reader 1"] == Share(60, 60)
    assert found["reader 2"] == Share(right.count("a"), 60)
    assert json.loads((tmp_path / "kept.json").read_text())["model"] == "some weights"

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
    MOST,
    RANDOM,
    SIMILAR,
    Question,
    draw_sheets,
    keep_answers,
    questions,
    recognised,
    table,
)

ANSWERS = Path(__file__).parents[3] / "figures" / "emoji_recognition.json"
ASKED = [
    Question("a", (*"abcde",), RANDOM),
    Question("b", (*"cdbea",), SIMILAR),
    Question("c", (*"edabc",), SIMILAR),
]


@pytest.fixture
def index(tmp_path):
    """200 tools and 100 books; a woman, in two skin tones too; a green heart, which is held out."""
    tools = [entry(f"TOOL {i}", f"tool_{i}", "tool", order=i) for i in range(200)]
    books = [entry(f"BOOK {i}", f"book_{i}", "book", order=200 + i) for i in range(100)]
    tones = ("1F3FB", "1F3FF")
    woman = entry("WOMAN SURFING", "woman-surfing", "person-sport", tones=tones, order=301)
    heart = entry("GREEN HEART", "green_heart", "heart", order=302)
    (tmp_path / "emoji.json").write_text(json.dumps([*tools, *books, woman, heart]))
    return tmp_path


def test_each_question_has_its_prompt_among_five_names_seen_in_training(index):
    asked = questions(index, count=301)
    chosen = {each.prompt for each in asked if each.others == RANDOM}
    assert len(chosen) == 301  # all, each once: no tone, no heart
    for each in asked:
        assert len(set(each.names)) == 5
        assert each.prompt == each.names[LETTERS.index(each.right)]
        assert not any("skin" in name or "heart" in name for name in each.names)
    assert questions(index, count=301) == asked
    assert questions(index, count=7)[:7] == asked[:7]


def test_names_are_random_or_of_the_same_kind(index):
    """The woman, of whose kind there is no other, is not asked for among similar names."""
    asked = questions(index, count=300)
    kinds = {others: [one for one in asked if one.others == others] for others in (RANDOM, SIMILAR)}
    assert [len(some) for some in kinds.values()] == [300, 300]
    for one in kinds[SIMILAR]:
        assert len({name.split()[1] for name in one.names}) == 1
    assert any(len({name.split()[1] for name in one.names}) > 1 for one in kinds[RANDOM])
    assert len({one.prompt for one in kinds[SIMILAR]}) == 300


def test_every_letter_is_right_about_as_often(index):
    """Each of 601 with probability 1/5: within 5 standard deviations, 9.8 each."""
    found = Counter(each.right for each in questions(index, count=301))
    assert set(found) == set(LETTERS)
    assert all(abs(count - 120.2) < 49 for count in found.values())


def test_a_sheet_shows_images_in_the_order_of_the_questions(tmp_path):
    names = tuple("abcde")
    asked = [Question("a", names, RANDOM)] * 22
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
    found = recognised(file)
    assert list(found) == [
        (others, name)
        for others in (RANDOM, SIMILAR)
        for name in ("reader 1", "reader 2", "reader 3", MOST)
    ]
    assert [found[RANDOM, f"reader {i}"].right for i in (1, 2, 3)] == [1, 1, 0]
    assert [found[SIMILAR, f"reader {i}"].right for i in (1, 2, 3)] == [2, 1, 0]
    assert (found[RANDOM, MOST], found[SIMILAR, MOST]) == (Share(1, 1), Share(1, 2))
    lines = table(file).splitlines()
    assert lines[6] == "| names of the same kind | reader 1 | 2 of 2 | 34 to 100 % |"
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
    sheets = [tmp_path / "sheets" / f"sheet_{number}.png" for number in range(1, 7)]
    assert capsys.readouterr().out.split() == list(map(str, sheets))
    asked = questions(index)
    assert drawn == [each.prompt for each in asked]
    (tmp_path / "one.txt").write_text("".join(each.right for each in asked))
    command.main(["answers", str(tmp_path / "one.txt")])
    for others in (RANDOM, SIMILAR):
        assert recognised(tmp_path / "kept.json")[others, "reader 1"] == Share(60, 60)
    told = json.loads((tmp_path / "kept.json").read_text())
    assert told["model"] == recognition.runs.model_digest()


def test_the_stored_answers_are_about_the_shipped_model():
    told = json.loads(ANSWERS.read_text())
    assert told["model"] == recognition.runs.model_digest()
    assert len(told["questions"]) == 2 * 60
    assert len(told["answers"]) >= 3

"""The names of ImageNet's classes: in the official order, and known to converted models."""

import hashlib
import json
from collections import Counter

import pytest
import torch
from PIL import Image
from support.command import run_command

from vqlearn.checkpoints.class_labels import names_in
from vqlearn.pipeline import load_pipeline
from vqlearn.released.converting import IMAGENET_CLASSES

CLASSES = IMAGENET_CLASSES.read_text(encoding="utf-8").splitlines()
FIRST_NAMES = "1f386e0d1cb6e28b9c2dac651c3dea6801e98ad1b41a14ce6bb1a093d72069f5"
"""SHA-256 of the names in `image_synthesis/data/imagenet_class_index.json` of the official code,
which has one for each class: in its order, with spaces, a line feed between two."""
SHARED = {
    *("sand viper", "grass snake", "partridge", "crawfish", "crayfish", "crane", "catamount"),
    *("panther", "Sus scrofa", "polecat", "panda", "tub", "wagon", "gong", "horn", "harp"),
    *("maillot", "missile"),
}
"""Names that two classes have."""


def test_there_is_a_line_for_each_class_and_two_alone_are_the_same():
    """The bird and the machine: WordNet has one word for each, and it is this one."""
    assert len(CLASSES) == 1000
    assert [line for line, count in Counter(CLASSES).items() if count > 1] == ["crane"]
    for line in CLASSES:
        names = line.split(", ")
        assert line.isascii()
        assert len(set(names)) == len(names)
        assert all(name == name.strip() and name for name in names)


def test_the_order_is_the_official_one():
    first = "\n".join(line.split(",")[0] for line in CLASSES)
    assert hashlib.sha256(first.encode()).hexdigest() == FIRST_NAMES


@pytest.mark.parametrize(
    ("number", "line"),
    [
        (0, "tench, Tinca tinca"),
        (207, "golden retriever"),
        (407, "ambulance"),
        (999, "toilet tissue, toilet paper, bathroom tissue"),
    ],
)
def test_some_classes_that_everybody_knows(number, line):
    assert CLASSES[number] == line


@pytest.mark.parametrize("name", ["imagenet_pretrained", "imagenet_learnable"])
def test_a_converted_model_knows_each_name_that_one_class_has(name, converted):
    one = converted(name)
    count, pipe = Counter(name for line in CLASSES for name in set(names_in(line))), one.pipeline
    assert {name for name in count if count[name] > 1} == SHARED
    for number, line in enumerate(CLASSES):
        alone = [name for name in names_in(line) if name not in SHARED]
        assert pipe.numbers(alone or [number]) == [number] * (len(alone) or 1)
    folder = one.official.file.parent / "out"
    assert json.loads((folder / "class_names.json").read_text()) == {
        str(number): line for number, line in enumerate(CLASSES)
    }
    assert "  class_names.json\n" in (folder / "SHA256SUMS").read_text()


@pytest.mark.parametrize(
    ("label", "message"),
    [
        ("crane", r"is 'crane'; allowed: a number, for classes \[134, 517\] have this name"),
        ("maillot", r"is 'maillot'; allowed: a number, for classes \[638, 639\] have this name"),
        (
            "dog",
            r"is 'dog'; allowed: a number, 0 to 999, or a name in .* such as 'tench'",
        ),
    ],
)
def test_a_name_that_no_class_or_two_have_is_refused(label, message, converted):
    with pytest.raises(ValueError, match=message):
        converted("imagenet_learnable").pipeline([207, label])


def test_a_converted_model_generates_from_a_name(converted):
    pipe = converted("imagenet_learnable").pipeline
    options = {"num_inference_steps": 5, "output_type": "np"}

    def images(*labels):
        return pipe(list(labels), generator=torch.Generator().manual_seed(0), **options).images

    assert (images(207, "golden retriever") == images("golden retriever", 207)).all()
    assert not (images("golden retriever", "tench") == images(207, 207)).all()


def test_the_command_generates_from_a_name(converted, tmp_path, monkeypatch, capsys):
    folder, files = converted("imagenet_pretrained").official.file.parent / "out", []
    for label in ("golden retriever", "207", "tench"):
        files.append(tmp_path / f"{label}.png")
        words = ["--class-label", label, "--model", folder, "--steps", 3, "--out", files[-1]]
        code, _, error = run_command(monkeypatch, capsys, "generate", *words)
        assert code == 0, error
    by_name, by_number, other = (Image.open(file).convert("RGB").tobytes() for file in files)
    assert by_name == by_number != other


def test_the_names_survive_a_folder_that_is_saved_again(converted, tmp_path):
    converted("imagenet_learnable").pipeline.save_pretrained(tmp_path)
    assert load_pipeline(tmp_path).class_names == tuple(CLASSES)


@pytest.mark.parametrize("name", ["ffhq", "coco_learnable"])
def test_models_without_classes_get_no_names(name, converted):
    assert not (converted(name).official.file.parent / "out" / "class_names.json").exists()

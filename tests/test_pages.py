"""The Python of the pages runs as it stands there, made smaller, on tiny files."""

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.accelerate_state import forget_accelerate
from support.training import make_small, write_images

from vqlearn.data.local_files import CIFAR10_FOLDER, CIFAR10_ROW, CIFAR10_TEST, CIFAR10_TRAIN

PAGE = (Path(__file__).parents[1] / "figures" / "kernels.md").read_text()
SMALLER = {  # what a test has no time for; each must stand on the page once
    "10_000, batch_size=32": "2, batch_size=4",
    "range(10_000)": "range(2)",
    "windows(data.test, 500, ": "windows(data.test, 2, ",
    "range(1000, -1, -20)": "(1000, 500, 0)",
}


def block(first):
    """The Python block of the page that imports this."""
    blocks = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    (found,) = [text for text in blocks if first in text]
    for large, small in SMALLER.items():
        found = found.replace(large, small)
    return found


@pytest.fixture
def data(tmp_path, monkeypatch):
    monkeypatch.setenv("VQLEARN_DATA", str(tmp_path))
    (tmp_path / "text8").write_text("the quick brown fox jumps over the lazy dog " * 100)
    (tmp_path / CIFAR10_FOLDER).mkdir()
    for name in (*CIFAR10_TRAIN, CIFAR10_TEST):
        np.zeros(4, CIFAR10_ROW).tofile(tmp_path / CIFAR10_FOLDER / name)


@pytest.mark.parametrize("large", SMALLER)
def test_what_is_made_smaller_stands_there_once(large):
    assert PAGE.count(large) == 1


def test_text8_is_learnt_and_measured(data, capsys):
    exec(block("import text8"), {})
    mean = float(re.search(r"mean=([\d.]+)", capsys.readouterr().out).group(1))
    assert 0 < mean < 2 * np.log2(27)


def test_a_unet_learns_cifar10_and_draws(data):
    names = {}
    exec(block("import cifar10"), names)
    assert names["image"].shape == (8, 3, 32, 32)
    assert len(names["trained"].losses) == 2


def test_own_images_become_a_model(tmp_path, monkeypatch):
    """Eight images, half of them held out, two steps of each stage."""
    page = (Path(__file__).parents[1] / "notebooks" / "OWN_IMAGES.md").read_text()
    (text,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    for large, small in {"0.05": "0.5", "preview=500": 'recipe={"steps": 2}'}.items():
        assert text.count(large) == 1
        text = text.replace(large, small)
    assert len(text.split("\n\n")[1].splitlines()) <= 5
    make_small(monkeypatch.setattr)
    monkeypatch.chdir(tmp_path)
    colours = ("red", "green", "blue", "white", "black", "cyan", "brown", "pink")
    write_images(tmp_path / "my_images", colours)
    exec(text, {})
    forget_accelerate()
    with Image.open("apple.png") as image:
        assert image.size == (32, 32)
    assert (tmp_path / "runs" / "my_images" / "training.json").exists()

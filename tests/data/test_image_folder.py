"""Your own images: read as one would expect, and bad ones are named and left out."""

import json
import logging
import shutil
from types import SimpleNamespace

import pytest
import torch
from PIL import Image

from vqlearn.data import image_files, image_folder
from vqlearn.data.batches import Scenes
from vqlearn.data.image_files import read_image
from vqlearn.data.image_folder import ImageFolder
from vqlearn.probability.random import random_stream


@pytest.fixture
def folder(tmp_path):
    Image.new("RGB", (20, 10), (255, 0, 0)).save(tmp_path / "red.png")
    Image.new("L", (16, 16), 128).save(tmp_path / "grey.jpg")
    return tmp_path


def write(folder, *lines):
    text = "\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines)
    (folder / "metadata.jsonl").write_text(text, encoding="utf-8")


def square_of(path, size):
    return read_image(path, size).pixels / 255


RED = {"file_name": "red.png", "text": "röt"}


def test_pictures_and_captions_stay_together_and_repeat(folder):
    write(folder, RED, {"file_name": "grey.jpg", "text": "grey", "more": 1}, "")
    source = ImageFolder(folder, 8)
    batch = source.batch(20, generator=random_stream("a"))
    assert batch.images.shape == (20, 3, 8, 8)
    assert set(batch.captions) == {"röt", "grey"} == set(source.captions())
    for image, caption in zip(batch.images, batch.captions, strict=True):
        expected = [1.0, 0.0, 0.0] if caption == "röt" else [128 / 255] * 3
        torch.testing.assert_close(image.mean((1, 2)), torch.tensor(expected), atol=0.01, rtol=0)
    again = source.batch(20, generator=random_stream("a"))
    assert torch.equal(again.images, batch.images)


def test_an_image_with_many_captions_takes_memory_once(folder, monkeypatch):
    grey = {"file_name": "grey.jpg", "text": "grey"}
    write(folder, *({**RED, "text": f"red {number}"} for number in range(50)), grey, "no line")
    needed = 2 * 3 * 8 * 8

    def memory(free):
        return lambda: SimpleNamespace(available=free)

    monkeypatch.setattr(image_folder.psutil, "virtual_memory", memory(needed))
    assert ImageFolder(folder, 8).images.shape == (2, 3, 8, 8)
    monkeypatch.setattr(image_folder.psutil, "virtual_memory", memory(needed - 1))
    with pytest.raises(ValueError, match="image_size is 8; allowed: less, 2 images of it need"):
        ImageFolder(folder, 8)


def test_as_many_pixels_as_allowed_are_read(tmp_path, monkeypatch):
    monkeypatch.setattr(image_files, "MOST_PIXELS", 12)
    Image.new("RGB", (4, 3)).save(tmp_path / "12.png")
    Image.new("RGB", (13, 1)).save(tmp_path / "13.png")
    assert read_image(tmp_path / "12.png", 2).pixels.shape == (3, 2, 2)
    with pytest.raises(ValueError, match="it has 13 x 1 pixels; allowed: 12"):
        read_image(tmp_path / "13.png", 2)


def test_the_middle_square_is_taken(tmp_path):
    picture = Image.new("RGB", (30, 10), "red")
    picture.paste("blue", (10, 0, 20, 10))
    picture.save(tmp_path / "three.png")
    square = square_of(tmp_path / "three.png", 4)
    assert square[:, :, 1:3].mean((1, 2)).tolist() == pytest.approx([0, 0, 1], abs=0.02)


def test_transparent_pixels_lie_on_white(tmp_path):
    Image.new("RGBA", (8, 8), (0, 0, 0, 0)).save(tmp_path / "clear.png")
    assert square_of(tmp_path / "clear.png", 4).min() == 1


def test_a_camera_picture_stands_upright(tmp_path):
    picture = Image.new("RGB", (8, 8), "black")
    picture.paste("white", (0, 0, 8, 4))  # white above, stored so that it must be turned by 180
    exif = picture.getexif()
    exif[0x0112] = 3
    picture.save(tmp_path / "turned.png", exif=exif)
    square = square_of(tmp_path / "turned.png", 8)
    assert square[:, :4].max() == 0
    assert square[:, 4:].min() == 1


def test_what_cannot_be_used_is_named_and_skipped(folder, caplog):
    (folder / "text.png").write_text("no picture")
    whole = (folder / "grey.jpg").read_bytes()
    (folder / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    bad = ["text.png", "cut.jpg", "missing.png", "../outside.png"]
    Image.new("RGB", (8, 8)).save(folder.parent / "outside.png")
    lines = [{"file_name": name, "text": "x"} for name in bad]
    write(folder, *lines, "{not json", {"file_name": "red.png"}, "[1]", RED)
    with caplog.at_level(logging.WARNING, logger="vqlearn"):
        source = ImageFolder(folder, 8)
    assert source.captions() == ["röt"]
    assert len(caplog.messages) == 7
    for number, message in enumerate(caplog.messages, start=1):
        assert f"metadata.jsonl line {number} is left out: " in message
    for name, message in zip(bad, caplog.messages, strict=False):
        assert name in message or name == "cut.jpg"


def test_the_folder_may_begin_at_home(folder, monkeypatch):
    write(folder, RED)
    monkeypatch.setenv("HOME", str(folder))
    assert ImageFolder("~", 8).captions() == ["röt"]
    with pytest.raises(ValueError, match="folder is ''"):
        ImageFolder("", 8)
    with pytest.raises(ValueError, match="image_size is 0; allowed: 1 or more"):
        ImageFolder(folder, 0)


def test_a_folder_without_use_is_refused(folder):
    with pytest.raises(FileNotFoundError, match=r"metadata\.jsonl"):
        ImageFolder(folder, 8)
    write(folder, {"file_name": "missing.png", "text": "x"})
    with pytest.raises(ValueError, match="none of the 1 lines"):
        ImageFolder(folder, 8)


def test_the_digest_is_that_of_lines_and_images_not_of_the_path(folder, tmp_path_factory):
    write(folder, RED, {"file_name": "grey.jpg", "text": "grey"}, "{not json")
    first = ImageFolder(folder, 8).digest
    copy = shutil.copytree(folder, tmp_path_factory.mktemp("other") / "place")
    write(copy, RED, {"file_name": "grey.jpg", "text": "grey"})
    assert ImageFolder(copy, 16).digest == first
    assert len(first) == 16
    write(copy, {"file_name": "grey.jpg", "text": "grey"}, RED)
    changed = {first, ImageFolder(copy, 8).digest}
    write(copy, RED, {"file_name": "grey.jpg", "text": "gray"})
    changed.add(ImageFolder(copy, 8).digest)
    Image.new("RGB", (20, 10), (254, 0, 0)).save(folder / "red.png")
    changed.add(ImageFolder(folder, 8).digest)
    assert len(changed) == 4
    assert Scenes(32, "seen").digest == Scenes(64, "any").digest == "scenes"

"""The folder of emoji: as `imagefolder` has it, whole or not there, made once."""

import json
import shutil
from dataclasses import replace

import pytest
import torch
from support.emoji_package import entry, make_package

from vqlearn.data import ImageFolder
from vqlearn.data.emoji import __main__ as command
from vqlearn.data.emoji.download import Package
from vqlearn.data.emoji.folder import PARTS, build, summary

NOWHERE = Package("file:///nowhere.tgz", "sha512-")


def test_both_parts_are_folders_of_images(data):
    train, held_out = (ImageFolder(data / part, 32) for part in PARTS)
    assert len(train.images) == 7
    assert held_out.captions() == [
        "a woman with light skin surfing",
        "a light-skinned woman surfing",
        "a green heart",
        "an emoji of a green heart",
    ]
    assert set(train.captions()).isdisjoint(held_out.captions())
    assert train.captions()[:2] == ["a grinning face", "an emoji of a grinning face"]


def test_images_are_the_bytes_of_the_package_and_stay_with_their_captions(data):
    """In the package image number i has i * 20 as red; the second is the woman."""
    source = ImageFolder(data / "train", 32)
    red = {
        caption: round(255 * source.numbered(torch.tensor([line])).images[0, 0].mean().item())
        for line, caption in enumerate(source.captions())
    }
    assert red["a grinning face"] == 0
    assert red["a woman surfing"] == 20
    assert red["a woman with dark skin surfing"] == 20 * 6
    assert red["a red apple"] == 20 * 7


def test_who_drew_them_stands_in_the_folder(data):
    text = (data / "README.md").read_text()
    assert "Twemoji" in text
    assert "https://creativecommons.org/licenses/by/4.0/" in text
    assert text.endswith("MIT, by somebody")


def test_a_whole_folder_is_kept_without_the_network(data, package):
    before = {path: path.stat().st_mtime_ns for path in data.rglob("*")}
    found = build(data, NOWHERE)
    assert {path: path.stat().st_mtime_ns for path in data.rglob("*")} == before
    assert summary(found) == ("train: 7 images, 14 captions; held_out: 2 images, 4 captions")


@pytest.mark.parametrize("gone", ["emoji.json", "train/apple.png", "held_out/metadata.jsonl"])
def test_a_folder_that_is_not_whole_is_refused(data, tmp_path, gone):
    copy = shutil.copytree(data, tmp_path / "copy")
    (copy / gone).unlink()
    with pytest.raises(ValueError, match=f"{gone} is missing or made by other rules; allowed: "):
        build(copy, NOWHERE)


def test_a_folder_of_other_captions_is_refused(data, tmp_path):
    copy = shutil.copytree(data, tmp_path / "copy")
    metadata = copy / "train" / "metadata.jsonl"
    metadata.write_text(metadata.read_text().replace("a red apple", "a green apple"))
    with pytest.raises(ValueError, match=r"train/metadata\.jsonl is missing or made by other"):
        build(copy, NOWHERE)


def test_nothing_is_left_of_what_went_wrong(package, entries, tmp_path):
    with pytest.raises(ValueError, match="the digest of "):
        build(tmp_path / "emoji", replace(package, integrity="sha512-"))
    short = make_package(tmp_path / "short.tgz", entries, images=["grinning.png"])
    with pytest.raises(KeyError):
        build(tmp_path / "emoji", short)
    assert [path.name for path in tmp_path.iterdir()] == ["short.tgz"]


def test_two_images_with_one_caption_are_refused(tmp_path):
    same = [entry("APPLE", "apple_one", "food"), entry("APPLE", "apple_two", "food")]
    twice = make_package(tmp_path / "twice.tgz", same)
    message = r"the caption of apple-two\.png is 'an apple'; allowed: another one than that of"
    with pytest.raises(ValueError, match=message):
        build(tmp_path / "emoji", twice)


def test_lines_are_what_image_folders_read(data):
    for line in (data / "train" / "metadata.jsonl").read_text().splitlines():
        assert set(json.loads(line)) == {"file_name", "text"}


def test_the_command_says_what_it_has_made(data, monkeypatch, capsys):
    monkeypatch.setattr(command, "DATA", data)
    command.main()
    assert capsys.readouterr().out == (
        f"{data}: train: 7 images, 14 captions; held_out: 2 images, 4 captions\n"
    )

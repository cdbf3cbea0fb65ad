"""Images that are held out: which ones, never learned from, and measured apart."""

import json
import shutil

import pytest
import torch
from PIL import Image
from support.accelerate_state import forget_accelerate
from support.command import run_command
from support.training import make_small

from vqlearn.data import ImageFolder, Reading
from vqlearn.evaluation import Evaluation, own_images

COUNT, SIZE = 200, 16


@pytest.fixture(autouse=True)
def _small(monkeypatch):
    make_small(monkeypatch.setattr)
    yield
    forget_accelerate()


def colour(number):
    return (number, 255 - number, 7 * number % 256)


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """200 images of one colour each; number 3 is there twice, under another name."""
    folder = tmp_path_factory.mktemp("held out") / "images"
    folder.mkdir()
    lines = []
    for number in range(COUNT):
        name = f"{number}.png"
        Image.new("RGB", (SIZE, SIZE), colour(number)).save(folder / name)
        lines.append(json.dumps({"file_name": name, "text": f"colour {number}"}))
    shutil.copy(folder / "3.png", folder / "copy.png")
    lines.append(json.dumps({"file_name": "copy.png", "text": "a copy"}))
    (folder / "metadata.jsonl").write_text("\n".join(lines))
    return folder


def source_of(folder, share):
    return ImageFolder(folder, SIZE, Reading(hold_out=share))


def captions_of(source, lines):
    return set(source.numbered(lines).captions)


def test_about_that_share_is_held_out_and_never_drawn(images):
    source = source_of(images, 0.2)
    seen, held_out = captions_of(source, source.training), captions_of(source, source.held_out)
    assert not seen & held_out
    assert len(seen) + len(held_out) == COUNT + 1
    assert 20 <= len(held_out) <= 62  # 5 standard deviations of 5.7 around 41
    batch = source.batch(3000, generator=torch.Generator().manual_seed(0))
    assert set(batch.captions) == seen  # one of 160 is missed with a probability below 2e-6
    assert set(source.captions()) == seen
    assert len(source_of(images, 0).training) == COUNT + 1


def test_copies_stay_together_and_a_larger_share_holds_out_more(images):
    before = set()
    for share in (0.1, 0.3, 0.5, 0.7, 0.9):
        source = source_of(images, share)
        held_out = captions_of(source, source.held_out)
        assert before < held_out
        assert ("colour 3" in held_out) == ("a copy" in held_out)
        before = held_out


def test_other_images_and_names_change_nothing(images, tmp_path):
    """A folder with half of the images, under other names, in another order."""
    lines = []
    for number in range(COUNT - 1, 0, -2):
        shutil.copy(images / f"{number}.png", tmp_path / f"x{number}.png")
        lines.append(json.dumps({"file_name": f"x{number}.png", "text": f"colour {number}"}))
    (tmp_path / "metadata.jsonl").write_text("\n".join(lines))
    whole, half = source_of(images, 0.3), source_of(tmp_path, 0.3)
    expected = captions_of(whole, whole.held_out) & set(captions_of(half, torch.arange(100)))
    assert captions_of(half, half.held_out) == expected


@pytest.mark.parametrize("share", [-0.1, 1, 1.5, float("nan")])
def test_what_is_no_share_is_refused(share):
    with pytest.raises(ValueError, match="hold_out is "):
        Reading(hold_out=share)


@pytest.mark.parametrize(("share", "count"), [(1e-9, 0), (1 - 1e-9, COUNT + 1)])
def test_a_share_that_leaves_a_part_empty_is_refused(share, count, images):
    with pytest.raises(ValueError, match=f"holds out {count} of 201 lines; allowed: "):
        source_of(images, share)


def run(monkeypatch, capsys, *arguments):
    code, stdout, stderr = run_command(monkeypatch, capsys, *arguments)
    return code, stdout, stderr


def train(monkeypatch, capsys, folder, out, *options):
    numbers = ["--steps", 3, "--batch-size", 4, "--image-size", SIZE]
    where = ["--data", folder, "--out", out]
    return run(monkeypatch, capsys, "train", "all", *where, *numbers, *options)


def test_the_command_measures_both_parts_of_its_own_images(images, tmp_path, monkeypatch, capsys):
    out = tmp_path / "out"
    code, _, stderr = train(monkeypatch, capsys, images, out, "--hold-out", 0.2)
    assert code == 0, stderr
    source = source_of(images, 0.2)
    assert f"{len(source.held_out)} held out" in stderr
    code, stdout, stderr = run(
        *(monkeypatch, capsys, "evaluate", "--model", out, "--data", images),
        *("--steps", 2, "--prompts", 20, "--grid", tmp_path / "grid.png"),
    )
    assert code == 0, stderr
    found = json.loads(stdout)
    assert [name for name in found if isinstance(found[name], dict)] == ["seen", "held_out"]
    for part in ("seen", "held_out"):
        assert found[part]["images"] == 20
        assert found[part]["num_codes"] == 16
        assert 1 <= found[part]["codes_in_use"] <= 16
        assert found[part]["matched"]["total"] == 20
        assert found[part]["matched_by_chance"] == 1 / found[part]["captions"]
    assert found["seen"]["round_trip_psnr"] != found["held_out"]["round_trip_psnr"]
    with Image.open(tmp_path / "grid.png") as picture:
        assert picture.size == (16 * 128, 4 * 128)  # two rows for each part
        drawn = [picture.getpixel((128 * i + 64, 64)) for i in range(16)]
    colours = {
        colour(int(caption.split()[-1])) for caption in source.captions() if " c" not in caption
    }
    assert set(drawn) <= colours
    code, _, stderr = train(monkeypatch, capsys, images, out, "--hold-out", 0.3)
    assert code == 1
    assert "hold_out 0.3 is not allowed: hold_out 0.2" in stderr


def test_all_stages_of_a_folder_hold_out_the_same(images, tmp_path, monkeypatch, capsys):
    """Else what one has not seen another would have learned from."""
    where = ["--data", images, "--out", tmp_path / "out", "--image-size", SIZE, "--steps", 1]
    assert run(monkeypatch, capsys, "train", "tokens", *where, "--hold-out", 0.2)[0] == 0
    code, _, stderr = run(monkeypatch, capsys, "train", "text", *where, "--hold-out", 0.3)
    assert code == 1
    assert "hold_out 0.3 is not allowed: hold_out 0.2" in stderr
    assert run(monkeypatch, capsys, "train", "text", *where, "--hold-out", 0.2)[0] == 0


def test_other_images_are_one_part_and_it_is_said(images, tmp_path, monkeypatch, capsys, caplog):
    """Also where the share would hold out none of them."""
    other = tmp_path / "other"
    other.mkdir()
    for number in range(2):
        shutil.copy(images / f"{number}.png", other)
    lines = images.joinpath("metadata.jsonl").read_text().splitlines()[:2]
    (other / "metadata.jsonl").write_text("\n".join(lines))
    out = tmp_path / "out"
    train(monkeypatch, capsys, images, out, "--hold-out", 0.5)
    code, stdout, stderr = run(
        *(monkeypatch, capsys, "evaluate", "--model", out, "--data", other, "--steps", 2),
    )
    assert code == 0, stderr
    found = json.loads(stdout)
    assert [name for name in found if isinstance(found[name], dict)] == ["all"]
    assert found["all"]["images"] == 2
    assert f"{other} is not what the model was trained on ({images}, or it was cha" in caplog.text


def test_every_image_is_measured_once_and_one_alone_is_refused(tmp_path):
    images = tmp_path / "images"
    images.mkdir()
    lines = []
    for number in range(3):
        Image.new("RGB", (SIZE, SIZE), colour(number)).save(images / f"{number}.png")
        for caption in ("first", "second"):
            lines.append(json.dumps({"file_name": f"{number}.png", "text": f"{caption} {number}"}))
    (images / "metadata.jsonl").write_text("\n".join(lines))
    source = ImageFolder(images, SIZE)
    batch = own_images.evaluated_images(source, torch.arange(6), Evaluation(prompts=10))
    assert sorted(batch.captions) == ["first 0", "first 1", "first 2"]
    with pytest.raises(ValueError, match="number of images to measure is 1; allowed: 2"):
        own_images.evaluated_images(source, torch.arange(2), Evaluation(prompts=10))


def test_a_grid_is_for_images_of_a_folder(tmp_path, monkeypatch, capsys):
    code, _, stderr = run(monkeypatch, capsys, "evaluate", "--grid", tmp_path / "grid.png")
    assert code == 1
    assert "--grid is for images of a folder" in stderr

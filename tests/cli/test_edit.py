"""`vqlearn edit`: inpainting with a mask, editing without one, and how it says no."""

import numpy as np
import pytest
from PIL import Image
from support.command import run_command
from support.tiny import write_diffusers_folder

from vqlearn import VQDiffusionPipeline

SIZE = 8  # of the model's images; the files are larger


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_diffusers_folder(tmp_path_factory.mktemp("edit") / "model")


@pytest.fixture
def files(tmp_path, monkeypatch):
    """An image and masks, in the current folder."""
    pixels = np.random.default_rng(0).integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8)
    Image.fromarray(pixels).resize((4 * SIZE, 4 * SIZE), Image.Resampling.NEAREST).save(
        tmp_path / "image.png"
    )
    white = np.zeros((4 * SIZE, 4 * SIZE), dtype=np.uint8)
    white[:, : 2 * SIZE] = 255
    Image.fromarray(white).save(tmp_path / "left.png")
    Image.fromarray(white[:, :9]).save(tmp_path / "narrow.png")
    (tmp_path / "words.png").write_text("no image")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def small(name):
    """What a grid of one image shows, in the model's size."""
    with Image.open(name) as found:
        assert found.size == (256, 256)
        return np.asarray(found.resize((SIZE, SIZE), Image.Resampling.NEAREST))


def test_with_a_mask_only_its_white_part_is_repainted(folder, files, monkeypatch, capsys):
    options = ["--prompt", "a red circle", "--model", folder, "--steps", 2]
    arguments = ["edit", "image.png", "--mask", "left.png", *options, "--paste"]
    code, stdout, _ = run_command(monkeypatch, capsys, *arguments)
    assert (code, stdout.split()) == (0, ["out.png"])
    first = small("out.png")
    run_command(monkeypatch, capsys, *arguments, "--seed", 1, "--out", "new/second.png")
    second = small("new/second.png")
    assert np.array_equal(first[:, SIZE // 2 :], second[:, SIZE // 2 :])
    assert not np.array_equal(first[:, : SIZE // 2], second[:, : SIZE // 2])


@pytest.mark.parametrize("options", [["--prompt", "a red circle"], []])
def test_without_a_mask_the_image_is_edited_or_varied(folder, files, monkeypatch, capsys, options):
    arguments = ["edit", "image.png", *options, "--model", folder]
    code, stdout, _ = run_command(monkeypatch, capsys, *arguments, "--level", 4, "--images", 2)
    assert (code, stdout.split()) == (0, ["out.png"])
    with Image.open("out.png") as grid:
        assert grid.size == (2 * 256 + 8, 256)
        left, right = (grid.crop((x, 0, x + 256, 256)).tobytes() for x in (0, 264))
    assert left != right
    called = {}
    name = "edit" if options else "variations"
    original = getattr(VQDiffusionPipeline, name)
    monkeypatch.setattr(
        VQDiffusionPipeline,
        name,
        lambda *args, **kwargs: (
            called.update({"level": args[-1], **kwargs}) or original(*args, **kwargs)
        ),
    )
    run_command(monkeypatch, capsys, *arguments)
    assert (called["level"], called["num_inference_steps"]) == (5, 5)  # half of 10 levels


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "Missing argument 'image'"),
        (["nowhere.png"], "the image is 'nowhere.png'; No such file"),
        (["words.png"], "the image is 'words.png'; it is no image; allowed: JPEG"),
        (["image.png", "--mask", "left.png"], "--prompt is missing; allowed: what the"),
        (["image.png", "--prompt", "x", "--mask", "narrow.png"], "--mask has 9 x 32 pixels; allo"),
        (["image.png", "--prompt", "x", "--mask", "words.png"], "--mask is 'words.png'; it is no"),
        (["image.png", "--mask", "left.png", "--level", "5"], "--level is 5; allowed with --mask"),
        (["image.png", "--paste"], "--paste is given; allowed: with --mask"),
        (["image.png", "--class-label", "3"], "--class-label is '3'; allowed: none, the model rea"),
        (["image.png", "--guidance", "3"], "--guidance is 3.0; allowed: none, nothing is told"),
        (["image.png", "--level", "0"], "level is 0; allowed: 1 to 10"),
        (["image.png", "--level", "11"], "level is 11; allowed: 1 to 10"),
        (
            ["image.png", "--level", "4", "--steps", "5"],
            "--steps is 5; allowed: 1 to 4",
        ),
        (["image.png", "--images", "0"], "--images is 0; allowed: 1 to 1000"),
        (["image.png", "--guidance", "nan"], "guidance_scale is nan"),
        (["image.png", "--out", "picture.nope"], "--out is 'picture.nope'"),
        (["image.png", "--model", "nowhere"], "there is no folder 'nowhere'"),
    ],
)
def test_mistakes_end_with_one_line(folder, files, monkeypatch, capsys, arguments, message):
    before = sorted(files.iterdir())
    model = [] if "--model" in arguments else ["--model", folder]
    code, stdout, stderr = run_command(monkeypatch, capsys, "edit", *arguments, *model)
    lines = [line for line in stderr.splitlines() if line.startswith("vqlearn: ")]
    assert code != 0
    assert len(lines) == 1
    assert message in lines[0]
    assert "Traceback" not in stdout + stderr
    assert sorted(files.iterdir()) == before

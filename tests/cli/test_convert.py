"""`vqlearn convert`: an official file as a folder that the other commands read."""

import numpy as np
import pytest
from official import files
from official.sizes import SMALL
from PIL import Image
from support.command import run_command
from support.official_files import save_official

from vqlearn.pipeline import load_pipeline


@pytest.fixture
def run(monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)
    return lambda *arguments: run_command(monkeypatch, capsys, *arguments)


def options_of(official):
    pairs = ((f"--{name.replace('_', '-')}", path) for name, path in official.options.items())
    return [each for pair in pairs for each in pair]


def test_a_text_model_is_converted_and_sampled_as_it_recommends(run, tmp_path):
    official = save_official(tmp_path, "coco_pretrained")
    parts = files.split(official.file, 3)
    code, stdout, stderr = run("convert", *parts, "--out", "model", *options_of(official))
    assert (code, stdout) == (0, "model\n"), stderr
    pictures = {}
    for name, *settings in (
        ("default",),
        ("told", "--guidance", 1, "--truncation", 0.86),
        ("other", "--truncation", 0.2),
    ):
        arguments = ("generate", "c e h", "--model", "model", "--steps", 10, "--out", f"{name}.png")
        code, _, stderr = run(*arguments, *settings)
        assert code == 0, stderr
        pictures[name] = np.asarray(Image.open(f"{name}.png"))
    assert (pictures["default"] == pictures["told"]).all()
    assert not (pictures["default"] == pictures["other"]).all()


def test_a_class_model_and_a_tokenizer_alone_are_converted(run, tmp_path):
    official = save_official(tmp_path, "imagenet_learnable")
    assert run("convert", official.file, "--out", "model", *options_of(official))[:2] == (
        0,
        "model\n",
    )
    assert load_pipeline("model").recommended.guidance_scale == 1.5
    files.save_codec(tmp_path / "vq.ckpt", SMALL["ffhq"].codec, net2net=True)
    assert run("convert", "vq.ckpt", "--out", "tokens")[:2] == (0, "tokens\n")
    Image.new("RGB", (64, 64), "red").save(tmp_path / "red.png")
    options = ("--model", "tokens", "--image-size", 32)
    assert run("tokens", "encode", ".", *options)[:2] == (0, "tokens.npz\n")


def test_errors_are_one_line(run, tmp_path):
    official = save_official(tmp_path, "coco_pretrained")
    code, stdout, stderr = run("convert", official.file, "--out", "model")
    assert (code, stdout) == (1, "")
    assert "--used-codes FILE" in stderr
    assert stderr.count("\n") == 1
    assert not (tmp_path / "model").exists()
    code, _, stderr = run("convert", "none.pth", "--out", "model")
    assert code == 1
    assert "there is no file 'none.pth'" in stderr
    code, _, stderr = run("convert", official.file, "--out", official.file)
    assert code == 1
    assert "allowed: a writable folder" in stderr

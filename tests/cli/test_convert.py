"""`vqlearn convert`: an official file as a folder that the other commands read."""

import numpy as np
import pytest
import torch
from official import files
from official.sizes import SMALL
from PIL import Image
from support.command import run_command
from support.official_files import save_official

from vqlearn.pipeline import load_pipeline


@pytest.fixture
def run(monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
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


def test_unknown_weights_are_left_out_where_they_are_named(run, tmp_path):
    state = files.save_codec(tmp_path / "vq.pth", SMALL["ffhq"].codec)
    torch.save({"state_dict": state | {"a.x": torch.ones(1), "b": torch.ones(1)}}, "vq.pth")
    code, _, stderr = run("convert", "vq.pth", "--out", "tokens", "--drop", "a.*")
    assert code == 1
    assert "1 are unknown ['b']; allowed: all weights of a model, and others outside" in stderr
    assert run("convert", "vq.pth", "--out", "tokens", "--drop", "a.*", "--drop", "b")[0] == 0


@pytest.mark.parametrize("words", [("generate", "a bird"), ("edit", "red.png")])
def test_a_tokenizer_alone_makes_no_images(run, tmp_path, words):
    files.save_codec(tmp_path / "vq.pth", SMALL["ffhq"].codec)
    Image.new("RGB", (64, 64), "red").save("red.png")
    assert run("convert", "vq.pth", "--out", "a/tokens")[0] == 0
    code, _, stderr = run(*words, "--model", "a/tokens")
    assert code == 1
    assert "vqlearn: 'a/tokens' is a tokenizer alone, for `vqlearn tokens` and" in stderr


def test_folders_above_are_made_only_for_a_whole_checkpoint(run, tmp_path):
    (tmp_path / "words.pth").write_text("no checkpoint")
    assert run("convert", "words.pth", "--out", "x/y/z")[0] == 1
    assert not (tmp_path / "x").exists()


def test_errors_are_one_line(run, tmp_path):
    official = save_official(tmp_path, "coco_pretrained")
    code, stdout, stderr = run("convert", official.file, "--out", "model")
    assert (code, stdout) == (1, "")
    assert "--used-codes FILE" in stderr
    assert stderr.count("\n") == 1
    assert not (tmp_path / "model").exists()
    for out in (official.file, official.file / "model"):
        code, _, stderr = run("convert", official.file, "--out", out)
        assert code == 1
        assert stderr.startswith("vqlearn: --out: ")
        assert "allowed: a writable folder" in stderr


@pytest.mark.parametrize("option", ["FILES", "--used-codes", "--tokenizer"])
def test_a_file_that_is_not_there_is_named_with_its_option(run, tmp_path, option):
    official = save_official(tmp_path, "coco_pretrained")
    file = "~/none" if option == "FILES" else official.file
    options = [option, "~/none"] if option != "FILES" else []
    code, _, stderr = run("convert", file, "--out", "model", *options_of(official), *options)
    named = tmp_path / "none"
    assert (code, stderr) == (
        1,
        f"vqlearn: {option} is '{named}'; allowed: a file or a folder that is there\n",
    )
    assert not (tmp_path / "model").exists()


def test_home_is_expanded_in_every_path(run, tmp_path):
    official = save_official(tmp_path, "coco_pretrained")
    parts = files.split(official.file, 2)
    homely = [f"~/{path.relative_to(tmp_path)}" for path in (*parts, *official.options.values())]
    used_codes, tokenizer = homely[2:]
    code, stdout, stderr = run(
        *("convert", *homely[:2], "--out", "~/model"),
        *("--used-codes", used_codes, "--tokenizer", tokenizer),
    )
    assert (code, stdout) == (0, f"{tmp_path}/model\n"), stderr
    assert not (tmp_path / "~").exists()


@pytest.mark.parametrize("there", [True, False])
def test_after_an_error_only_what_the_command_made_is_gone(run, tmp_path, there):
    official = save_official(tmp_path, "coco_pretrained")
    official.content["model"]["content_codec.dec.post_quant_conv.bias"] *= torch.nan
    torch.save(official.content, official.file)
    if there:
        (tmp_path / "model").mkdir()
    for options in (options_of(official), []):
        assert run("convert", official.file, "--out", "model", *options)[0] == 1
        assert (tmp_path / "model").exists() == there

"""`vqlearn tokens`: a folder as tokens and back, with the tokenizer of any checkpoint."""

import shutil

import numpy as np
import pytest
import torch
from PIL import Image
from support.command import run_command
from support.tiny import write_diffusers_folder

from vqlearn.checkpoints import load_vqvae, resolve, save_network
from vqlearn.checkpoints.digests import write_digests
from vqlearn.checkpoints.layout import PARTS
from vqlearn.cli.tokenizing import AT_ONCE, digest_of, png_names
from vqlearn.data.image_files import read_image
from vqlearn.data.token_file import TokenFile
from vqlearn.tokens import VQVAE, VQVAEConfig

PICTURES = ["e.png", "b/a.jpg", "b/c.webp", *(f"d{i:02}.png" for i in range(AT_ONCE))]


@pytest.fixture
def images(tmp_path, monkeypatch):
    """A folder of images that are no squares, and of other files."""
    generator = np.random.default_rng(0)
    for name in PICTURES:
        file = tmp_path / "images" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        small = generator.integers(0, 256, (4, 5, 3), dtype=np.uint8)
        Image.fromarray(small).resize((100, 80)).save(file)
    (tmp_path / "images" / "metadata.jsonl").write_text("{}")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "images"


@pytest.fixture(scope="module")
def of_diffusers(tmp_path_factory):
    return write_diffusers_folder(tmp_path_factory.mktemp("tokens") / "model")


def run(monkeypatch, capsys, *arguments):
    return run_command(monkeypatch, capsys, "tokens", *arguments)


def test_no_image_is_written_over_another(images, monkeypatch, capsys):
    """Names are kept: the folder of the originals would lose them."""
    run(monkeypatch, capsys, "encode", images)
    before = {path: path.read_bytes() for path in images.rglob("*") if path.is_file()}
    code, _, stderr = run(monkeypatch, capsys, "decode", "tokens.npz", "--out", images)
    assert code == 1
    assert "; allowed: a folder without it" in stderr
    assert {path: path.read_bytes() for path in images.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("kind", ["scenes", "of_diffusers"])
def test_tokens_are_those_of_each_image_alone_and_come_back_as_images(
    kind, images, of_diffusers, monkeypatch, capsys
):
    model, size = ("scenes", 32) if kind == "scenes" else (of_diffusers, 8)
    code, stdout, stderr = run(monkeypatch, capsys, "encode", images, "--model", model)
    assert (code, stdout) == (0, "tokens.npz\n"), stderr
    found, vqvae = TokenFile.read(images.parent / "tokens.npz"), load_vqvae(resolve(model))
    assert found.file_names == sorted(PICTURES)
    assert found.num_codes == vqvae.config.num_vq_embeddings
    code, stdout, _ = run(
        monkeypatch, capsys, "decode", "tokens.npz", "--model", model, "--out", "new/decoded"
    )
    assert (code, stdout) == (0, "new/decoded\n")
    for name, grid in zip(found.file_names, found.tokens, strict=True):
        pixels = read_image(images / name, size).pixels / 255
        tokens = vqvae.encode(pixels[None])
        assert torch.equal(tokens, grid.reshape(1, -1))
        with Image.open((images.parent / "new/decoded" / name).with_suffix(".png")) as picture:
            seen = np.asarray(picture).transpose(2, 0, 1) / 255
        with torch.no_grad():
            expected = vqvae.decode(tokens)[0].numpy()
        assert np.abs(seen - expected).max() <= 0.51 / 255


def test_a_folder_with_nothing_but_vqvae_is_enough(images, of_diffusers, monkeypatch, capsys):
    """It does not tell the size of the images that it was trained on."""
    shutil.copytree(of_diffusers / "vqvae", "alone/vqvae")
    encode = ["encode", images, "--model", "alone"]
    code, _, stderr = run(monkeypatch, capsys, *encode)
    assert code == 1
    assert "--image-size is None, and alone does not tell it; allowed: multiples of 2" in stderr
    assert run(monkeypatch, capsys, *encode, "--image-size", 8)[0] == 0
    whole = ["encode", images, "--model", of_diffusers, "--out", "whole.npz"]
    assert run(monkeypatch, capsys, *whole)[0] == 0
    found, expected = (
        TokenFile.read(images.parent / f"{name}.npz") for name in ("tokens", "whole")
    )
    assert torch.equal(found.tokens, expected.tokens)
    assert run(monkeypatch, capsys, "decode", "whole.npz", "--model", "alone")[0] == 0
    with Image.open(images.parent / "decoded" / "e.png") as picture:
        assert picture.size == (8, 8)


@pytest.fixture
def with_unused_codes(tmp_path):
    """A folder with nothing but a tokenizer that knows 5 of 40 codes."""
    torch.manual_seed(0)
    sizes = {"num_vq_embeddings": 5, "num_full_codes": 40, "norm_num_groups": 4}
    vqvae = VQVAE(VQVAEConfig((8, 8), 1, 6, 5, encoder_attention_resolutions=(),
                              decoder_attention_resolutions=(), **sizes))  # fmt: skip
    full = vqvae.full_codes
    full.used_codes.copy_(torch.tensor([0, 7, 8, 20, 39]))
    torch.nn.init.normal_(full.quantizer.codebook.weight)
    torch.nn.init.normal_(vqvae.to_code_space.weight, std=3)
    vqvae.quantizer.codebook.weight.data = full.quantizer.codebook.weight[full.used_codes].clone()
    save_network(vqvae, tmp_path / "unused")
    return tmp_path / "unused"


@pytest.mark.parametrize("nearest_used", [False, True])
def test_unused_codes_are_token_0_unless_it_is_said(
    images, with_unused_codes, monkeypatch, capsys, nearest_used
):
    words = ["encode", images, "--model", with_unused_codes, "--image-size", 8]
    code, _, stderr = run(monkeypatch, capsys, *words, *["--nearest-used"] * nearest_used)
    assert code == 0, stderr
    found, vqvae = TokenFile.read(images.parent / "tokens.npz"), load_vqvae(with_unused_codes)
    assert found.num_codes == 5
    quantizer, differing = vqvae.quantizer if nearest_used else vqvae.full_codes, 0
    other = vqvae.full_codes if nearest_used else vqvae.quantizer
    for name, grid in zip(found.file_names, found.tokens, strict=True):
        with torch.no_grad():
            features = vqvae.encode_features(read_image(images / name, 8).pixels[None] / 255)
        assert torch.equal(quantizer.encode(features)[0], grid)
        differing += (other.encode(features)[0] != grid).sum()
    assert differing > 0
    decode = ["decode", "tokens.npz", "--model", with_unused_codes]
    assert run(monkeypatch, capsys, *decode)[0] == 0


def test_a_model_that_knows_all_codes_takes_no_nearest_ones(images, monkeypatch, capsys):
    code, _, stderr = run(monkeypatch, capsys, "encode", images, "--nearest-used")
    assert code == 1
    assert "--nearest-used is True; allowed: not with scenes, it knows all codes" in stderr


def test_the_image_size_decides_the_grid(images, monkeypatch, capsys):
    run(monkeypatch, capsys, "encode", images, "--image-size", 48, "--out", "large.npz")
    assert TokenFile.read(images.parent / "large.npz").tokens.shape[1:] == (12, 12)
    run(monkeypatch, capsys, "decode", "large.npz")
    with Image.open(images.parent / "decoded" / "e.png") as picture:
        assert picture.size == (48, 48)


def test_a_name_that_other_systems_do_not_know_is_left_out(images, monkeypatch, capsys, caplog):
    (images / "e.png").rename(images / "12:30.png")
    assert run(monkeypatch, capsys, "encode", images)[0] == 0
    assert caplog.messages[0].startswith("12:30.png is left out: a name is '12:30.png'; allowed: ")
    assert len(TokenFile.read(images.parent / "tokens.npz").file_names) == len(PICTURES) - 1


def test_what_cannot_be_read_is_named_and_left_out(images, monkeypatch, capsys, caplog):
    (images / "b" / "a.jpg").write_text("no image")
    code, *_ = run(monkeypatch, capsys, "encode", images)
    assert code == 0
    assert [record.getMessage() for record in caplog.records] == [
        "b/a.jpg is left out: it is no image; allowed: JPEG, PNG, WEBP, GIF, BMP, TIFF, PPM"
    ]
    found = TokenFile.read(images.parent / "tokens.npz")
    assert found.file_names == sorted(set(PICTURES) - {"b/a.jpg"})


def test_tokens_of_another_model_are_refused(images, of_diffusers, monkeypatch, capsys):
    run(monkeypatch, capsys, "encode", images, "--model", of_diffusers)
    code, _, stderr = run(monkeypatch, capsys, "decode", "tokens.npz")
    assert code == 1
    assert "the tokens were made by the model '" in stderr
    assert "; allowed: those of scenes, " in stderr
    assert not list((images.parent / "decoded").iterdir())


def test_the_digest_knows_weights_and_not_files(of_diffusers):
    vqvae = load_vqvae(of_diffusers)
    before = digest_of(vqvae)
    assert digest_of(load_vqvae(of_diffusers)) == before
    with torch.no_grad():
        vqvae.decoder.output.bias[0] += 1e-3
    assert digest_of(vqvae) != before


def test_no_two_images_get_one_name():
    names = ["a.png", "a.jpg", "b/a.png", "c.tar.png"]
    assert png_names(names) == [f"{name}.png" for name in names]
    names = ["a.jpg", "a.png", "a.jpg.png"]
    assert len(set(png_names(names))) == 3
    assert png_names(["a.jpg", "b/a.webp", "c.tar.gif"]) == ["a.png", "b/a.png", "c.tar.png"]


REFUSED = {
    "no folder": (["encode", "nowhere"], "FOLDER is 'nowhere'; allowed: a folder of images"),
    "nothing in it": (["encode", "empty"], "FOLDER is 'empty'; allowed: one with .jpg, "),
    "no image in it": (["encode", "broken"], "FOLDER is 'broken'; allowed: one with images that"),
    "another ending": (["encode", "images", "--out", "a.txt"], "--out is 'a.txt'; allowed: "),
    "no multiple": (["encode", "images", "--image-size", 30], "--image-size is 30; allowed: "),
    "nothing at all": (["encode", "images", "--image-size", 0], "--image-size is 0; allowed: "),
    "no model": (["encode", "images", "--model", "x"], "there is no folder 'x'"),
    "no tokens": (["decode", "images/e.png"], "e.png is no file of tokens"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused_is_named(name, images, monkeypatch, capsys):
    (images.parent / "empty").mkdir()
    (images.parent / "broken").mkdir()
    (images.parent / "broken" / "a.png").write_text("no image")
    arguments, message = REFUSED[name]
    code, stdout, stderr = run(monkeypatch, capsys, *arguments)
    assert (code, stdout) == (1, "")
    assert message in stderr
    assert not list(images.parent.glob("*.npz"))


def test_a_model_that_does_not_say_its_size_needs_one(images, of_diffusers, monkeypatch, capsys):
    folder = images.parent / "tokens_only"
    folder.mkdir()
    (folder / "vqvae").symlink_to(of_diffusers / "vqvae")
    code, _, stderr = run(monkeypatch, capsys, "encode", images, "--model", folder)
    assert code == 1
    assert "--image-size is None" in stderr
    arguments = ["encode", images, "--model", folder, "--image-size", 8]
    assert run(monkeypatch, capsys, *arguments)[0] == 0


@pytest.mark.parametrize("index", [True, False])
def test_a_tokenizer_that_is_not_what_was_written_is_refused(index, images, monkeypatch, capsys):
    shutil.copytree(resolve("scenes"), "copy")
    if not index:
        (images.parent / "copy" / "model_index.json").unlink()
        write_digests(images.parent / "copy", PARTS)
    options = ("--model", "./copy", "--image-size", 32)
    assert run(monkeypatch, capsys, "encode", images, *options)[0] == 0
    (file,) = (images.parent / "copy" / "vqvae").glob("*.safetensors")
    content = bytearray(file.read_bytes())
    content[-4] ^= 1
    file.write_bytes(content)
    for asked in (("encode", images, *options), ("decode", "tokens.npz", *options[:2])):
        code, stdout, stderr = run(monkeypatch, capsys, *asked)
        assert (code, stdout) == (1, "")
        assert f"{file.name} was changed: its SHA-256 is" in stderr

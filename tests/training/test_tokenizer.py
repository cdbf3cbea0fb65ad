"""`vqlearn train --tokenizer FOLDER`: the tokens of any VQ network, which is not trained."""

import json
import logging
import shutil

import pytest
import torch
from PIL import Image
from support.accelerate_state import forget_accelerate
from support.command import run_command
from support.training import make_small, write_images

from vqlearn.checkpoints import (
    CheckpointError,
    load_token_model,
    load_vqvae,
    resolve,
    save_network,
)
from vqlearn.checkpoints.digests import files_read, write_digests
from vqlearn.checkpoints.layout import PARTS
from vqlearn.storage import sha256
from vqlearn.tokens import VQVAE, VQVAEConfig
from vqlearn.training.stages import Plan, copy_frozen_parts
from vqlearn.training.tasks.diffusion import DiffusionTask

CONFIGS = {  # of the kinds that were released, with few weights
    "f8 gumbel": VQVAEConfig((4, 4, 4, 8), 1, 6, 5, 11, 4, (3,), (3,), "gumbel"),
    "f16 nearest": VQVAEConfig((4, 4, 4, 4, 8), 1, 6, 5, 13, 4, (4,), (4,)),
}


def write_tokenizer(folder, kind="f8 gumbel", seed=0):
    """A folder with nothing but vqvae/."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        vqvae = VQVAE(CONFIGS[kind])
        for weight in vqvae.parameters():
            torch.nn.init.normal_(weight, std=0.3)
    save_network(vqvae, folder)
    return folder


@pytest.fixture
def train(tmp_path, monkeypatch):
    """Train two steps of each stage on four images, as the command does."""
    make_small(monkeypatch.setattr)
    data = write_images(tmp_path / "images", ["red", "green", "blue", "white"])

    def train(tokenizer, out, stage="all", image_size=32, options=None, **others):
        forget_accelerate()
        recipe = {"steps": 2, "batch_size": 2, "save_every": 1}
        plan = Plan(
            *(stage, str(data), image_size, recipe, options or {}),
            tokenizer=None if tokenizer is None else str(tokenizer),
            **others,
        )
        return plan.train(out)

    yield train
    forget_accelerate()


def digests(folder):
    files = [path for path in sorted(folder.rglob("*")) if path.is_file() and path.name != "lock"]
    return {str(path.relative_to(folder)): sha256(path) for path in files}


@pytest.mark.parametrize(
    ("kind", "image_size", "side"),
    [("f8 gumbel", 64, 8), ("f16 nearest", 256, 16)],
)
def test_text_and_diffusion_are_trained_on_its_tokens(
    tmp_path, train, monkeypatch, capsys, kind, image_size, side
):
    tokenizer = write_tokenizer(tmp_path / "tokenizer", kind)
    assert [path.name for path in tokenizer.iterdir()] == ["vqvae"]
    before = digests(tokenizer)
    size = ["--image-size", image_size, "--steps", 2, "--batch-size", 1]
    out = ["--data", tmp_path / "images", "--out", tmp_path / "out"]
    options = ["train", "--tokenizer", tokenizer, *size, *out]
    code, stdout, stderr = run_command(monkeypatch, capsys, *options)
    assert (code, stdout.strip()) == (0, str(tmp_path / "out")), stderr
    assert "tokenizer on" in stderr  # how well it describes these images
    assert digests(tokenizer) == before
    assert before.items() <= digests(tmp_path / "out").items()
    config = load_token_model(tmp_path / "out").network.config
    assert (config.num_codes, config.sample_size) == (CONFIGS[kind].num_vq_embeddings, side)
    assert set(json.loads((tmp_path / "out" / "training.json").read_text())) == {
        "text",
        "diffusion",
    }
    words = ["generate", "red", "--model", tmp_path / "out", "--steps", 2]
    code, _, stderr = run_command(monkeypatch, capsys, *words, "--out", tmp_path / "red.png")
    assert code == 0, stderr
    with Image.open(tmp_path / "red.png") as image:
        assert image.size == (max(image_size, 256),) * 2


def test_what_the_denoiser_learns_from_are_its_tokens(tmp_path, train, monkeypatch):
    tokenizer, seen = write_tokenizer(tmp_path / "tokenizer"), []
    losses = DiffusionTask.losses

    def spy(self, network, batch, step):
        seen.append((batch.images, self.frozen.read(batch)[0].cpu()))
        return losses(self, network, batch, step)

    monkeypatch.setattr(DiffusionTask, "losses", spy)
    train(tokenizer, tmp_path / "out")
    vqvae = load_vqvae(tokenizer)
    assert len(seen) == 2
    for images, tokens in seen:
        assert torch.equal(vqvae.encode(images), tokens)


def test_a_stopped_training_goes_on_with_it_bit_for_bit(tmp_path, train, monkeypatch):
    tokenizer = write_tokenizer(tmp_path / "tokenizer")
    whole = train(tokenizer, tmp_path / "whole")
    after_step = DiffusionTask.after_step

    def stop(self, step, seen):
        after_step(self, step, seen)
        if step == 1:
            raise RuntimeError("power cut")

    with monkeypatch.context() as patch:
        patch.setattr(DiffusionTask, "after_step", stop)
        with pytest.raises(RuntimeError, match="power cut"):
            train(tokenizer, tmp_path / "stopped")
    assert not (tmp_path / "stopped" / "transformer").exists()
    assert (tmp_path / "stopped" / ".training" / "diffusion" / "1").exists()
    train(tokenizer, tmp_path / "stopped")
    assert digests(tmp_path / "stopped") == digests(whole)


@pytest.mark.parametrize("named_again", [True, False])
def test_a_finished_training_is_kept(tmp_path, train, named_again, caplog):
    tokenizer = write_tokenizer(tmp_path / "tokenizer")
    before = digests(train(tokenizer, tmp_path / "out"))
    caplog.set_level(logging.INFO)
    train(tokenizer if named_again else None, tmp_path / "out")
    assert "diffusion: finished before, kept" in caplog.messages
    assert digests(tmp_path / "out") == before


def test_of_a_whole_checkpoint_nothing_else_is_taken(tmp_path, train):
    train("scenes", tmp_path / "out")
    assert digests(tmp_path / "out" / "vqvae") == digests(resolve("scenes") / "vqvae")
    for part in ("text_encoder", "tokenizer", "transformer"):
        assert digests(tmp_path / "out" / part) != digests(resolve("scenes") / part)


def test_another_tokenizer_is_refused_in_the_same_folder(tmp_path, train):
    train(write_tokenizer(tmp_path / "one"), tmp_path / "out", "text")
    before = digests(tmp_path / "out")
    other = write_tokenizer(tmp_path / "other", seed=1)
    with pytest.raises(ValueError, match=r"vqvae of .*other is asked for, but .*vqvae is another"):
        train(other, tmp_path / "out")
    assert digests(tmp_path / "out") == before


def test_a_damaged_tokenizer_is_not_taken(tmp_path, train):
    tokenizer = write_tokenizer(tmp_path / "tokenizer")
    (file,) = (tokenizer / "vqvae").glob("*.safetensors")
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(ValueError, match=f"{file.name}"):
        train(tokenizer, tmp_path / "out")
    assert not (tmp_path / "out" / "vqvae").exists()


def change_one_bit(folder):
    """In the last weight, so that the file can still be read."""
    (file,) = (folder / "vqvae").glob("*.safetensors")
    content = bytearray(file.read_bytes())
    content[-4] ^= 1
    file.write_bytes(content)
    return file


def test_a_tokenizer_that_is_not_what_was_written_is_not_taken(tmp_path, train):
    """A folder without digests still grows, and is taken as it is."""
    tokenizer = write_tokenizer(tmp_path / "tokenizer")
    change_one_bit(tokenizer)
    train(tokenizer, tmp_path / "grows", "text")
    write_digests(tokenizer, PARTS)
    train(tokenizer, tmp_path / "whole", "text")
    file = change_one_bit(tokenizer)
    with pytest.raises(CheckpointError, match=f"{file.name} was changed: its SHA-256 is "):
        train(tokenizer, tmp_path / "changed", "text")
    assert not (tmp_path / "changed" / "vqvae").exists()


@pytest.mark.parametrize("index", [True, False])
def test_each_file_is_read_once_for_its_digest(tmp_path, monkeypatch, index):
    tokenizer = tmp_path / "tokenizer"
    shutil.copytree(resolve("scenes"), tokenizer)
    if not index:
        (tokenizer / "model_index.json").unlink()
        write_digests(tokenizer, PARTS)
    read = []
    monkeypatch.setattr(
        "vqlearn.checkpoints.digests.sha256", lambda file: read.append(file) or sha256(file)
    )
    copy_frozen_parts(tokenizer, tmp_path / "out", ("vqvae",))
    assert sorted(read) == sorted(tokenizer / name for name in files_read(tokenizer, PARTS))


def test_tokens_that_do_not_suit_the_images_are_told(tmp_path, train, caplog):
    """Random weights give back nothing of an image."""
    train(write_tokenizer(tmp_path / "tokenizer"), tmp_path / "out", "text")
    assert any("tokenizer on" in m and "do not suit these images" in m for m in caplog.messages)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"stage": "tokens"}, "tokenizer is '.*'; allowed: none for the stage 'tokens'"),
        ({"start_from": "scenes"}, "tokenizer is '.*'; allowed: none with start_from 'scenes'"),
        ({"options": {"codes": 9}}, "codes is 9; allowed: none .*with the tokenizer"),
        ({"options": {"discriminator": True}}, "discriminator is True; allowed: none .*tokenizer"),
        ({"image_size": 36}, "image_size is 36; allowed: multiples of 8"),
    ],
)
def test_what_does_not_go_with_it_is_refused(tmp_path, train, arguments, message):
    tokenizer = write_tokenizer(tmp_path / "tokenizer")
    with pytest.raises(ValueError, match=message):
        train(tokenizer, tmp_path / "out", **arguments)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("kind", ["empty", "none"])
def test_a_folder_without_one_is_refused(tmp_path, train, kind):
    if kind == "empty":
        (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=f"{kind}"):
        train(tmp_path / kind, tmp_path / "out")
    assert not (tmp_path / "out" / "vqvae").exists()


def test_a_new_tokenizer_never_gets_into_a_finished_checkpoint(tmp_path, train):
    tokenizer = write_tokenizer(tmp_path / "tokenizer")
    train(tokenizer, tmp_path / "out")
    shutil.rmtree(tmp_path / "out" / "vqvae")
    with pytest.raises(FileExistsError, match="built on other tokens"):
        train(tokenizer, tmp_path / "out")

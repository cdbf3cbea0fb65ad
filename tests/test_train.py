"""Training: every stage runs, learns, freezes what it must, and loses nothing."""

import os
import subprocess
import sys
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from accelerate import Accelerator

from vqlearn import VQDiffusionPipeline, train
from vqlearn.checkpoints import folder as files
from vqlearn.data.scenes import HELD_OUT_PAIRS, scene_batch
from vqlearn.tokens.vqvae import VQVAEConfig
from vqlearn.transformer.denoiser import DenoiserConfig


@pytest.fixture
def small(monkeypatch):
    """Networks small enough to train in a test, of the same make."""
    vqvae = VQVAEConfig((8, 8, 8), 1, 8, 4, 16, 4, (), ())
    denoiser = DenoiserConfig(2, 8, 1, 16, True, 17, 8, train.NUM_TIMESTEPS)
    monkeypatch.setattr(train, "VQVAE_CONFIG", vqvae)
    monkeypatch.setattr(train, "DENOISER_CONFIG", denoiser)
    return {name: replace(r, steps=3, batch_size=4) for name, r in train.RECIPES.items()}


def test_the_three_stages_make_a_checkpoint_that_generates(small, tmp_path):
    accelerator = Accelerator(cpu=True)
    for name, stage in train.STAGES.items():
        stage(tmp_path, small[name], accelerator)
    pipeline = VQDiffusionPipeline.from_pretrained(tmp_path)
    assert pipeline("a small red circle", num_inference_steps=2).images[0].size == (32, 32)


def test_frozen_networks_get_no_gradient_and_do_not_move(small, tmp_path, monkeypatch):
    accelerator = Accelerator(cpu=True)
    for name in ("tokens", "text"):
        train.STAGES[name](tmp_path, small[name], accelerator)
    frozen = [files.load_vqvae(tmp_path), files.load_text_encoder(tmp_path)]
    before = [{k: v.clone() for k, v in module.state_dict().items()} for module in frozen]
    monkeypatch.setattr(files, "load_vqvae", lambda folder: frozen[0])
    monkeypatch.setattr(files, "load_text_encoder", lambda folder: frozen[1])
    train.train_diffusion(tmp_path, small["diffusion"], accelerator)
    for module, weights in zip(frozen, before, strict=True):
        for name, weight in module.named_parameters():
            assert weight.grad is None, name
            assert not weight.requires_grad, name
        assert all(torch.equal(v, weights[k]) for k, v in module.state_dict().items())


def test_the_null_states_learn_from_dropped_captions(small, tmp_path, monkeypatch):
    """20 batches of 16 at 10 % dropout: no caption at all is dropped once in 10^14 runs."""
    accelerator = Accelerator(cpu=True)
    for name in ("tokens", "text"):
        train.STAGES[name](tmp_path, small[name], accelerator)
    saved, fit = {}, train._fit

    def spy(accelerator, model, *rest):
        saved["before"] = model.null_text.embeddings.detach().clone()
        fit(accelerator, model, *rest)
        saved["after"] = model.null_text.embeddings.detach().clone()

    monkeypatch.setattr(train, "_fit", spy)
    recipe = replace(small["diffusion"], steps=20, batch_size=16)
    train.train_diffusion(tmp_path, recipe, accelerator)
    assert not torch.equal(saved["before"], saved["after"])
    assert torch.equal(files.load_null_text(tmp_path).embeddings, saved["after"])


def test_only_the_tokeniser_sees_held_out_pairs(small, tmp_path, monkeypatch):
    asked = []

    def spy(count, *, generator, composition, **rest):
        batch = scene_batch(count, generator=generator, composition=composition, **rest)
        asked.append((composition, batch))
        return batch

    monkeypatch.setattr(train, "scene_batch", spy)
    accelerator = Accelerator(cpu=True)
    recipe = replace(small["text"], batch_size=64)
    train.train_text(tmp_path, recipe, accelerator)
    train.train_tokens(tmp_path, recipe, accelerator)
    train.train_diffusion(tmp_path, recipe, accelerator)
    compositions = [composition for composition, _ in asked]
    stages = ["seen"] * (1 + recipe.steps), ["any"] * recipe.steps, ["seen"] * recipe.steps
    assert compositions == [composition for stage in stages for composition in stage]
    for composition, batch in asked:
        pairs = {thing.pair for scene in batch.scenes for thing in scene.objects}
        assert bool(pairs & HELD_OUT_PAIRS) == (composition == "any")


def test_tokens_learn(small, tmp_path, monkeypatch):
    """120 batches of a tiny network beat the best single colour by a wide margin."""
    recipe = replace(small["tokens"], steps=120, batch_size=16, warmup_steps=5)
    train.train_tokens(tmp_path, recipe, Accelerator(cpu=True))
    vqvae = files.load_vqvae(tmp_path)
    generator = torch.Generator().manual_seed(99)
    pictures = 2 * scene_batch(64, generator=generator, composition="any").images - 1
    with torch.no_grad():
        error = (vqvae(pictures)[0] - pictures).square().mean()
    flat = (pictures.mean(dim=(0, 2, 3), keepdim=True) - pictures).square().mean()
    assert error < flat / 2


def test_the_learning_rate_warms_up_and_falls():
    recipe = train.Recipe(steps=1000, batch_size=1, learning_rate=1.0, warmup_steps=100)
    rates = [train._warm_up_and_cosine(i, recipe) for i in range(1000)]
    assert rates[0] == pytest.approx(0.01, abs=1e-6)
    assert rates.index(max(rates)) in range(95, 105)
    assert rates[99:] == sorted(rates[99:], reverse=True)
    assert rates[-1] == pytest.approx(0.05, abs=1e-3)


def test_processes_draw_different_scenes_and_a_seed_repeats_them():
    recipe = train.Recipe(steps=1, batch_size=4, learning_rate=1.0)

    def pictures(rank):
        process = SimpleNamespace(process_index=rank)
        generator = train._generator(recipe, process, 0)
        return next(train._batches(recipe, generator, "seen")).images

    first, again, other = pictures(0), pictures(0), pictures(1)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_nothing_is_overwritten(small, tmp_path, monkeypatch):
    train.train_tokens(tmp_path, small["tokens"], Accelerator(cpu=True))
    with pytest.raises(FileExistsError, match=r"vqvae/config.json is there already"):
        train.refuse_to_overwrite(tmp_path, ["tokens", "text"])
    train.refuse_to_overwrite(tmp_path, ["text", "diffusion"])
    built_on_it = tmp_path / "other" / "model_index.json"
    built_on_it.parent.mkdir()
    built_on_it.touch()
    with pytest.raises(FileExistsError, match=r"model_index\.json is there already"):
        train.refuse_to_overwrite(tmp_path / "other", ["tokens"])
    with pytest.raises(OSError, match="model_index"):
        train.refuse_to_overwrite(built_on_it, ["tokens"])
    monkeypatch.setattr(os, "access", lambda folder, mode: False)
    with pytest.raises(PermissionError, match="cannot be written to"):
        train.refuse_to_overwrite(tmp_path / "readonly", ["tokens"])


def test_two_processes_train_one_checkpoint(tmp_path):
    """The command of the README, at full size, two batches a stage: it ends and can be loaded."""
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    train_all = ["-m", "vqlearn", "train", "--steps", "2", "--batch-size", "2"]
    result = subprocess.run(
        [*launch, *train_all, "--out", str(tmp_path / "both")],
        env={**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines() == [str(tmp_path / "both")]
    VQDiffusionPipeline.from_pretrained(tmp_path / "both")


def test_a_stage_out_of_order_says_what_is_missing(small, tmp_path):
    with pytest.raises(files.CheckpointError, match="vqvae"):
        train.train_diffusion(tmp_path, small["diffusion"], Accelerator(cpu=True))

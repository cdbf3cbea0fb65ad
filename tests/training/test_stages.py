"""Training: every stage runs, learns, freezes what it must, and loses nothing."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from accelerate import Accelerator
from PIL import Image
from support.accelerate_state import forget_accelerate
from support.tiny import edit_json, write_diffusers_folder
from support.training import train_stages as train
from torch import nn

from vqlearn import VQDiffusionPipeline
from vqlearn.checkpoints import folder as files
from vqlearn.checkpoints.layout import NULL_TEXT_FOLDER
from vqlearn.data import batches
from vqlearn.data.batches import Scenes
from vqlearn.data.scenes.captions import parse
from vqlearn.data.scenes.sampling import scene_batch
from vqlearn.data.scenes.world import HELD_OUT_PAIRS
from vqlearn.text.null_text import NullText, NullTextConfig
from vqlearn.tokens.vqvae import VQVAE, VQVAEConfig
from vqlearn.training import loop, optimizers, recipes, sizes
from vqlearn.training.stages import order as stages
from vqlearn.training.tasks import diffusion, reconstruction, text, tokens
from vqlearn.transformer.denoiser import Denoiser, DenoiserConfig


@pytest.fixture(autouse=True)
def fresh_accelerate():
    """accelerate keeps the precision of its first user for the whole process."""
    yield
    forget_accelerate()


@pytest.fixture
def small(monkeypatch):
    """Networks small enough to train in a test, of the same make."""

    def denoiser_config(*, num_codes, side, text_width, num_timesteps, size):
        return DenoiserConfig(2, 8, 1, text_width, True, num_codes + 1, side, num_timesteps)

    vqvae = VQVAEConfig((8, 8, 8), 1, 8, 48, 16, 4, (), ())
    monkeypatch.setattr(tokens, "vqvae_config", lambda *sizes: vqvae)
    monkeypatch.setattr(diffusion, "denoiser_config", denoiser_config)
    wanted = {name: recipes.RECIPES[name] for name in stages.VQ_DIFFUSION}
    return {name: replace(recipe, steps=3, batch_size=4) for name, recipe in wanted.items()}


def run_of(folder, recipe, composition="seen"):
    return loop.Run(folder, Scenes(32, composition), recipe, Accelerator(cpu=True))


def test_the_three_stages_make_a_checkpoint_that_generates(small, tmp_path):
    assert train(tmp_path, small) == []
    pipeline = VQDiffusionPipeline.from_pretrained(tmp_path)
    assert pipeline("a small red circle", num_inference_steps=2).images[0].size == (32, 32)
    assert files.load_clip(tmp_path).config.vision_config.image_size == 32
    texts = pipeline.text_encoder.model.state_dict(), files.load_clip(tmp_path).text_model
    assert all(torch.equal(value, texts[0][name]) for name, value in texts[1].state_dict().items())


def test_finished_stages_are_kept_and_a_base_is_not_changed_under_its_checkpoint(small, tmp_path):
    train(tmp_path, small)
    before = (tmp_path / "SHA256SUMS").read_bytes()
    assert train(tmp_path, small) == ["tokens", "text", "diffusion"]
    assert (tmp_path / "SHA256SUMS").read_bytes() == before
    (tmp_path / "vqvae" / "config.json").unlink()
    with pytest.raises(FileExistsError, match="built on other tokens"):
        train(tmp_path, small)


def test_a_folder_that_cannot_be_written_is_refused(small, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="file"):
        train(tmp_path / "file", small)
    monkeypatch.setattr(os, "access", lambda folder, mode: False)
    with pytest.raises(PermissionError, match="cannot be written to"):
        train(tmp_path / "readonly", small)


def test_a_training_goes_on_with_the_denoiser_of_a_checkpoint(small, tmp_path):
    """One batch at a learning rate of 0 with no running mean: the weights are the old ones."""
    old, new = tmp_path / "old", tmp_path / "new"
    recipe = {"diffusion": small["diffusion"]}
    train(old, small, {"diffusion": {"schedule": "released"}})
    assert train(new, {**small, **recipe}, start_from=old) == ["tokens", "text"]
    again, before = (VQDiffusionPipeline.from_pretrained(folder) for folder in (new, old))
    assert again.schedule == before.schedule
    assert before.schedule.gamma_cum_end == diffusion.SCHEDULES["released"](2, 100).gamma_cum_end
    assert (new / "clip" / "config.json").exists()
    still = {"diffusion": replace(small["diffusion"], steps=1, learning_rate=0.0)}
    train(tmp_path / "still", still, start_from=old)
    kept = VQDiffusionPipeline.from_pretrained(tmp_path / "still")
    for name, weight in before.denoiser.state_dict().items():
        assert torch.equal(kept.denoiser.state_dict()[name], weight)
    assert not torch.equal(again.denoiser.to_logits.weight, before.denoiser.to_logits.weight)
    assert torch.equal(kept.null_text.embeddings, before.null_text.embeddings)


def test_a_checkpoint_to_start_from_must_fit(small, tmp_path):
    old, recipe = tmp_path / "old", {"diffusion": small["diffusion"]}
    train(old, small)
    with pytest.raises(ValueError, match=r"image_size is 64; allowed: 32, as in"):
        train(tmp_path / "new", recipe, start_from=old, image_size=64)
    with pytest.raises(ValueError, match=r"schedule is 'paper'; allowed: none"):
        train(tmp_path / "new", recipe, {"diffusion": {"schedule": "paper"}}, start_from=old)
    (old / "SHA256SUMS").write_text("wrong")
    with pytest.raises(files.CheckpointError, match="SHA256SUMS holds the line 'wrong'"):
        train(tmp_path / "third", recipe, start_from=old)
    assert not (tmp_path / "third" / "vqvae").exists()


def test_a_checkpoint_as_diffusers_writes_it_can_be_trained_on(tmp_path):
    """Twelve channels of text, eleven codes, ten levels, 16 pixels: all from its own files."""
    hub = write_diffusers_folder(tmp_path / "hub", grid=8)
    recipe = {"diffusion": replace(recipes.RECIPES["diffusion"], steps=2, batch_size=2)}
    train(tmp_path / "new", recipe, start_from=hub, image_size=16)
    assert VQDiffusionPipeline.from_pretrained(tmp_path / "new").schedule.num_train_timesteps == 10


@pytest.mark.parametrize("missing", ["not learned", "no folder"])
def test_a_checkpoint_without_a_null_gets_one(tmp_path, missing, monkeypatch):
    """It starts as the empty caption, and learns: 12 batches of 16 with 10 % of captions replaced.

    No caption at all is replaced once in 10^8 runs.
    """
    monkeypatch.setattr(batches, "VOCABULARY_CAPTIONS", 64)
    old = without_null(write_diffusers_folder(tmp_path / "hub", grid=8), tmp_path / "old", missing)
    recipe = replace(recipes.RECIPES["diffusion"], steps=12, batch_size=16)
    train(tmp_path / "new", {"diffusion": recipe}, start_from=old, image_size=16)
    new = VQDiffusionPipeline.from_pretrained(tmp_path / "new")
    assert new.null_text.config == NullTextConfig(True, 12, 9)
    assert new("a red circle", 2, guidance_scale=2.0).images[0].size == (16, 16)

    again = loop.Run(tmp_path / "new", Scenes(16, "seen"), recipe, start_from=old)
    begun = diffusion.diffusion_task(again).network.null_text
    torch.testing.assert_close(begun(1), new.text_encoder([""]))
    assert not torch.equal(begun.embeddings, new.null_text.embeddings)


def without_null(full, folder, missing):
    """The checkpoint with a null that is not learned, or without the folder of one."""
    pipeline = VQDiffusionPipeline.from_pretrained(full)
    pipeline.null_text = NullText(NullTextConfig(learnable=False))
    pipeline.save_pretrained(folder)
    if missing == "no folder":
        shutil.rmtree(folder / NULL_TEXT_FOLDER)
        edit_json(folder / "model_index.json", **{NULL_TEXT_FOLDER: ...})
        (folder / "SHA256SUMS").unlink()
    return folder


def test_pictures_of_64_pixels(small, tmp_path):
    train(tmp_path, small, image_size=64)
    pipeline = VQDiffusionPipeline.from_pretrained(tmp_path)
    assert pipeline("a red circle", num_inference_steps=1).images[0].size == (64, 64)
    with pytest.raises(ValueError, match=r"image_size is 30; allowed: multiples of 4"):
        stages.open_source("scenes", 30)


def test_a_folder_of_pictures_is_learned(small, tmp_path):
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    lines = []
    for name in ("red", "blue"):
        Image.new("RGB", (40, 50), name).save(pictures / f"{name}.png")
        lines.append(json.dumps({"file_name": f"{name}.png", "text": f"all {name}"}))
    (pictures / "metadata.jsonl").write_text("\n".join(lines))
    train(tmp_path / "out", small, data=str(pictures))
    VQDiffusionPipeline.from_pretrained(tmp_path / "out")
    with pytest.raises(
        FileNotFoundError, match=r"data is 'nowhere'; allowed: 'scenes', or a folder"
    ):
        train(tmp_path / "other", small, data="nowhere")


@pytest.mark.parametrize("schedule", ["paper", "absorbing", "released"])
def test_every_schedule_is_trained_and_written(small, tmp_path, schedule):
    wanted = {name: small[name] for name in ("tokens", "text")}
    train(tmp_path, wanted)
    recipe = {"diffusion": small["diffusion"]}
    train(tmp_path, recipe, {"diffusion": {"schedule": schedule}})
    written = files.load_token_model(tmp_path).process.schedule.config
    num_codes = files.load_vqvae(tmp_path).config.num_vq_embeddings
    assert written == diffusion.SCHEDULES[schedule](num_codes, 100)


def test_mixed_precision_keeps_float32_weights(small, tmp_path):
    train(tmp_path, small, mixed_precision="bf16")
    pipeline = VQDiffusionPipeline.from_pretrained(tmp_path)
    assert pipeline.dtype == torch.float32
    assert all(weight.isfinite().all() for weight in pipeline.denoiser.parameters())


def test_tensorboard_curves_are_written(small, tmp_path):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    train(tmp_path, {"tokens": small["tokens"]}, log_with="tensorboard")
    (log,) = (tmp_path / "logs" / "tokens").glob("events*")
    events = accumulator.EventAccumulator(str(log)).Reload()
    assert [event.step for event in events.Scalars("tokens/loss")] == [0]


def test_frozen_networks_get_no_gradient_and_do_not_move(small, tmp_path, monkeypatch):
    train(tmp_path, {name: small[name] for name in ("tokens", "text")})
    frozen = [files.load_vqvae(tmp_path), files.load_text_encoder(tmp_path)]
    before = [{k: v.clone() for k, v in module.state_dict().items()} for module in frozen]
    monkeypatch.setattr(files, "load_vqvae", lambda folder: frozen[0])
    monkeypatch.setattr(files, "load_text_encoder", lambda folder: frozen[1])
    train(tmp_path, {"diffusion": small["diffusion"]})
    for module, weights in zip(frozen, before, strict=True):
        for name, weight in module.named_parameters():
            assert weight.grad is None, name
            assert not weight.requires_grad, name
        assert all(torch.equal(v, weights[k]) for k, v in module.state_dict().items())


def test_the_null_states_learn_from_dropped_captions(small, tmp_path, monkeypatch):
    """20 batches of 16 at 10 % dropout: no caption at all is dropped once in 10^14 runs."""
    train(tmp_path, {name: small[name] for name in ("tokens", "text")})
    recipe = replace(small["diffusion"], steps=20, batch_size=16)
    task = diffusion.diffusion_task(run_of(tmp_path, recipe))
    before = task.network.null_text.embeddings.detach().clone()
    trained = loop.fit("diffusion", task)
    assert not torch.equal(trained.null_text.embeddings, before)


def test_only_the_tokeniser_sees_held_out_pairs(small, tmp_path, monkeypatch):
    asked, batch = [], Scenes.batch

    def spy(self, count, *, generator):
        made = batch(self, count, generator=generator)
        asked.append((self.composition, made))
        return made

    monkeypatch.setattr(Scenes, "batch", spy)
    wanted = {name: replace(recipe, batch_size=64) for name, recipe in small.items()}
    train(tmp_path, wanted)
    expected = ["any"] * 3 + ["seen"] * 3 + ["seen"] * 3
    assert [composition for composition, _ in asked] == expected
    for composition, made in asked:
        pairs = {(o.colour, o.shape) for each in made.captions for o in parse(each).objects}
        assert bool(pairs & HELD_OUT_PAIRS) == (composition == "any")


def test_tokens_learn(small, tmp_path):
    """120 batches of a tiny network beat the best single colour by a wide margin."""
    recipe = replace(small["tokens"], steps=120, batch_size=16, warmup_steps=5, ema_decay=0.9)
    task = tokens.tokens_task(run_of(tmp_path, recipe))
    task.save(loop.fit("tokens", task))
    vqvae = files.load_vqvae(tmp_path)
    generator = torch.Generator().manual_seed(99)
    images = scene_batch(64, generator=generator, composition="any").images
    pictures = 2 * images - 1
    with torch.no_grad():
        error = (vqvae(images)[0] - pictures).square().mean()
    flat = (pictures.mean(dim=(0, 2, 3), keepdim=True) - pictures).square().mean()
    assert error < flat / 2


def test_the_discriminator_joins_in_the_second_half(small, tmp_path):
    recipe = replace(small["tokens"], steps=6)
    vqvae = VQVAE(tokens.vqvae_config())
    task = tokens.NearestTask(run_of(tmp_path, recipe, "any"), vqvae, discriminator=True)
    discriminator = task.adversary.network
    before = [weight.detach().clone() for weight in discriminator.parameters()]
    batch = task.run.source.batch(4, generator=torch.Generator().manual_seed(0))
    for step in range(6):
        losses, seen = task.losses(task.network, batch, step)
        assert ("adversarial" in losses) == (step >= 3)
        losses["loss"].backward()
        assert all(weight.grad is None for weight in discriminator.parameters())
        task.after_step(step, seen)
        same = all(map(torch.equal, before, discriminator.parameters()))
        assert same == (step < 3)


def test_the_own_square_of_a_token_is_where_the_decoder_draws_it():
    """Image 1, row 2, column 5, and the pixels in the order channel, row, column."""
    pictures = torch.rand(2, 3, 32, 32)
    features = torch.zeros(2, 8, 8, 48)
    features[1, 2, 5] = pictures[1, :, 8:12, 20:24].flatten()
    without = pictures.clone()
    without[1, :, 8:12, 20:24] = 0
    loss = reconstruction.own_square_loss(features, pictures)
    assert loss.item() == pytest.approx(without.square().mean().item(), rel=1e-5)


def test_vectors_are_pulled_towards_their_own_squares(small, tmp_path, monkeypatch):
    """After 120 batches of a tiny network: how far are they away, with the loss and without?"""
    images = Scenes(32, "any").batch(64, generator=torch.Generator().manual_seed(9)).images
    away = {}
    for weight in (10.0, 0.0):
        monkeypatch.setattr(reconstruction, "OWN_SQUARE_WEIGHT", weight)
        folder = tmp_path / str(weight)
        recipe = replace(small["tokens"], steps=120, batch_size=16, warmup_steps=5, ema_decay=0.9)
        task = tokens.tokens_task(run_of(folder, recipe))
        task.save(loop.fit("tokens", task))
        with torch.no_grad():
            features = files.load_vqvae(folder).encode_features(images)
        away[weight] = reconstruction.own_square_loss(features, 2 * images - 1).item()
    assert away[10.0] < away[0.0] / 2


def test_the_learning_rate_warms_up_and_falls():
    recipe = recipes.Recipe(1000, 1, learning_rate=1.0, ema_decay=0.9)
    rates = [optimizers.warm_up_and_cosine(i, recipe) for i in range(1000)]
    assert rates[0] == pytest.approx(0.01, abs=1e-6)
    assert rates.index(max(rates)) in range(95, 105)
    assert rates[99:] == sorted(rates[99:], reverse=True)
    assert rates[-1] == pytest.approx(0.05, abs=1e-3)


class Counting(nn.Module):
    """A network whose only weight is pushed up by 1 a step (learning rate 1, constant gradient)."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(()))


def test_the_weights_that_are_kept_are_the_running_mean(tmp_path, monkeypatch):
    seen, network = [], Counting()
    recipe = recipes.Recipe(60, 1, learning_rate=0.1, ema_decay=0.8, warmup_steps=1)
    task = SimpleNamespace(
        run=run_of(tmp_path, recipe),
        network=network,
        muon_weights=[],
        config={},
        extra_state=[],
        begin=lambda: None,
        losses=lambda net, batch, step: ({"loss": -net.weight}, step),
        after_step=lambda step, given: seen.append((network.weight.item(), given - step)),
    )
    kept = loop.fit("counting", task)
    assert {given for _, given in seen} == {0}
    seen = [weight for weight, _ in seen]
    expected = seen[0]
    for count, weight in enumerate(seen[1:], start=1):
        decay = min(0.8, (1 + count) / (10 + count))
        expected = decay * expected + (1 - decay) * weight
    assert kept.weight.item() == pytest.approx(expected, rel=1e-5)
    assert kept.weight.item() < seen[-1]


@pytest.mark.parametrize("by_muon", [True, False])
def test_the_listed_weights_of_a_stage_learn_by_muon(tmp_path, by_muon):
    """Muon moves in all directions equally, however uneven the gradient is; Adam does not."""
    network = nn.Linear(16, 16)
    before = {name: weight.detach().clone() for name, weight in network.named_parameters()}
    random = torch.Generator().manual_seed(0)
    left, right = (torch.randn(16, 16, generator=random).svd().U for _ in range(2))
    gradient = left @ torch.logspace(0, -1, 16).diag() @ right.T
    recipe = recipes.Recipe(1, 1, learning_rate=0.1, ema_decay=0.9, warmup_steps=1)
    task = SimpleNamespace(
        run=run_of(tmp_path, recipe),
        network=network,
        muon_weights=[network.weight] if by_muon else [],
        config={},
        extra_state=[],
        begin=lambda: None,
        losses=lambda net, batch, step: (
            {"loss": (net.weight * gradient).sum() + net.bias.sum()},
            None,
        ),
        after_step=lambda step, seen: None,
    )
    loop.fit("one step", task)
    moved = (network.weight - before["weight"]).detach()
    stretch = torch.linalg.svdvals(moved)
    assert (stretch.max() < 2 * stretch.min()) == by_muon
    assert (moved * gradient).sum() < 0
    assert torch.allclose(network.bias - before["bias"], torch.full((16,), -0.1), atol=1e-6)


def test_muon_gets_attention_and_feed_forward_and_nothing_else():
    denoiser = Denoiser(sizes.denoiser_config(num_codes=5, side=2, text_width=4))
    names = {id(weight): name for name, weight in denoiser.named_parameters()}
    chosen = [names[id(weight)] for weight in optimizers.muon_weights(denoiser)]
    assert len(chosen) == len(set(chosen)) == 6 * (4 + 4 + 2)
    assert all(".weight" in name and name.startswith("blocks.") for name in chosen)
    assert not any(word in name for name in chosen for word in ("norm", "embedding", "scale"))


def test_muon_gets_the_hidden_maps_of_both_towers_of_the_clip(tmp_path):
    task = text.TextTask(run_of(tmp_path, recipes.RECIPES["text"]))
    names = {id(weight): name for name, weight in task.network.named_parameters()}
    chosen = [names[id(weight)] for weight in task.muon_weights]
    assert len(chosen) == len(set(chosen)) == (2 + 3) * (4 + 2)
    assert all("encoder.layers." in name and name.endswith(".weight") for name in chosen)


def test_recipes_refuse_nothing_to_do():
    with pytest.raises(ValueError, match=r"steps is 0; allowed: 1 or more"):
        replace(recipes.RECIPES["text"], steps=0)


LAUNCHERS = {
    "torchrun": ["torch.distributed.run", "--standalone", "--nproc_per_node=2"],
    "accelerate": ["accelerate.commands.launch", "--multi_gpu", "--num_processes=2"],
}


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_two_processes_train_one_checkpoint(tmp_path, launcher):
    """The commands of the README, at full size, three batches a stage: ranks agree at the end."""
    script = tmp_path / "both.py"
    script.write_text(
        "import pathlib, sys, torch\n"
        "from accelerate import PartialState\n"
        "from vqlearn.training.stages import order\n"
        "from vqlearn.cli.commands import app\n"
        "fit = order.fit\n"
        "def checked(name, task):\n"
        "    kept, run = fit(name, task), task.run\n"
        "    assert run.accelerator.num_processes == 2\n"
        "    learned = torch.cat([p.detach().flatten() for p in task.network.parameters()])\n"
        "    mean = torch.cat([p.detach().flatten() for p in kept.parameters()])\n"
        "    both = run.accelerator.gather(torch.stack([learned, mean])[None])\n"
        "    assert torch.equal(both[0], both[1]), name\n"
        "    rank = run.accelerator.process_index\n"
        "    pathlib.Path(f'{name}-{rank}'.replace('/', '-')).touch()\n"
        "    return kept\n"
        "order.fit = checked\n"
        "app(sys.argv[1:])\n"
    )
    launch = [sys.executable, "-m", *LAUNCHERS[launcher], str(script), "train"]
    size = ["--steps", "3", "--batch-size", "2", "--discriminator", "--save-every", "2"]
    result = subprocess.run(
        [*launch, *size, "--out", str(tmp_path / "out")],
        cwd=tmp_path,
        env={**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    for stage in stages.VQ_DIFFUSION:
        for process in (0, 1):
            assert (tmp_path / f"{stage}-{process}").exists()
    assert result.stdout.count(str(tmp_path / "out")) == 1
    VQDiffusionPipeline.from_pretrained(tmp_path / "out")


def test_a_stage_out_of_order_says_what_is_missing(small, tmp_path):
    with pytest.raises(files.CheckpointError, match="has no VQ network"):
        train(tmp_path, {"diffusion": small["diffusion"]})

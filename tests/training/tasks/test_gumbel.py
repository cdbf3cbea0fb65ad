"""The tokens of DALL-E: schedules and loss by hand, their chance, and all that is built on them."""

import json
from dataclasses import replace

import pytest
import torch
from accelerate import Accelerator
from support.accelerate_state import forget_accelerate
from support.training import train_stages

from vqlearn import VQDiffusionPipeline
from vqlearn.checkpoints import folder as files
from vqlearn.cli.verify import agreement
from vqlearn.data.batches import Scenes
from vqlearn.data.scenes.sampling import scene_batch
from vqlearn.evaluation import prompts as evaluate
from vqlearn.tokens.gumbel import GumbelQuantizer
from vqlearn.tokens.quantizer import perplexity
from vqlearn.tokens.vqvae import VQVAE, VQVAEConfig
from vqlearn.training import loop, recipes
from vqlearn.training.stages import order
from vqlearn.training.tasks import diffusion, reconstruction, tokens
from vqlearn.training.tasks import gumbel as dvae
from vqlearn.transformer.denoiser import DenoiserConfig

SMALL = VQVAEConfig((8, 8, 8), 1, 8, 48, 16, 4, (), ())
GUMBEL = {"quantizer": "gumbel"}


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

    monkeypatch.setattr(tokens, "vqvae_config", lambda *sizes: SMALL)
    monkeypatch.setattr(diffusion, "denoiser_config", denoiser_config)
    wanted = {name: recipes.RECIPES[name] for name in order.VQ_DIFFUSION}
    return {name: replace(recipe, steps=3, batch_size=4) for name, recipe in wanted.items()}


def run_of(folder, steps=10, **changes):
    recipe = replace(recipes.RECIPES["tokens"], steps=steps, batch_size=4, **changes)
    return loop.Run(folder, Scenes(32, "any"), recipe, Accelerator(cpu=True))


def make(folder, seed=0, **options):
    torch.manual_seed(0)
    vqvae = VQVAE(replace(SMALL, quantizer="gumbel"))
    task = dvae.GumbelTask(run_of(folder, **options), vqvae, discriminator=False)
    torch.manual_seed(seed)
    return task


def a_batch():
    return Scenes(32, "any").batch(4, generator=torch.Generator().manual_seed(7))


def test_the_temperature_falls_from_1_to_a_sixteenth():
    assert dvae.temperature(0, 100) == 1
    assert dvae.temperature(50, 100) == pytest.approx(17 / 32)
    assert dvae.temperature(100, 100) == 1 / 16
    values = [dvae.temperature(step, 100) for step in range(100)]
    assert values == sorted(values, reverse=True)
    assert len(set(values)) == 100
    assert dvae.temperature(0, 1) == 1


def test_the_weight_of_the_kl_grows_from_0_in_the_first_tenth():
    values = [dvae.kl_weight(step, 1000) for step in range(1000)]
    assert values[0] == 0
    assert values[50] == pytest.approx(dvae.KL_WEIGHT / 2)
    assert values[99] < values[100]
    assert set(values[100:]) == {dvae.KL_WEIGHT}


@pytest.mark.parametrize("step", [0, 5, 9])
def test_the_loss_is_the_bound_divided_by_all_numbers_of_a_picture(tmp_path, step):
    """A bound for each of 4 images: errors of its 3 x 32 x 32 numbers, and KL of its 64 tokens.

    The temperature, the weight and the draws of the step are put in by hand. Own squares are added.
    """
    task, batch = make(tmp_path), a_batch()
    losses, _ = task.losses(task.network, batch, step)
    pictures, vqvae = 2 * batch.images - 1, task.vqvae
    features = vqvae.encode_features(batch.images)
    drawn = vqvae.quantizer(
        features,
        temperature=dvae.temperature(step, 10),
        generator=task.run.noise(step),
    )
    log_q = vqvae.quantizer.log_probabilities(features)  # (4, 8, 8, 16)
    kl = (log_q.exp() * (log_q - torch.full((16,), 1 / 16).log())).sum(dim=(1, 2, 3))  # (4)
    error = vqvae.decode_vectors(drawn.vectors) - pictures
    bound = (error.abs() + error.square()).sum(dim=(1, 2, 3)) + dvae.kl_weight(step, 10) * kl
    own = 10 * reconstruction.own_square_loss(features, pictures)
    expected = bound.mean() / (3 * 32 * 32) + own
    assert losses["loss"].item() == pytest.approx(expected.item(), rel=1e-5)
    assert losses["kl"].item() == pytest.approx(kl.mean().item() / 64, rel=1e-4)
    assert losses["perplexity"] == drawn.perplexity


def test_the_decoder_sees_mixtures_that_sharpen(tmp_path):
    task, batch = make(tmp_path), a_batch()
    largest = []
    for step in (0, 9):
        _, seen = task.losses(task.network, batch, step)
        weights = seen.quantized.weights
        assert ((weights > 1e-3) & (weights < 1 - 1e-3)).any(dim=-1).float().mean() > 0.1
        largest.append(weights.amax(dim=-1).mean())
    assert largest[0] < 0.75
    assert largest[1] > 0.85


def test_the_draws_of_a_step_belong_to_it_and_to_nothing_else(tmp_path):
    batch, draws = a_batch(), []
    for seed, step in ((0, 3), (1, 3), (0, 4)):
        task = make(tmp_path, seed)
        state = torch.get_rng_state()
        _, seen = task.losses(task.network, batch, step)
        assert torch.equal(torch.get_rng_state(), state)
        draws.append(seen.quantized)
    assert torch.equal(draws[0].weights, draws[1].weights)
    assert draws[0].indices.ne(draws[2].indices).float().mean() > 0.2


def test_every_weight_learns_by_gradient_and_nothing_beside_it(tmp_path):
    task = make(tmp_path)
    losses, seen = task.losses(task.network, a_batch(), 5)
    losses["loss"].backward()
    silent = [name for name, weight in task.network.named_parameters() if weight.grad is None]
    assert silent == []
    before = [weight.detach().clone() for weight in task.network.parameters()]
    task.after_step(19, seen)  # a step after which dead codes of the other kind move
    assert all(map(torch.equal, before, task.network.parameters()))
    assert not task.extra_state


def stop_after(steps, monkeypatch):
    """A training that is stopped by an error when this many steps are done."""
    losses = dvae.GumbelTask.losses

    def until(self, network, batch, step):
        if step == steps:
            raise KeyboardInterrupt
        return losses(self, network, batch, step)

    monkeypatch.setattr(dvae.GumbelTask, "losses", until)


def test_a_stopped_training_goes_on_to_the_same_bytes(small, tmp_path, monkeypatch):
    """And only with the same quantizer."""
    recipe = {"tokens": replace(small["tokens"], steps=6, save_every=2)}
    options = {"tokens": GUMBEL}
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    train_stages(whole, recipe, options)
    with monkeypatch.context() as patch:
        stop_after(4, patch)
        with pytest.raises(KeyboardInterrupt):
            train_stages(stopped, recipe, options)
    assert [path.name for path in (stopped / ".training" / "tokens").iterdir()] == ["4"]
    with pytest.raises(ValueError, match=r"quantizer 'nearest' is not allowed: quantizer 'gumbel'"):
        train_stages(stopped, recipe)
    train_stages(stopped, recipe, options)
    files_of = [sorted((folder / "vqvae").iterdir()) for folder in (whole, stopped)]
    assert len(files_of[0]) == len(files_of[1]) == 2
    for one, other in zip(*files_of, strict=True):
        assert one.read_bytes() == other.read_bytes()


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_all_stages_stand_on_drawn_tokens(small, tmp_path, monkeypatch):
    """A checkpoint that generates, is measured, verified, saved, and loaded again."""
    folder, again = tmp_path / "model", tmp_path / "again"
    assert train_stages(folder, small, {"tokens": GUMBEL}) == []
    pipeline = VQDiffusionPipeline.from_pretrained(folder)
    assert isinstance(pipeline.vqvae.quantizer, GumbelQuantizer)
    assert pipeline("a small red circle", num_inference_steps=2).images[0].size == (32, 32)
    monkeypatch.setattr(evaluate, "text_probe", lambda encoder: dict.fromkeys(("seen", "held_out")))
    report = evaluate.evaluate(pipeline, None, evaluate.Evaluation(1, prompts=2))
    assert report["seen"].ceiling.total == 2
    assert agreement(pipeline)[0]["picture"] < 1e-5
    pipeline.save_pretrained(again)
    assert json.loads((again / "vqvae" / "config.json").read_text())["quantizer"] == "gumbel"
    for name in ("config.json", "diffusion_pytorch_model.safetensors"):
        assert (again / "vqvae" / name).read_bytes() == (folder / "vqvae" / name).read_bytes()


def test_drawn_tokens_learn(small, tmp_path):
    """120 batches of a tiny network beat the best single colour, and many codes are in use."""
    run = run_of(tmp_path, 120, warmup_steps=5, ema_decay=0.9)
    run = replace(run, recipe=replace(run.recipe, batch_size=16))
    torch.manual_seed(0)
    task = tokens.tokens_task(run, **GUMBEL)
    task.save(loop.fit("tokens", task))
    vqvae = files.load_vqvae(tmp_path)
    generator = torch.Generator().manual_seed(99)
    pictures = scene_batch(64, generator=generator, composition="any").images
    with torch.no_grad():
        error = (vqvae.decode(vqvae.encode(pictures)) - pictures).square().mean()
    flat = (pictures.mean(dim=(0, 2, 3), keepdim=True) - pictures).square().mean()
    print(error / flat, perplexity(vqvae.encode(pictures), 16))
    assert error < flat / 2
    assert perplexity(vqvae.encode(pictures), 16) > 4

"""The two stages that write tokens: they learn what they should, and go on when stopped."""

import math
from dataclasses import replace

import pytest
import torch
from accelerate import Accelerator
from support.accelerate_state import forget_accelerate
from support.tiny import write_diffusers_folder
from support.training import train_stages

from vqlearn import TextToImagePipeline
from vqlearn.checkpoints import folder as files
from vqlearn.checkpoints import layout
from vqlearn.checkpoints.shipped import resolve
from vqlearn.data.batches import Batch, Scenes
from vqlearn.probability.model import Conditioning
from vqlearn.text.null_text import drop_captions
from vqlearn.training import loop
from vqlearn.training.recipes import Recipe
from vqlearn.training.sizes import Size, denoiser_config
from vqlearn.training.tasks import autoregressive, captioned

RECIPE = Recipe(steps=4, batch_size=4, learning_rate=1e-2, ema_decay=0.9, warmup_steps=2)
SMALL = Size(width=16, num_layers=1, num_heads=2)
BOTH = pytest.mark.parametrize("stage", ["raster", "imagebart"])


def options_of(stage, size=SMALL, num_scales=2):
    scales = {} if stage == "raster" else {"num_scales": num_scales}
    return {"size": size, **scales}


def task_of(stage, run, size=SMALL, num_scales=2):
    make = {"raster": autoregressive.raster_task, "imagebart": autoregressive.imagebart_task}
    return make[stage](run, **options_of(stage, size, num_scales))


def train(stage, run, size=SMALL, num_scales=2):
    task = task_of(stage, run, size, num_scales)
    trained = loop.fit(stage, task)
    task.save(trained)
    return trained


@pytest.fixture(autouse=True)
def fresh_accelerate():
    """accelerate keeps the precision of its first user for the whole process."""
    yield
    forget_accelerate()


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """Frozen parts with random weights: 11 codes, 2 x 2 pixels a token, 9 text states."""
    return write_diffusers_folder(tmp_path_factory.mktemp("base"))


def run_of(folder, recipe=RECIPE, source=None, *, mixed_precision="no", **others):
    source = Scenes(16, "any") if source is None else source
    accelerator = Accelerator(cpu=True, mixed_precision=mixed_precision)
    return loop.Run(folder, source, recipe, accelerator, **others)


def same(a, b):
    pairs = zip(a.parameters(), b.parameters(), strict=True)
    return all(torch.equal(p, q) for p, q in pairs)


def copied(base, folder):
    """The frozen parts alone: nothing else is read."""
    for part in (layout.VQVAE_FOLDER, layout.TEXT_FOLDER, layout.TOKENIZER_FOLDER):
        (folder / part).mkdir(parents=True)
        for file in (base / part).iterdir():
            (folder / part / file.name).write_bytes(file.read_bytes())
    return folder


@BOTH
def test_the_network_fits_the_tokens_and_the_text(base, tmp_path, stage):
    trained = train(stage, run_of(copied(base, tmp_path)))
    config = trained.model.config
    assert (config.num_codes, config.num_positions) == (11, 64)
    assert (config.text_width, config.text_length) == (12, 9)
    assert (config.width, config.num_layers, config.num_heads) == (16, 1, 2)
    assert stage == "raster" or config.num_scales == 2
    assert trained.null_text(2).shape == (2, 9, 12)
    assert not trained.training
    assert {weight.device.type for weight in trained.parameters()} == {"cpu"}
    folder = {"raster": "raster_transformer", "imagebart": "imagebart"}[stage]
    frozen = {layout.VQVAE_FOLDER, layout.TEXT_FOLDER, layout.TOKENIZER_FOLDER}
    written = {folder, layout.NULL_TEXT_FOLDER, layout.INDEX_FILE, "SHA256SUMS"}
    assert {path.name for path in tmp_path.iterdir()} == frozen | written
    read = files.load_token_model(tmp_path)
    assert type(read) is type(trained.model)
    assert read.config == config
    assert same(read, trained.model)
    assert same(files.load_null_text(tmp_path), trained.null_text)


def test_the_full_size_is_that_of_the_denoiser(base):
    denoiser = denoiser_config(num_codes=384, side=8, text_width=12)
    size = (denoiser.width, denoiser.num_layers, denoiser.num_attention_heads)
    makers = (autoregressive.raster_task, autoregressive.imagebart_task)
    raster, imagebart = (make(run_of(base)).network.model.config for make in makers)
    for config in (raster, imagebart):
        assert (config.width, config.num_layers, config.num_heads) == size
    assert imagebart.num_scales == 3


def test_a_scale_has_seven_thirds_of_the_weights_of_a_transformer(base):
    """Matrices inside the blocks: 12 d² for each, and 12 d² + 16 d² for each of T scales."""
    size = Size(width=32, num_layers=2, num_heads=4)
    found = [
        sum(matrix.numel() for matrix in task_of(stage, run_of(base), size).muon_weights)
        for stage in ("raster", "imagebart")
    ]
    assert found == [2 * 12 * 32**2, 2 * 2 * 28 * 32**2]


def example(task, monkeypatch):
    """A batch whose tokens are made up, so that all codes occur; text, tokens, images seen.

    Images reach the tokeniser on -1 to 1.
    """
    generator = torch.Generator().manual_seed(0)
    x, seen = torch.randint(11, (4, 64), generator=generator), []
    monkeypatch.setattr(task.frozen.vqvae, "encode", lambda images: seen.append(images) or x)
    images = torch.rand(4, 3, 16, 16, generator=generator)
    batch = Batch(images, ["a red circle", "a blue square", "a green ring", ""])
    text, null = task.frozen.encoder(batch.captions), task.network.null_text(4)
    assert (text - null).abs().max() > 0.1
    return batch, x, (text, null), seen


@BOTH
def test_the_loss_is_the_mean_surprise_of_a_token(base, monkeypatch, stage):
    """Nats per token, with the captions of the batch; at a dropout of 1, with "no caption".

    That of an ImageBART is its bound, with the chance of the step.
    """
    task = task_of(stage, run_of(base))
    network = task.network.model
    batch, x, texts, seen = example(task, monkeypatch)
    for rate, said in zip((0.0, 1.0), texts, strict=True):
        monkeypatch.setattr(captioned, "CAPTION_DROPOUT", rate)
        losses, _ = task.losses(task.network, batch, 5)
        if stage == "raster":
            nats = network.nll(x, Conditioning(said))
        else:
            noise = task.run.noise(5)
            torch.rand(4, generator=noise)  # which captions are dropped
            nats = network.nll(x, Conditioning(said), generator=noise)
        torch.testing.assert_close(losses["loss"].double(), nats.sum().double() / (4 * 64))
        assert torch.equal(seen[-1], batch.images)


@BOTH
def test_every_weight_learns_in_every_step(base, monkeypatch, stage):
    """All scales, and the states of "no caption" whenever one caption is dropped."""
    monkeypatch.setattr(captioned, "CAPTION_DROPOUT", 0.5)
    task = task_of(stage, run_of(base))
    batch, *_ = example(task, monkeypatch)
    losses, _ = task.losses(task.network, batch, 0)
    losses["loss"].backward()
    for name, parameter in task.network.named_parameters():
        if not name.endswith("key.bias"):  # adds the same score to every key: softmax ignores it
            assert parameter.grad.abs().max() > 0, name


@BOTH
def test_which_captions_are_dropped_is_a_matter_of_the_step(base, monkeypatch, stage):
    """The same step drops the same captions; one in ten, 0.1 plus or minus 5 sigma of 2,000."""
    monkeypatch.setattr(captioned, "drop_captions", spy := Spy())
    task = task_of(stage, run_of(base))
    batch = task.run.source.batch(40, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        for step in (*range(50), 7):
            task.losses(task.network, batch, step)
    assert torch.equal(spy.dropped[7], spy.dropped[50])
    assert not torch.equal(spy.dropped[7], spy.dropped[8])
    share = torch.cat(spy.dropped[:50]).double().mean().item()
    assert abs(share - 0.1) < 5 * math.sqrt(0.1 * 0.9 / 2000)


class Spy:
    """`drop_captions` that remembers which rows of the text were replaced."""

    def __init__(self):
        self.dropped = []

    def __call__(self, text, null, rate, *, generator):
        result = drop_captions(text, null, rate, generator=generator)
        self.dropped.append((result != text).any(dim=2).any(dim=1))
        return result


@BOTH
def test_frozen_networks_get_no_gradient_and_the_null_states_learn(base, stage):
    task = task_of(stage, run_of(base, replace(RECIPE, steps=10, batch_size=16)))
    frozen = (task.frozen.vqvae, task.frozen.encoder)
    before = [{k: v.clone() for k, v in each.state_dict().items()} for each in frozen]
    null = task.network.null_text.embeddings.detach().clone()
    trained = loop.fit(stage, task)
    for module, weights in zip(frozen, before, strict=True):
        assert not any(weight.requires_grad for weight in module.parameters())
        assert all(torch.equal(v, weights[k]) for k, v in module.state_dict().items())
    assert not torch.equal(trained.null_text.embeddings, null)


@BOTH
def test_muon_gets_attention_and_feed_forward_and_nothing_else(base, stage):
    task = task_of(stage, run_of(base))
    names = {id(weight): name for name, weight in task.network.named_parameters()}
    chosen = [names[id(weight)] for weight in task.muon_weights]
    parts = ["model.blocks.0."]
    if stage == "imagebart":
        halves = ("encoder", "decoder")
        parts = [f"model.scales.{t}.{half}.0." for t in (0, 1) for half in halves]
    expected = [4 + 2] if stage == "raster" else 2 * [4 + 2, 4 + 4 + 2]
    assert len(chosen) == len(set(chosen)) == sum(expected)
    assert [sum(name.startswith(part) for name in chosen) for part in parts] == expected
    assert all(name.endswith(".weight") and "norm" not in name for name in chosen)


class TwoPictures(Scenes):
    """Half of the images are black, half are white, and the caption says which."""

    def batch(self, count, *, generator):
        white = torch.rand(count, generator=generator) < 0.5
        images = white.float()[:, None, None, None].expand(-1, 3, 16, 16)
        return Batch(images, ["a blue square" if one else "a red circle" for one in white])


@BOTH
def test_it_learns_what_the_caption_says(base, tmp_path, stage):
    """Two rows: log 2 nats a row without the caption, nothing with it; at first 64 log 11.

    Both hold for the likelihood and for the bound of an ImageBART, whose steps back may be any
    distribution.
    """
    recipe = replace(RECIPE, steps=120, batch_size=16)
    source = TwoPictures(16, "any")
    trained = train(stage, run_of(copied(base, tmp_path), recipe, source))
    batch = source.batch(32, generator=torch.Generator().manual_seed(1))
    x = files.load_vqvae(base).encode(batch.images)
    assert len(x.unique(dim=0)) == 2
    captions = files.load_text_encoder(base)(batch.captions)

    def nats(text):
        generator = torch.Generator().manual_seed(2)
        return trained.model.nll(x, Conditioning(text), generator=generator).mean().item()

    assert nats(captions) < 0.35
    assert math.log(2) - 0.1 < nats(trained.null_text(1)) < 5


@BOTH
def test_a_training_that_was_stopped_goes_on_bit_for_bit(base, tmp_path, monkeypatch, stage):
    recipe = replace(RECIPE, steps=6, save_every=2)
    whole, stopped = copied(base, tmp_path / "whole"), copied(base, tmp_path / "stopped")
    torch.manual_seed(0)
    expected = train(stage, run_of(whole, recipe))

    class Stop(Exception):
        pass

    def stop(self, step, seen):
        if step == 4:
            raise Stop

    with monkeypatch.context() as patch:
        patch.setattr(captioned.CaptionedTask, "after_step", stop)
        torch.manual_seed(0)
        with pytest.raises(Stop):
            train(stage, run_of(stopped, recipe))
    assert (stopped / ".training" / stage / "4").is_dir()
    torch.manual_seed(1)  # other fresh weights, which the state replaces
    assert same(train(stage, run_of(stopped, recipe)), expected)
    with pytest.raises(ValueError, match="seed 1 is not allowed: seed 0"):
        train(stage, run_of(stopped, replace(recipe, seed=1)))
    with pytest.raises(ValueError, match=r"size {'width': 8, .*} is not allowed: size {'width': 1"):
        train(stage, run_of(stopped, recipe), replace(SMALL, width=8))
    if stage == "imagebart":
        with pytest.raises(ValueError, match="num_scales 3 is not allowed: num_scales 2"):
            train(stage, run_of(stopped, recipe), num_scales=3)


@BOTH
def test_half_precision_keeps_float32_weights(base, tmp_path, stage):
    trained = train(stage, run_of(copied(base, tmp_path), mixed_precision="bf16"))
    assert {weight.dtype for weight in trained.parameters()} == {torch.float32}
    assert all(weight.isfinite().all() for weight in trained.parameters())


@BOTH
def test_a_missing_part_is_named(tmp_path, stage):
    with pytest.raises(layout.CheckpointError, match="has no VQ network"):
        train(stage, run_of(tmp_path))


@BOTH
def test_sizes_are_those_of_the_configs(base, stage):
    with pytest.raises(ValueError, match="width is 16; allowed: multiples of num_heads, 3"):
        train(stage, run_of(base), replace(SMALL, num_heads=3))


@BOTH
def test_the_shipped_tokens_and_text_make_a_checkpoint_that_generates(tmp_path, stage):
    """From the shipped checkpoint, and from a folder that holds tokens and text alone."""
    recipe = {stage: replace(RECIPE, steps=2)}
    first, second = tmp_path / "first", tmp_path / "second"
    options = {stage: options_of(stage)}
    assert train_stages(first, recipe, options, start_from=resolve("scenes")) == []
    assert train_stages(first, recipe, options) == [stage]
    (grown := tmp_path / "grown").mkdir()
    copied(first, grown)
    train_stages(second, recipe, options, start_from=grown)
    images = [
        TextToImagePipeline.from_pretrained(folder)(
            "a small red circle", guidance_scale=1.5, truncation_rate=0.9, generator=seeded(0)
        ).images[0]
        for folder in (first, second)
    ]
    assert images[0].size == (32, 32)
    assert images[0].tobytes() == images[1].tobytes()
    (first / layout.INDEX_FILE).write_text("{}")
    with pytest.raises(layout.CheckpointError, match="changed"):
        TextToImagePipeline.from_pretrained(first)
    other = {"raster": "imagebart", "imagebart": "raster"}[stage]
    with pytest.raises(FileExistsError, match=f"built on other {other}"):
        train_stages(second, {other: RECIPE})
    with pytest.raises(layout.CheckpointError, match=r"no file .*model_index.json"):
        train_stages(tmp_path / "third", recipe, start_from=tmp_path)


def seeded(seed):
    return torch.Generator().manual_seed(seed)

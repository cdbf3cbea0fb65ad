"""What is frozen is computed once for a folder, and what is learned is what it would be without."""

import logging
from dataclasses import replace

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from PIL import Image
from support.accelerate_state import forget_accelerate
from support.training import write_images

from vqlearn.checkpoints import resolve
from vqlearn.data import ImageFolder, Reading, Scenes
from vqlearn.text import TextEncoder
from vqlearn.tokens import VQVAE
from vqlearn.training.loop import Run, fit
from vqlearn.training.recipes import Recipe
from vqlearn.training.sizes import Size
from vqlearn.training.stages import order
from vqlearn.training.tasks import encoded
from vqlearn.training.tasks.autoregressive import raster_task
from vqlearn.training.tasks.captioned import CaptionedTask, Frozen

COLOURS = ["red", "green", "blue", "white", "black", "orange", "purple"]
CAPTIONS = ["a red circle", "green", "blue", "a white ring", "red", "red", "a blue square"]
RECIPE = Recipe(steps=6, batch_size=4, learning_rate=1e-2, ema_decay=0.9, warmup_steps=2)
SIZE = Size(width=16, num_layers=1, num_heads=2)


@pytest.fixture(autouse=True)
def fresh_accelerate():
    """accelerate keeps the precision of its first user for the whole process."""
    yield
    forget_accelerate()


FROZEN = resolve("scenes")
"""384 codes, 4 x 4 pixels a token, 32 text states of width 128."""


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Seven noisy images of 24 x 16 pixels; the captions of two are the same."""
    folder = write_images(tmp_path_factory.mktemp("data") / "images", COLOURS, CAPTIONS)
    noise = np.random.default_rng(0)
    for colour in COLOURS:
        pixels = noise.integers(0, 256, (16, 24, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{colour}.png")
    return folder


def run_of(folder, source, recipe=RECIPE):
    return Run(folder, source, recipe, Accelerator(cpu=True))


@pytest.fixture
def calls(monkeypatch):
    """How many images and captions the frozen networks have seen."""
    seen = {"images": 0, "captions": 0}
    encode, forward = VQVAE.encode, TextEncoder.forward

    def counted_encode(self, images):
        seen["images"] += len(images)
        return encode(self, images)

    def counted_forward(self, captions, *, warn=True):
        seen["captions"] += len(captions)
        return forward(self, captions, warn=warn)

    monkeypatch.setattr(VQVAE, "encode", counted_encode)
    monkeypatch.setattr(TextEncoder, "forward", counted_forward)
    return seen


def learned(folder, source, **parts):
    """The weights of a raster transformer after six steps, from the same first weights."""
    torch.manual_seed(0)
    trained = fit("raster", raster_task(run_of(folder, source, **parts), SIZE))
    return torch.cat([weight.detach().flatten() for weight in trained.parameters()])


def with_frozen_parts(folder):
    """A folder that holds the frozen parts, where a state may be written."""
    order.copy_frozen_parts(FROZEN, folder)
    return folder


@pytest.mark.parametrize(
    ("reading", "images", "captions"),
    [
        (Reading(), 7, 6),
        (Reading(crop="random"), 24, 6),
        (Reading(flip=True), 24, 6),
    ],
)
def test_a_folder_is_encoded_once_and_the_same_is_learned(
    data, tmp_path, calls, monkeypatch, reading, images, captions
):
    """24 images and captions are drawn; images that vary are encoded when they are."""
    source = ImageFolder(data, 16, reading)
    once = learned(with_frozen_parts(tmp_path / "once"), source)
    assert calls == {"images": images, "captions": captions}
    monkeypatch.setattr(CaptionedTask, "begin", lambda self: None)
    calls.update(images=0, captions=0)
    anew = learned(with_frozen_parts(tmp_path / "anew"), source)
    assert calls == {"images": 24, "captions": 24}
    assert torch.equal(once, anew)


def test_scenes_are_encoded_as_they_come(tmp_path, calls):
    learned(with_frozen_parts(tmp_path / "scenes"), Scenes(16, "any"))
    assert calls == {"images": 24, "captions": 24}


def test_tokens_and_states_are_those_of_each_image_and_caption(data, tmp_path):
    source = ImageFolder(data, 16)
    frozen = Frozen(run_of(FROZEN, source))
    batch = source.batch(20, generator=torch.Generator().manual_seed(1))
    expected, states = frozen.read(batch)
    frozen.encode_once(run_of(FROZEN, source))
    assert (frozen.tokens.dtype, frozen.tokens.shape) == (torch.int16, (7, 16))
    assert frozen.captions.states.shape == (6, 32, 128)
    found, same_states = frozen.read(batch)
    assert found.dtype == torch.long
    assert len(expected.unique(dim=0)) == len(batch.numbers.unique())
    assert torch.equal(found, expected)
    assert torch.equal(same_states, states)


def test_the_smallest_type_holds_every_token():
    expected = {2: 1, 256: 1, 257: 2, 2**15: 2, 2**15 + 1: 4, 2**31: 4}
    for count, size in expected.items():
        dtype = encoded.smallest_integers(count)
        assert dtype.itemsize == size, count
        assert torch.tensor(count - 1).to(dtype).item() == count - 1


TOKENS, STATES = 7 * 16 * 2, 6 * 32 * 128 * 4  # bytes


@pytest.mark.parametrize(
    ("free", "kept_tokens", "kept_states"),
    [(STATES, True, True), (STATES - 1, True, False), (TOKENS - 1, False, False)],
)
def test_what_does_not_fit_in_memory_is_computed_anew_and_that_is_said(
    data, monkeypatch, caplog, free, kept_tokens, kept_states
):
    run = run_of(FROZEN, ImageFolder(data, 16))
    frozen = Frozen(run)
    caplog.set_level(logging.INFO, logger="vqlearn")
    caplog.clear()
    monkeypatch.setattr("psutil.virtual_memory", lambda: type("Free", (), {"available": free}))
    frozen.encode_once(run)
    assert (frozen.tokens is not None, frozen.captions is not None) == (kept_tokens, kept_states)
    names = [message.split(" need ")[0] for message in caplog.messages]
    expected = {"text states of captions": kept_states, "tokens of images": kept_tokens}
    assert names == [name for name, fits in expected.items() if not fits]
    assert all("computed anew in each batch" in message for message in caplog.messages)


@pytest.mark.parametrize("reading", [Reading(), Reading(crop="random", flip=True)])
def test_a_stopped_training_goes_on_bit_for_bit(data, tmp_path, monkeypatch, reading):
    source, recipe = ImageFolder(data, 16, reading), replace(RECIPE, save_every=2)
    whole = learned(with_frozen_parts(tmp_path / "whole"), source, recipe=recipe)
    losses, folder = CaptionedTask.losses, with_frozen_parts(tmp_path / "stopped")

    def stopped(self, network, batch, step):
        if step == 3:
            raise KeyboardInterrupt
        return losses(self, network, batch, step)

    with monkeypatch.context() as patch:
        patch.setattr(CaptionedTask, "losses", stopped)
        with pytest.raises(KeyboardInterrupt):
            learned(folder, source, recipe=recipe)
    assert torch.equal(learned(folder, source, recipe=recipe), whole)


def test_a_finished_stage_encodes_nothing(data, tmp_path, calls):
    source, folder = ImageFolder(data, 16), with_frozen_parts(tmp_path / "out")
    assert order.train("raster", run_of(folder, source), size=SIZE)
    calls.update(images=0, captions=0)
    assert not order.train("raster", run_of(folder, source), size=SIZE)
    assert calls == {"images": 0, "captions": 0}

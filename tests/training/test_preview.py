"""Previews: they show what the stored networks make, of fixed images, and change nothing."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from support.accelerate_state import forget_accelerate
from support.training import make_small, write_images

from vqlearn.checkpoints import load_vqvae
from vqlearn.data import Scenes
from vqlearn.data.picture import SMALLEST_SIDE
from vqlearn.pipeline import load_pipeline
from vqlearn.probability import Sampling, random_stream
from vqlearn.training.loop import Run, best_accelerator
from vqlearn.training.preview import COUNT, preview_batch
from vqlearn.training.recipes import RECIPES
from vqlearn.training.stages import order

SIZE = 32
SOURCE = Scenes(SIZE, "seen")


@pytest.fixture(autouse=True)
def _small(monkeypatch):
    make_small(monkeypatch.setattr)
    yield
    forget_accelerate()


def train(folder, *stages, steps=4, preview=2, **options):
    for name in stages:
        recipe = replace(RECIPES[name], steps=steps, batch_size=2)
        device = best_accelerator(project_dir=folder / "logs", **options)
        order.train(name, Run(folder, SOURCE, recipe, device, preview=preview))


def pictures(folder):
    return sorted(path.name for path in (folder / "preview").glob("*.png"))


def rows(file):
    """Both rows of a picture, (2, images, 3, h, w), in 0 to 1; every pixel was enlarged."""
    with Image.open(file) as picture:
        factor = SMALLEST_SIDE // SIZE
        assert picture.size == (factor * SIZE * COUNT, factor * SIZE * 2)
        pixels = torch.from_numpy(np.asarray(picture).copy())
    assert torch.equal(pixels[::factor], pixels[factor - 1 :: factor])
    small = pixels[::factor, ::factor].reshape(2, SIZE, COUNT, SIZE, 3) / 255
    return small.permute(0, 2, 4, 1, 3)


def close(first, second):
    return (first - second).abs().max() <= 0.51 / 255


def test_tokens_show_images_and_their_round_trip(tmp_path):
    train(tmp_path, "tokens")
    assert pictures(tmp_path) == ["tokens_000002.png", "tokens_000004.png"]
    images = preview_batch(SOURCE.with_held_out_pairs()).images
    above, below = rows(tmp_path / "preview" / "tokens_000004.png")
    assert close(above, images)
    vqvae = load_vqvae(tmp_path)  # the mean weights after the last step
    assert close(below, vqvae.decode(vqvae.encode(images)).detach())
    assert not close(below, rows(tmp_path / "preview" / "tokens_000002.png")[1])


@pytest.mark.parametrize("stage", ["diffusion", "raster"])
def test_token_models_show_what_they_draw_to_the_captions(stage, tmp_path):
    train(tmp_path, "tokens", "text", stage)
    assert [name for name in pictures(tmp_path) if stage in name] == [
        f"{stage}_000002.png",
        f"{stage}_000004.png",
    ]
    batch, pipe = preview_batch(SOURCE), load_pipeline(tmp_path)
    assert (tmp_path / "preview" / "captions.txt").read_text().splitlines() == batch.captions
    above, below = rows(tmp_path / "preview" / f"{stage}_000004.png")
    assert close(above, batch.images)
    tokens = pipe.model.sample(
        COUNT,
        pipe.conditioning(batch.captions),
        sampling=Sampling(1.5, 0.9, 25 if stage == "diffusion" else None),
        generator=random_stream("preview noise"),
    )
    assert close(below, pipe.pixels(tokens).detach())


def test_the_last_step_is_shown_too(tmp_path):
    train(tmp_path, "tokens", preview=3)
    assert pictures(tmp_path) == ["tokens_000003.png", "tokens_000004.png"]


def test_the_text_stage_has_none_and_without_the_option_there_are_none(tmp_path):
    train(tmp_path, "tokens", preview=0)
    train(tmp_path, "text", preview=1)
    assert not (tmp_path / "preview").exists()


def test_a_training_with_previews_learns_the_same(tmp_path):
    """Bit for bit; and it goes on as one without, or with others."""
    for name, preview in {"without": 0, "with": 1}.items():
        train(tmp_path / name, "tokens", "text", "diffusion", preview=preview)
    sums = [(tmp_path / name / "SHA256SUMS").read_text() for name in ("without", "with")]
    assert sums[0] == sums[1]
    train(tmp_path / "with", "diffusion", preview=3)


def test_tensorboard_has_the_pictures_too(tmp_path):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    train(tmp_path, "tokens", log_with="tensorboard")
    (log,) = (tmp_path / "logs" / "tokens").glob("events*")
    events = accumulator.EventAccumulator(str(log)).Reload()
    found = events.Images("tokens/preview")
    assert [(event.step, event.width, event.height) for event in found] == [
        (2, COUNT * SMALLEST_SIDE, 2 * SMALLEST_SIDE),
        (4, COUNT * SMALLEST_SIDE, 2 * SMALLEST_SIDE),
    ]
    for name in ("learning_rate", "codes", "revived", "perplexity"):
        assert [event.step for event in events.Scalars(f"tokens/{name}")] == [0]


def test_of_a_small_folder_too(tmp_path):
    source = order.open_source(write_images(tmp_path / "images", ["red", "blue"]), 16)
    recipe = replace(RECIPES["tokens"], steps=1, batch_size=1)
    order.train("tokens", Run(tmp_path / "out", source, recipe, preview=1))
    assert pictures(tmp_path / "out") == ["tokens_000001.png"]
    captions = (tmp_path / "out" / "preview" / "captions.txt").read_text().splitlines()
    assert len(captions) == COUNT
    assert set(captions) == {"red", "blue"}

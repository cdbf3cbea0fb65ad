"""The shipped checkpoint: small, whole, able to draw, and blind to what it should not know."""

import json
import os
import shutil
import subprocess
import sys

import pytest
import torch
from PIL import Image

from vqlearn import CheckpointError, VQDiffusionPipeline
from vqlearn.checkpoints.shipped import WEIGHTS
from vqlearn.data.scenes.sampling import scene_batch
from vqlearn.diffusion.model import DiffusionModel
from vqlearn.evaluation.prompts import token_bits_given_pixels
from vqlearn.evaluation.scene_reader import prompt_accuracy, read
from vqlearn.training import record
from vqlearn.training.stages.order import STAGES, VQ_DIFFUSION
from vqlearn.transformer.denoiser import Denoiser


@pytest.fixture(scope="module")
def pipe():
    return VQDiffusionPipeline.from_pretrained("scenes")


@pytest.fixture(scope="module")
def emoji():
    return VQDiffusionPipeline.from_pretrained("emoji")


@pytest.mark.parametrize(("name", "most"), [("scenes", 25_000_000), ("emoji", 20_000_000)])
def test_a_model_has_so_many_bytes_at_most(name, most):
    sizes = [file.stat().st_size for file in (WEIGHTS / name).rglob("*") if file.is_file()]
    assert 1_000_000 < sum(sizes) <= most


@pytest.mark.parametrize("name", ["scenes", "emoji"])
def test_every_file_is_guarded_by_its_digest(tmp_path, name):
    copy, unguarded = tmp_path / "copy", {"SHA256SUMS", record.FILE}
    shutil.copytree(WEIGHTS / name, copy)
    VQDiffusionPipeline.from_pretrained(copy)
    names = [path for path in copy.rglob("*") if path.is_file() and path.name not in unguarded]
    assert len((copy / "SHA256SUMS").read_text().splitlines()) == len(names)
    with (copy / "scheduler" / "scheduler_config.json").open("a") as config:
        config.write(" ")
    with pytest.raises(CheckpointError, match=r"scheduler_config\.json was changed"):
        VQDiffusionPipeline.from_pretrained(copy)


def test_its_parts_are_float32_and_trained_for_32_pixels(pipe):
    assert pipe.dtype == torch.float32
    assert pipe("a red circle", num_inference_steps=1).images[0].size == (32, 32)


def test_reconstructions_are_read_right(pipe):
    batch = scene_batch(200, generator=torch.Generator().manual_seed(5), composition="any")
    with torch.no_grad():
        again = pipe.vqvae.decode(pipe.vqvae.encode(batch.images))
    assert prompt_accuracy(again, batch.captions).right > 190


def test_equal_squares_have_equal_tokens(pipe):
    """What equal squares leave open is chance that a denoiser would have to guess."""
    batch = scene_batch(200, generator=torch.Generator().manual_seed(6), composition="any")
    assert token_bits_given_pixels(pipe, batch.images) < 0.05


def test_colours_of_the_sentence_reach_the_picture(pipe):
    """Mean red minus blue of ten images each: far apart if the caption is heard at all."""

    def red_minus_blue(prompt):
        generators = [torch.Generator().manual_seed(seed) for seed in range(10)]
        images = pipe(
            prompt, 10, num_images_per_prompt=10, generator=generators, output_type="np"
        ).images
        return images[..., 0].mean() - images[..., 2].mean()

    red = red_minus_blue("a large red circle on a white background")
    blue = red_minus_blue("a large blue square on a white background")
    assert red > blue + 0.1


def test_emoji_hears_the_colour_too(emoji):
    """A red apple and a green one, ten images each; emoji are drawn on white."""

    def mean(prompt):
        generators = [torch.Generator().manual_seed(seed) for seed in range(10)]
        images = emoji(
            prompt, 10, 1.5, 0.9, 10, generator=generators, output_type="np"
        ).images  # (10, 32, 32, 3)
        assert images[:, 0].mean() > 0.9
        return images[:, 12:28, 8:24].mean((0, 1, 2))

    red, green = mean("a red apple"), mean("a green apple")
    assert red[0] > green[0] + 0.1
    assert green[1] > red[1] + 0.1


def test_emoji_says_what_it_was_trained_on():
    told = json.loads((WEIGHTS / "emoji" / record.FILE).read_text())
    assert {stage["choices"]["data_name"] for stage in told.values()} == {"runs/emoji-data/train"}
    parts = {name: stage.parts for name, stage in STAGES.items()}
    for name in VQ_DIFFUSION:
        assert record.read(WEIGHTS / "emoji", name, parts[name]) == told[name]["choices"]


def test_a_picture_does_not_depend_on_the_batch_it_is_drawn_in(pipe):
    """At the model's own guidance; at 5, rounding may now and then decide a token."""
    prompts = ["a small red circle", "a large blue square above a tiny pink heart"]

    def draw(prompts, seeds):
        generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        images = pipe(prompts, 10, guidance_scale=1.5, generator=generators).images
        return [image.tobytes() for image in images]

    assert draw(prompts, (1, 2)) == draw(prompts[:1], (1,)) + draw(prompts[1:], (2,))


def test_no_caption_of_the_grammar_is_cut(pipe):
    longest = "a small cyan crescent beneath a tiny orange crescent against a brown background"
    captions = scene_batch(
        2000, generator=torch.Generator().manual_seed(3), composition="any"
    ).captions
    end = pipe.text_encoder.tokenizer.eos_token_id
    assert (pipe.text_encoder.tokenize([longest, *captions])[:, -1] == end).all()
    words = pipe.text_encoder.tokenizer([longest, *captions]).input_ids
    assert max(map(len, words)) <= pipe.text_encoder.length


def test_an_untrained_denoiser_draws_nothing_readable(pipe):
    """The same tokens, a fresh denoiser: at most 1 % of 200 images may be read as a scene."""
    untrained = VQDiffusionPipeline.from_pretrained("scenes")
    torch.manual_seed(0)
    untrained.model = DiffusionModel(untrained.process, Denoiser(untrained.denoiser.config))
    images = untrained("a red circle", 5, num_images_per_prompt=200, output_type="np").images
    scenes = read(torch.from_numpy(images).permute(0, 3, 1, 2))
    assert sum(scene is not None for scene in scenes) <= 2


@pytest.mark.parametrize("words", [["a small red circle"], ["a red apple", "--model", "emoji"]])
def test_the_readme_command_works_offline_from_any_folder(tmp_path, words):
    """No network: every address but this machine's own is refused by a dead proxy."""
    dead = dict.fromkeys(("http_proxy", "https_proxy", "all_proxy"), "http://127.0.0.1:9")
    command = [sys.executable, "-m", "vqlearn", "generate", *words]
    result = subprocess.run(
        [*command, "--steps", "5", "--out", "picture.png"],
        cwd=tmp_path,
        env={**os.environ, **dead, "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert result.stdout.splitlines()[-1] == "picture.png"
    with Image.open(tmp_path / "picture.png") as picture:
        assert picture.size == (256, 256)

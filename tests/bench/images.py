"""Images per second: drawing scenes, tokens, generation, training; large files beside small."""

import json
from contextlib import redirect_stderr
from dataclasses import replace
from io import StringIO
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from accelerate import Accelerator
from bench.case import Case, Setting, images_per_second
from bench.pairs import Comparison, Work, compare
from bench.twins import SCENES, load_ours
from PIL import Image

from vqlearn.data import ImageFolder
from vqlearn.data.batches import Scenes
from vqlearn.probability.random import random_stream
from vqlearn.training.loop import Run, fit
from vqlearn.training.recipes import RECIPES, Recipe
from vqlearn.training.tasks.diffusion import diffusion_task
from vqlearn.training.tasks.tokens import tokens_task

TOKEN_STEPS = replace(RECIPES["tokens"], steps=40)
PHOTOGRAPH, SMALL_FILE = (4000, 3000), (32, 32)


def scenes(device: str, images: int, *, side: int) -> Work:
    """Draw scenes and write their captions."""
    source = Scenes(side, "any")
    return lambda: source.batch(images, generator=random_stream("bench"))


def tokens(device: str, images: int, *, side: int) -> Work:
    """Images into tokens, with the VQ network of the shipped scenes."""
    vqvae = load_ours(SCENES).to(device).vqvae
    pixels = Scenes(side, "any").batch(images, generator=random_stream("bench")).images.to(device)
    return torch.no_grad()(lambda: vqvae.encode(pixels))


def generation(device: str, images: int, *, steps: int, noise: str) -> Work:
    """Images of the shipped scenes, all at once, guided."""
    pipeline = load_ours(SCENES).to(device)
    prompts = ["a red circle"] * images
    return lambda: pipeline(prompts, steps, output_type="np", noise=noise)


def training(device: str, images: int) -> Work:
    """One step of the diffusion stage of the shipped scenes, without its optimizer."""
    source, recipe = Scenes(32, "seen"), replace(RECIPES["diffusion"], batch_size=images)
    task = diffusion_task(Run(SCENES, source, recipe, Accelerator(cpu=device == "cpu")))
    batch = source.batch(images, generator=random_stream("bench"))
    return lambda: task.losses(task.network, batch, 0)[0]["loss"].backward()


def photographs(setting: Setting, recipe: Recipe = TOKEN_STEPS, files: int = 20) -> Comparison:
    """The stage "tokens" on small files and on photographs.

    Both have been read before and have become the same squares of pixels, so the size of a file
    must not matter.
    """
    with TemporaryDirectory() as name:
        folder, numbers = Path(name), count()

        def side(size: tuple[int, int]) -> Work:
            source = ImageFolder(_noise_folder(folder / f"{size[0]}", size, files), 32)

            def work() -> None:
                accelerator = Accelerator(cpu=setting.device == "cpu")
                out = folder / f"out-{next(numbers)}"
                with redirect_stderr(StringIO()):  # the progress bar
                    fit("tokens", tokens_task(Run(out, source, recipe, accelerator)))

            return work

        return compare(side(SMALL_FILE), side(PHOTOGRAPH), setting.pairs)


def _noise_folder(folder: Path, size: tuple[int, int], files: int) -> Path:
    """Images of random squares, as JPEG, with their captions."""
    folder.mkdir()
    lines, generator = [], np.random.default_rng(0)
    for number in range(files):
        squares = generator.integers(256, size=(16, 16, 3), dtype=np.uint8)
        Image.fromarray(squares).resize(size).save(folder / f"{number}.jpg")
        lines.append(json.dumps({"file_name": f"{number}.jpg", "text": f"squares {number}"}))
    (folder / "metadata.jsonl").write_text("\n".join(lines))
    return folder


CASES = {
    f"images/scenes-{side}": Case(
        f"scenes of {side} pixels with captions", "", images_per_second(scenes, 128, side=side)
    )
    for side in (32, 64)
} | {
    "images/tokens": Case(
        "images of 64 pixels into tokens", "", images_per_second(tokens, 64, side=64)
    ),
    **{
        f"images/generation-{steps}-{noise}": Case(
            f"images of the shipped scenes, 16 at once, {steps} guided steps, {noise} noise",
            "",
            images_per_second(generation, 16, steps=steps, noise=noise),
        )
        for steps in (10, 25, 100)
        for noise in ("fast", "exact")
    },
    "images/training": Case(
        "training of the shipped denoiser, 64 at once", "", images_per_second(training, 64)
    ),
    "images/photographs": Case(
        "40 steps of the stage tokens on files of 12 megapixels",
        "the same on files of 32 pixels",
        photographs,
    ),
}

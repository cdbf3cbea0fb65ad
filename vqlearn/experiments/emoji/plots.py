"""What the model of emoji generates: names it knows, combinations it never saw, things nobody drew.

None is picked: prompt i has a random stream of its own.
"""

from collections.abc import Collection
from pathlib import Path
from textwrap import fill

import matplotlib.pyplot as plt
import torch

from vqlearn.data import ImageFolder
from vqlearn.evaluation import Evaluation
from vqlearn.evaluation.prompts import generate, round_trip
from vqlearn.experiments import style
from vqlearn.pipeline import VQDiffusionPipeline
from vqlearn.probability import random_stream

COLUMNS = 8
SEEN, NEVER_SEEN = "names seen in training", "combinations held out of training"
NO_EMOJI = "what is no emoji"
PROMPTS = {
    SEEN: (
        *("a red apple", "a butterfly", "a ghost", "an airplane"),
        *("a hamburger", "a penguin", "a cup of coffee", "the flag of ukraine"),
        *("a red mushroom with white dots", "a skull", "fire", "a lemon"),
        *("a green book", "a soccer ball", "a top hat", "a racing car"),
    ),
    NEVER_SEEN: (
        *("a green heart", "a blue circle", "an orange book", "a purple square"),
        *("a thumb up with medium skin", "a woman astronaut with light skin"),
        *("a woman artist with dark skin", "a woman with light skin dancing"),
    ),
    NO_EMOJI: (
        *("a blue apple", "a green ghost", "a yellow butterfly", "a red penguin"),
        *("a pink skull", "a purple car", "a cat face with sunglasses", "a black banana"),
    ),
}
RECONSTRUCTIONS = 12


def check_titles(seen: Collection[str], held_out: Collection[str]) -> None:
    """Raise `ValueError` unless the titles are true of the captions of the data."""
    for kind, prompts in PROMPTS.items():
        for prompt in prompts:
            found = SEEN if prompt in seen else NEVER_SEEN if prompt in held_out else NO_EMOJI
            if found != kind:
                raise ValueError(f"the prompt {prompt!r} is one of {found!r}; allowed: {kind!r}")


def plot_prompts(pipeline: VQDiffusionPipeline, file: Path) -> None:
    """An image of each prompt, by kind."""
    prompts = [prompt for some in PROMPTS.values() for prompt in some]
    images = generate(pipeline, prompts, Evaluation())
    figure = plt.figure(figsize=(9.6, 6.6), layout="constrained")
    heights = [len(some) // COLUMNS for some in PROMPTS.values()]
    panels = figure.subfigures(len(PROMPTS), 1, height_ratios=heights)
    pairs = iter(zip(prompts, images, strict=True))
    for panel, rows, (kind, some) in zip(panels, heights, PROMPTS.items(), strict=True):
        panel.suptitle(kind, fontsize=10, x=0.01, ha="left", weight="bold")
        grid = panel.subplots(rows, COLUMNS)
        for axes, (prompt, image) in zip(grid.flat, (next(pairs) for _ in some), strict=True):
            axes.imshow(image.permute(1, 2, 0).numpy())
            axes.set_title(two_lines(prompt), fontsize=7)
            axes.axis("off")
    style.save(figure, file)


def two_lines(prompt: str) -> str:
    """Always two, so that all images have the same size."""
    text = fill(prompt, 20)
    return text if "\n" in text else f"\n{text}"


def plot_reconstructions(pipeline: VQDiffusionPipeline, source: ImageFolder, file: Path) -> None:
    """Random images of a folder above, the same after a round trip through their tokens below."""
    order = torch.randperm(len(source.images), generator=random_stream("reconstructed emoji"))
    images = source.images[order[:RECONSTRUCTIONS]] / 255
    side, codes = pipeline.denoiser.config.sample_size, pipeline.model.num_codes
    figure, rows = plt.subplots(2, 1, figsize=(8.4, 2.2), layout="constrained")
    size = pipeline.image_size
    style.show_images(rows[0], images, f"held-out images, {size} × {size} pixels")
    title = f"decoded from {side} × {side} tokens of {codes} codes"
    style.show_images(rows[1], round_trip(pipeline, images), title)
    style.save(figure, file)

"""Still images: captions that the model draws, and scenes that went through their tokens."""

from pathlib import Path
from textwrap import fill

import matplotlib.pyplot as plt
import numpy as np
import torch
from einops import rearrange

from vqlearn.data.scenes.captions import parse
from vqlearn.data.scenes.sampling import HELD_OUT_PAIRS, scene_batch
from vqlearn.evaluation.prompts import Evaluation, round_trip
from vqlearn.evaluation.scene_reader import agrees, read
from vqlearn.pipeline.pipeline import VQDiffusionPipeline

PROMPTS = (
    "a small red circle above a large blue square",
    "a large green ring left of a small yellow heart",
    "a large orange cross on a black background",
    "a small purple triangle on a white background",
    "a large pink circle below a small cyan cross",
    "a small yellow square right of a large red ring",
    "a large blue moon",
    "a small green bar above a small orange circle",
    "a large cyan heart on a brown background",
    "a small pink square left of a large purple moon",
    "a large red heart on a grey background",
    "a small green circle on a white background",
    "a large orange square above a small blue triangle",
    "a large purple cross left of a large yellow circle",
    "a large pink ring on a black background",
    "a small cyan triangle below a large green square",
)
COLUMNS = 4
RIGHT, WRONG = ("✓", "darkgreen"), ("✗", "darkred")


def has_unseen_pair(prompt: str) -> bool:
    """Whether training never showed one of the colour-shape pairs of this caption."""
    return any((thing.colour, thing.shape) in HELD_OUT_PAIRS for thing in parse(prompt).objects)


def draw_prompts(pipeline: VQDiffusionPipeline, file: Path) -> None:
    """Image i has seed i, none is picked; the mark is what the scene reader says of it."""
    images = pipeline(
        list(PROMPTS),
        **Evaluation().call_options(),
        generator=[torch.Generator().manual_seed(seed) for seed in range(len(PROMPTS))],
        output_type="np",
    ).images
    scenes = read(rearrange(torch.from_numpy(images), "b h w c -> b c h w"))
    rows = len(PROMPTS) // COLUMNS
    figure, grid = plt.subplots(rows, COLUMNS, figsize=(7.6, 9.2), layout="constrained")
    for axes, prompt, image, scene in zip(grid.flat, PROMPTS, images, scenes, strict=True):
        mark, colour = RIGHT if agrees(scene, prompt) else WRONG
        unseen = "\n(pair never seen)" if has_unseen_pair(prompt) else ""
        axes.imshow(image)
        axes.set_title(f"{mark} {fill(prompt, 26)}{unseen}", fontsize=8, color=colour)
        axes.axis("off")
    figure.savefig(file, dpi=110)
    plt.close(figure)


def draw_reconstructions(pipeline: VQDiffusionPipeline, file: Path) -> None:
    """Scenes above, and the same scenes after a round trip through their tokens below."""
    batch = scene_batch(8, generator=torch.Generator().manual_seed(7), composition="any")
    again = round_trip(pipeline, batch.images)
    side, codes = pipeline.denoiser.config.sample_size, pipeline.denoiser.config.num_codes
    figure, rows = plt.subplots(2, 1, figsize=(7.2, 2.4), layout="constrained")
    size = pipeline.image_size
    show_row(rows[0], batch.images.numpy(), f"scenes, {size} × {size} pixels")
    show_row(rows[1], again.numpy(), f"decoded from {side} × {side} tokens of {codes} codes")
    figure.savefig(file, dpi=110)
    plt.close(figure)


def show_row(axes: plt.Axes, images: np.ndarray, title: str) -> None:
    """Images (b, 3, h, w) side by side, with a white line between them."""
    framed = np.pad(images, ((0, 0), (0, 0), (0, 0), (0, 1)), constant_values=1)
    axes.imshow(rearrange(framed, "b c h w -> h (b w) c"))
    axes.set_title(title, fontsize=9, loc="left")
    axes.axis("off")

"""Images that the model generates for prompts, step by step too, and accuracy against steps."""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from textwrap import fill
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import torch
from einops import rearrange
from PIL import Image
from torch import Tensor

from vqlearn.data.scenes import parse, scene_batch
from vqlearn.data.scenes.world import HELD_OUT_PAIRS
from vqlearn.evaluation import Evaluation, Share, agrees, read
from vqlearn.evaluation.prompts import round_trip
from vqlearn.experiments import style
from vqlearn.experiments.pages import COMPOSITIONS
from vqlearn.pipeline import Film, VQDiffusionPipeline, paint, save_gif

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
FILM_PROMPTS = PROMPTS[:3]
STRIP_FRAMES = 9


def has_unseen_pair(prompt: str) -> bool:
    """Whether training never showed one of the colour-shape pairs of this caption."""
    return any((thing.colour, thing.shape) in HELD_OUT_PAIRS for thing in parse(prompt).objects)


def generate(pipeline: VQDiffusionPipeline, prompts: Sequence[str], **options: Any) -> Any:
    """The images of these prompts. Image i has seed i: none is picked."""
    streams = [torch.Generator().manual_seed(seed) for seed in range(len(prompts))]
    options |= Evaluation().call_options()
    return pipeline(list(prompts), generator=streams, **options).images


def plot_prompts(pipeline: VQDiffusionPipeline, file: Path) -> None:
    """An image of each prompt; the mark is what the scene reader says of it."""
    images = generate(pipeline, PROMPTS, output_type="np")
    scenes = read(rearrange(torch.from_numpy(images), "b h w c -> b c h w"))
    rows = len(PROMPTS) // COLUMNS
    figure, grid = plt.subplots(rows, COLUMNS, figsize=(7.6, 9.2), layout="constrained")
    for axes, prompt, image, scene in zip(grid.flat, PROMPTS, images, scenes, strict=True):
        right = agrees(scene, prompt)
        unseen = "\n(pair never seen)" if has_unseen_pair(prompt) else ""
        title = f"{'✓' if right else '✗'} {fill(prompt, 26)}{unseen}"
        axes.imshow(image)
        axes.set_title(title, fontsize=8, color=style.RIGHT if right else style.WRONG)
        axes.axis("off")
    style.save(figure, file)


def plot_reconstructions(pipeline: VQDiffusionPipeline, file: Path) -> None:
    """Scenes above, and the same scenes after a round trip through their tokens below."""
    batch = scene_batch(8, generator=torch.Generator().manual_seed(7), composition="any")
    again = round_trip(pipeline, batch.images)
    side, codes = pipeline.denoiser.config.sample_size, pipeline.denoiser.config.num_codes
    figure, rows = plt.subplots(2, 1, figsize=(7.2, 2.4), layout="constrained")
    size = pipeline.image_size
    style.show_images(rows[0], batch.images, f"scenes, {size} × {size} pixels")
    style.show_images(rows[1], again, f"decoded from {side} × {side} tokens of {codes} codes")
    style.save(figure, file)


def plot_accuracy(by_steps: Mapping[int, Mapping[str, Share]], ceiling: Share, file: Path) -> None:
    """Shares of right images of each composition against steps; 95 % intervals, the ceiling."""
    figure, axes = plt.subplots(figsize=(6.4, 3.6), layout="constrained")
    steps = list(by_steps)
    for composition, label in COMPOSITIONS.items():
        parts = [each[composition] for each in by_steps.values()]
        shares = 100 * np.array([part.share for part in parts])
        low, high = 100 * np.array([part.interval_95 for part in parts]).T
        bars = (shares - low, high - shares)
        axes.errorbar(steps, shares, yerr=bars, marker="o", capsize=3, label=label)
    label = "true scenes through their tokens"
    axes.axhline(100 * ceiling.share, color="grey", linestyle="--", label=label)
    axes.set(xscale="log", ylim=(0, 103), ylabel="images that are right, %")
    axes.set_xlabel("steps (calls of the denoiser without guidance)")
    axes.set_xticks(steps, map(str, steps))
    axes.minorticks_off()
    axes.legend(fontsize=8)
    style.save(figure, file)


def record(pipeline: VQDiffusionPipeline) -> list[Tensor]:
    """The tokens (3, n) of three images, seeds 0 to 2, at the start and after every step."""
    film = Film(pipeline)
    generate(pipeline, FILM_PROMPTS, callback=film)
    return film.states


def plot_strip(pipeline: VQDiffusionPipeline, states: list[Tensor], file: Path) -> None:
    """One row a caption, from all masked to the finished image."""
    steps = len(states) - 1
    shown = [round(steps * i / (STRIP_FRAMES - 1)) for i in range(STRIP_FRAMES)]
    painted = torch.stack([paint(pipeline, states[step]) for step in shown])
    figure, rows = plt.subplots(len(FILM_PROMPTS), 1, figsize=(8, 3.6), layout="constrained")
    for axes, prompt, images in zip(rows, FILM_PROMPTS, painted.unbind(1), strict=True):
        style.show_images(axes, images, f"“{prompt}”")
    figure.suptitle(f"after {', '.join(map(str, shown))} of {steps} steps", fontsize=9)
    style.save(figure, file)


def animate(pipeline: VQDiffusionPipeline, states: list[Tensor], file: Path) -> None:
    """A GIF of the three images side by side that says what it shows; masked tokens are counted."""
    frames = [_frame(pipeline, tokens, step, len(states) - 1) for step, tokens in enumerate(states)]
    save_gif(frames, file)


def _frame(pipeline: VQDiffusionPipeline, tokens: Tensor, step: int, steps: int) -> Image.Image:
    figure, panels = plt.subplots(1, len(FILM_PROMPTS), figsize=(6.6, 3), layout="constrained")
    masked = (tokens == pipeline.denoiser.config.num_codes).sum(dim=1)
    parts = zip(panels, FILM_PROMPTS, paint(pipeline, tokens), masked, strict=True)
    for axes, prompt, image, count in parts:
        axes.imshow(image.permute(1, 2, 0).numpy())
        axes.set_title(fill(prompt, 26), fontsize=9)
        axes.set_xlabel(f"{count} of {tokens.shape[1]} tokens masked", fontsize=8)
        axes.set(xticks=[], yticks=[])
    figure.suptitle(f"step {step} of {steps}", fontsize=10)
    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=90)
    plt.close(figure)
    return Image.open(buffer, formats=("PNG",)).convert("RGB")

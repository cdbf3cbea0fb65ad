"""How images appear, step by step: a film strip and an animation. Masked tokens are checked."""

import io
from pathlib import Path
from textwrap import fill

import matplotlib.pyplot as plt
import torch
from PIL import Image
from torch import Tensor

from vqlearn.experiments import style
from vqlearn.experiments.shipped_model import plots
from vqlearn.pipeline import Film, VQDiffusionPipeline, paint, save_gif

PROMPTS = plots.PROMPTS[:3]
STRIP_FRAMES = 9


def record(pipeline: VQDiffusionPipeline) -> list[Tensor]:
    """The tokens (3, n) of three images, seeds 0 to 2, at the start and after every step."""
    film = Film(pipeline)
    plots.generate(pipeline, PROMPTS, callback=film)
    return film.states


def plot_strip(pipeline: VQDiffusionPipeline, states: list[Tensor], file: Path) -> None:
    """One row a caption, from all masked to the finished image."""
    steps = len(states) - 1
    shown = [round(steps * i / (STRIP_FRAMES - 1)) for i in range(STRIP_FRAMES)]
    painted = torch.stack([paint(pipeline, states[step]) for step in shown])
    figure, rows = plt.subplots(len(PROMPTS), 1, figsize=(8, 3.6), layout="constrained")
    for axes, prompt, images in zip(rows, PROMPTS, painted.unbind(1), strict=True):
        style.show_images(axes, images, f"“{prompt}”")
    figure.suptitle(f"after {', '.join(map(str, shown))} of {steps} steps", fontsize=9)
    style.save(figure, file)


def animate(pipeline: VQDiffusionPipeline, states: list[Tensor], file: Path) -> None:
    """A GIF of the three images side by side that says what it shows."""
    frames = [_frame(pipeline, tokens, step, len(states) - 1) for step, tokens in enumerate(states)]
    save_gif(frames, file)


def _frame(pipeline: VQDiffusionPipeline, tokens: Tensor, step: int, steps: int) -> Image.Image:
    figure, panels = plt.subplots(1, len(PROMPTS), figsize=(6.6, 3), layout="constrained")
    masked = (tokens == pipeline.denoiser.config.num_codes).sum(dim=1)
    parts = zip(panels, PROMPTS, paint(pipeline, tokens), masked, strict=True)
    for axes, prompt, image, count in parts:
        axes.imshow(image.permute(1, 2, 0).numpy())
        axes.set_title(fill(prompt, 26), fontsize=9)
        axes.set_xlabel(f"{count} of {tokens.shape[1]} tokens masked", fontsize=8)
        axes.set(xticks=[], yticks=[])
    figure.suptitle(f"step {step} of {steps}", fontsize=10)
    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=90)
    plt.close(figure)
    return Image.open(buffer).convert("RGB")

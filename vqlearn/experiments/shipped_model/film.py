"""How images appear, step by step: a film strip and an animation. Masked tokens are checked."""

import io
from pathlib import Path
from textwrap import fill

import matplotlib.pyplot as plt
import torch
from PIL import Image
from torch import Tensor

from vqlearn.evaluation import Evaluation
from vqlearn.experiments import style
from vqlearn.pipeline import Film, VQDiffusionPipeline, paint, save_gif

PROMPTS = (
    "a small red circle above a large blue square",
    "a large green ring left of a small yellow heart",
    "a large orange cross on a black background",
)
STRIP_FRAMES = 9


def record(pipeline: VQDiffusionPipeline) -> list[Tensor]:
    """The tokens (3, n) of three images, seeds 0 to 2, at the start and after every step."""
    film = Film(pipeline)
    pipeline(
        list(PROMPTS),
        **Evaluation().call_options(),
        generator=[torch.Generator().manual_seed(seed) for seed in range(len(PROMPTS))],
        callback=film,
    )
    return film.states


def plot_strip(pipeline: VQDiffusionPipeline, states: list[Tensor], file: Path) -> None:
    """One row a caption, from all masked to the finished image."""
    steps = len(states) - 1
    shown = [round(steps * i / (STRIP_FRAMES - 1)) for i in range(STRIP_FRAMES)]
    painted = torch.stack([paint(pipeline, states[step]) for step in shown])
    figure, rows = plt.subplots(len(PROMPTS), 1, figsize=(8, 3.6), layout="constrained")
    for row, prompt in enumerate(PROMPTS):
        style.show_images(rows[row], painted[:, row], f"“{prompt}”")
    figure.suptitle(f"after {', '.join(map(str, shown))} of {steps} steps", fontsize=9)
    style.save(figure, file)


def animate(pipeline: VQDiffusionPipeline, states: list[Tensor], file: Path) -> None:
    """A GIF of the three images side by side that says what it shows."""
    frames = [_frame(pipeline, tokens, step, len(states) - 1) for step, tokens in enumerate(states)]
    save_gif(frames, file)


def _frame(pipeline: VQDiffusionPipeline, tokens: Tensor, step: int, steps: int) -> Image.Image:
    figure, axes = plt.subplots(1, len(PROMPTS), figsize=(6.6, 3), layout="constrained")
    images = paint(pipeline, tokens)
    masked = (tokens == pipeline.denoiser.config.num_codes).sum(dim=1).tolist()
    for column, prompt in enumerate(PROMPTS):
        axes[column].imshow(images[column].permute(1, 2, 0).numpy())
        axes[column].set_title(fill(prompt, 26), fontsize=9)
        axes[column].set_xlabel(f"{masked[column]} of {tokens.shape[1]} tokens masked", fontsize=8)
        axes[column].set_xticks([])
        axes[column].set_yticks([])
    figure.suptitle(f"step {step} of {steps}", fontsize=10)
    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=90)
    plt.close(figure)
    return Image.open(buffer).convert("RGB")

"""Every picture and number in `figures/`: `make figures`.

Draws from the shipped checkpoint. Needs matplotlib, which the package does not need otherwise.
"""

import json
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import torch
from einops import rearrange
from torch import Tensor

from vqlearn.data.captions import parse
from vqlearn.data.reader import prompt_accuracy
from vqlearn.data.scenes import HELD_OUT_PAIRS, scene_batch
from vqlearn.pipeline import VQDiffusionPipeline

FIGURES = Path("figures")
PROMPTS = (
    "a small red circle above a large blue square",
    "a large green ring left of a small yellow heart",
    "a small purple triangle on a white background",
    "a large orange cross on a black background",
    "a large red heart on a grey background",
)
PICTURES_PER_PROMPT = 6
STEPS = 25
GUIDANCE = 2.0
CEILING_PICTURES = 1000
PROMPTS_MEASURED = 300


def draw_prompts(pipeline: VQDiffusionPipeline, file: Path) -> None:
    """One row a sentence: what the model draws, the first seeds, none picked."""
    count = len(PROMPTS) * PICTURES_PER_PROMPT
    images = pipeline(
        list(PROMPTS),
        num_inference_steps=STEPS,
        guidance_scale=GUIDANCE,
        num_images_per_prompt=PICTURES_PER_PROMPT,
        generator=[torch.Generator().manual_seed(seed) for seed in range(count)],
        output_type="np",
    ).images
    figure, rows = plt.subplots(len(PROMPTS), 1, figsize=(7.2, 7.6), layout="constrained")
    for row, prompt in enumerate(PROMPTS):
        strip = images[row * PICTURES_PER_PROMPT : (row + 1) * PICTURES_PER_PROMPT]
        never = [" ".join(o.pair) for o in parse(prompt).objects if o.pair in HELD_OUT_PAIRS]
        note = f" (never seen in training: {', '.join(never)})" if never else ""
        _show_row(rows[row], strip, f"“{prompt}”{note}")
    figure.savefig(file, dpi=110)
    plt.close(figure)


def draw_reconstructions(pipeline: VQDiffusionPipeline, file: Path) -> None:
    """Scenes above, and the same scenes after a round trip through their tokens below."""
    batch = scene_batch(8, generator=torch.Generator().manual_seed(7), composition="any")
    again = _round_trip(pipeline, batch.images)
    side, codes = pipeline.denoiser.config.sample_size, pipeline.denoiser.config.num_codes
    figure, rows = plt.subplots(2, 1, figsize=(7.2, 2.4), layout="constrained")
    for axes, images, title in (
        (rows[0], batch.images, "scenes, 32 × 32 pixels"),
        (rows[1], again, f"decoded from {side} × {side} tokens of {codes} codes"),
    ):
        _show_row(axes, rearrange(images, "b c h w -> b h w c").numpy(), title)
    figure.savefig(file, dpi=110)
    plt.close(figure)


def measure_ceiling(pipeline: VQDiffusionPipeline) -> dict[str, float]:
    """How many scenes does the scene reader still read right after the round trip?

    No generator that draws these tokens can be read right more often: this is its ceiling.
    """
    generator = torch.Generator().manual_seed(11)
    batch = scene_batch(CEILING_PICTURES, generator=generator, composition="any")
    again = _round_trip(pipeline, batch.images)
    accuracy = prompt_accuracy(again, batch.captions)
    mean_squared_error = (again - batch.images).square().mean().item()
    return {
        "pictures": CEILING_PICTURES,
        "right": accuracy.right,
        "unreadable": accuracy.unreadable,
        "psnr_db": round(-10 * np.log10(mean_squared_error).item(), 2),
    }


def measure_prompts(pipeline: VQDiffusionPipeline, composition: str) -> dict[str, float]:
    """How many generated pictures show what their sentence says?"""
    generator = torch.Generator().manual_seed(17)
    captions = scene_batch(PROMPTS_MEASURED, generator=generator, composition=composition).captions
    images = pipeline(
        captions,
        num_inference_steps=STEPS,
        guidance_scale=GUIDANCE,
        generator=[torch.Generator().manual_seed(1000 + i) for i in range(len(captions))],
        output_type="np",
    ).images
    pictures = rearrange(torch.from_numpy(images), "b h w c -> b c h w")
    accuracy = prompt_accuracy(pictures, captions)
    return {"prompts": PROMPTS_MEASURED, "right": accuracy.right, "unreadable": accuracy.unreadable}


@torch.no_grad()
def _round_trip(pipeline: VQDiffusionPipeline, images: Tensor) -> Tensor:
    decoded = [
        pipeline.vqvae.decode(pipeline.vqvae.encode(2 * part - 1)) for part in images.split(100)
    ]
    return (torch.cat(decoded) / 2 + 0.5).clamp(0, 1)


def _show_row(axes: plt.Axes, images: np.ndarray, title: str) -> None:
    framed = np.pad(images, ((0, 0), (0, 0), (0, 1), (0, 0)), constant_values=1)
    axes.imshow(rearrange(framed, "b h w c -> h (b w) c"))
    axes.set_title(title, fontsize=9, loc="left")
    axes.axis("off")


def main() -> None:
    """Make every figure again."""
    FIGURES.mkdir(exist_ok=True)
    pipeline = VQDiffusionPipeline.from_pretrained("scenes")
    draw_prompts(pipeline, FIGURES / "prompts.png")
    draw_reconstructions(pipeline, FIGURES / "reconstructions.png")
    numbers = {
        "reconstructions": measure_ceiling(pipeline),
        "seen": measure_prompts(pipeline, "seen"),
        "held_out": measure_prompts(pipeline, "held_out"),
    }
    text = json.dumps(numbers, indent=2)
    (FIGURES / "scenes.json").write_text(text + "\n", encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()

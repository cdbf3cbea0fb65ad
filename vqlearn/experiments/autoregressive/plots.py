"""Images of `raster.json`: bits beside the baselines, and what the networks drew."""

import textwrap
from dataclasses import replace
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import torch
from einops import rearrange
from jaxtyping import Float

from vqlearn.checkpoints.folder import load_vqvae
from vqlearn.checkpoints.shipped import resolve
from vqlearn.data.rgb import to_images
from vqlearn.evaluation.prompts import Evaluation, evaluated_scenes
from vqlearn.experiments.kernels.plots import bits_of, draw_rows, runs_of, shown_of, to_grey

TITLES = {
    "digits": "digits, 8 x 8 pixels, 17 grey levels",
    "rgb": "scenes, 8 x 8 pixels, 256 levels of each colour",
    "tokens": "scenes of 32 x 32 pixels as 64 tokens, after their captions",
}
SENTENCES = 6


def draw_bits(report: dict[str, Any], file: Path) -> None:
    """One panel for each world; a logarithmic scale where some bits are tiny."""
    rows = {world: bits_of(world, report) for world in TITLES}
    heights = [len(part) + 1 for part in rows.values()]
    figure, panels = plt.subplots(
        len(rows), 1, figsize=(7.2, 8.2), layout="constrained", height_ratios=heights
    )
    for axes, (world, part) in zip(panels, rows.items(), strict=True):
        draw_rows(axes, part)
        axes.set_title(TITLES[world], fontsize=10, loc="left")
        axes.set_xlabel(report["worlds"][world]["unit"])
        if min(mean for mean, *_ in part.values()) < 1:
            axes.set_xscale("log")
            axes.xaxis.set_major_formatter("{x:g}")
    figure.savefig(file, dpi=110)
    plt.close(figure)


def draw_samples(report: dict[str, Any], file: Path) -> None:
    """Of every network of pixels, the images that it drew; above them some of the data."""
    levels = report["worlds"]["digits"]["num_codes"]
    digits = [(f"digits: {n}", to_grey(shown, levels)) for n, shown in shown_of("digits", report)]
    scenes = [(f"scenes: {n}", to_rgb(shown)) for n, shown in shown_of("rgb", report)]
    rows = digits + scenes
    figure, panels = plt.subplots(len(rows), 1, figsize=(6, 0.8 * len(rows)), layout="constrained")
    for axes, (title, images) in zip(panels, rows, strict=True):
        images = images if images.ndim == 4 else 1 - np.stack([images] * 3, axis=-1)
        framed = np.pad(images, ((0, 0), (0, 0), (0, 1), (0, 0)), constant_values=1)
        axes.imshow(rearrange(framed, "b h w c -> h (b w) c"))
        axes.set_title(title, fontsize=8, loc="left")
        axes.axis("off")
    figure.savefig(file, dpi=110)
    plt.close(figure)


def draw_scenes(report: dict[str, Any], file: Path) -> None:
    """What comes out for the first captions: from the plain distributions, and guided and
    truncated."""
    runs = runs_of("tokens", report)
    (prompts,) = {run["settings"]["samples"] for run in runs.values()}
    asked = evaluated_scenes("seen", replace(Evaluation(), prompts=prompts))
    rows = [("the scene", rearrange(asked.images[:SENTENCES], "b c h w -> b h w c").numpy())]
    for name, run in runs.items():
        rows.append((name, to_scenes(run["samples"]["shown"])))
        rows.append((f"{name},\nguided", to_scenes(run["guided"]["shown"])))
    figure, grid = plt.subplots(
        len(rows), SENTENCES, figsize=(9, 1.6 * len(rows)), layout="constrained", squeeze=False
    )
    for panels, (title, images) in zip(grid, rows, strict=True):
        for axes, image in zip(panels, images, strict=True):
            axes.imshow(image)
            axes.set(xticks=[], yticks=[])
        panels[0].set_ylabel(title, fontsize=8)
    for axes, caption in zip(grid[0], asked.captions[:SENTENCES], strict=True):
        axes.set_title(textwrap.fill(caption, 20), fontsize=7)
    figure.savefig(file, dpi=110)
    plt.close(figure)


def to_rgb(shown: list[str]) -> Float[np.ndarray, "b h w 3"]:
    """Images in 0 to 1 from strings with two hexadecimal digits for each token."""
    rows = torch.tensor([list(bytes.fromhex(text)) for text in shown])
    return rearrange(to_images(rows), "b c h w -> b h w c").numpy()


def to_scenes(shown: list[list[int]]) -> Float[np.ndarray, "b h w 3"]:
    """The images of the first rows of tokens."""
    with torch.no_grad():
        images = load_vqvae(resolve("scenes")).eval().decode(torch.tensor(shown[:SENTENCES]))
    return rearrange(images, "b c h w -> b h w c").numpy()

"""Three plots of the networks: bits beside the baselines, samples of pixels, and of tokens."""

import textwrap
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import matplotlib.pyplot as plt
import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor

from vqlearn.data.rgb import to_images
from vqlearn.evaluation import Evaluation, evaluated_scenes
from vqlearn.experiments import style
from vqlearn.experiments.autoregressive.token_runs import TokenRun
from vqlearn.experiments.report import Report
from vqlearn.experiments.sequences import AutoregressiveRun
from vqlearn.experiments.tokens import ShippedTokens, tokens_from_text

TITLES = {
    "digits": "digits, 8 x 8 pixels, 17 grey levels",
    "rgb": "scenes, 8 x 8 pixels, 256 levels of each colour",
    "tokens": "scenes of 32 x 32 pixels as 64 tokens, after their captions",
}
PROMPTS = 6

Runs = Sequence[AutoregressiveRun | TokenRun]


def plot_all(report: Report, folder: Path, runs: Runs) -> None:
    """All three files."""
    style.plot_bits(report, runs, TITLES, folder / "autoregressive_bits.png")
    plot_samples(report, folder / "autoregressive_samples.png", runs)
    plot_scenes(report, folder / "autoregressive_scenes.png", runs)


def plot_samples(report: Report, file: Path, runs: Runs) -> None:
    """Of every network of pixels, the images that it sampled; above them some of the data."""
    levels = report.data["digits"].num_codes
    rows = {
        f"digits: {name}": style.to_grey(shown, levels)
        for name, shown in style.shown_of(report, runs, "digits").items()
    }
    for name, shown in style.shown_of(report, runs, "rgb").items():
        rows[f"scenes: {name}"] = to_rgb(shown)
    figure, panels = plt.subplots(len(rows), 1, figsize=(6, 0.8 * len(rows)), layout="constrained")
    for axes, (title, images) in zip(panels, rows.items(), strict=True):
        style.show_images(axes, images, title, size=8)
    style.save(figure, file)


def plot_scenes(report: Report, file: Path, runs: Runs) -> None:
    """What comes out for the first prompts, sampled plainly, and guided and truncated."""
    results = {run.name: report.runs[run.id].result for run in runs if run.data == "tokens"}
    (prompts,) = {each.plain.by_composition["seen"].total for each in results.values()}
    asked = evaluated_scenes("seen", replace(Evaluation(), prompts=prompts))
    rows, tokens = {"the scene": asked.images[:PROMPTS]}, ShippedTokens()
    for name, result in results.items():
        for title, part in ((name, result.plain), (f"{name},\nguided", result.guided)):
            rows[title] = tokens.decode(tokens_from_text(part.shown[:PROMPTS]))
    figure, grid = plt.subplots(
        len(rows), PROMPTS, figsize=(9, 1.6 * len(rows)), layout="constrained", squeeze=False
    )
    for panels, (title, images) in zip(grid, rows.items(), strict=True):
        for axes, image in zip(panels, images, strict=True):
            axes.imshow(rearrange(image, "c h w -> h w c").numpy())
            axes.set(xticks=[], yticks=[])
        panels[0].set_ylabel(title, fontsize=8)
    for axes, caption in zip(grid[0], asked.captions[:PROMPTS], strict=True):
        axes.set_title(textwrap.fill(caption, 20), fontsize=7)
    style.save(figure, file)


def to_rgb(shown: Sequence[str]) -> Float[Tensor, "b 3 h w"]:
    """Images in 0 to 1 from strings with two hexadecimal digits for each token."""
    return to_images(torch.tensor([list(bytes.fromhex(text)) for text in shown]))

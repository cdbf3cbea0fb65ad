"""What it looks like: the first captions, from the stored tokens of all that draw guided."""

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import pad

from vqlearn.checkpoints import folder as files
from vqlearn.checkpoints.shipped import resolve
from vqlearn.data.scenes.sampling import SceneBatch
from vqlearn.evaluation.prompts import Evaluation, evaluated_scenes
from vqlearn.experiments.face_off.quality import SHOWN
from vqlearn.experiments.face_off.results import (
    COMPOSITION_TITLES,
    FIRST,
    LABELS,
    Report,
    measured,
    parts,
)
from vqlearn.experiments.face_off.runs import ROWS


def shown_scenes(composition: str) -> SceneBatch:
    """All scenes that were drawn; the first `SHOWN` are in the image."""
    return evaluated_scenes(composition, Evaluation(prompts=ROWS))


def sentences() -> str:
    """The captions of the image as Markdown, from left to right."""
    lines = []
    for composition, title in COMPOSITION_TITLES.items():
        captions = shown_scenes(composition).captions[:SHOWN]
        lines.append(f"{title.capitalize()}: {', '.join(f'*{each}*' for each in captions)}.")
    return "\n\n".join(lines)


@torch.no_grad()
def draw(report: Report, file: Path) -> None:
    """True scenes, then a row of images for each system that was drawn guided."""
    vqvae = files.load_vqvae(resolve("scenes")).eval()
    names = [name for name in measured(report, "quality") if name != "direct"]
    size = (11, 0.6 * (len(names) + 1) + 0.4)
    figure, panels = plt.subplots(len(names) + 1, 2, figsize=size, layout="constrained")
    for (composition, title), column in zip(COMPOSITION_TITLES.items(), panels.T, strict=True):
        column[0].set_title(title, fontsize=10)
        column[0].imshow(strip(shown_scenes(composition).images[:SHOWN]))
        for name, axes in zip(names, column[1:], strict=True):
            rows = parts(report, "quality", name, composition, "shown")[FIRST]
            x = torch.tensor([list(map(int, row.split())) for row in rows])
            axes.imshow(strip(vqvae.decode(x)))
    for name, axes in zip(("true scenes", *names), panels[:, 0], strict=True):
        label = LABELS.get(name, name)
        axes.set_ylabel(label, rotation=0, ha="right", va="center", fontsize=8)
    for axes in panels.flat:
        axes.set(xticks=[], yticks=[], frame_on=False)
    figure.savefig(file, dpi=110)
    plt.close(figure)


def strip(images: Float[Tensor, "b 3 h w"]) -> np.ndarray:
    """Side by side, with a grey edge around each: one image for matplotlib."""
    return rearrange(pad(images, (2, 2, 2, 2), value=0.8), "b c h w -> h (b w) c").numpy()

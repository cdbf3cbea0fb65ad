"""What it looks like: the first captions, from the stored tokens of all that sampled guided."""

from pathlib import Path

import matplotlib.pyplot as plt

from vqlearn.data.scenes import SceneBatch
from vqlearn.evaluation import Evaluation, evaluated_scenes
from vqlearn.experiments import style
from vqlearn.experiments.face_off.quality import SHOWN, QualityRun
from vqlearn.experiments.face_off.results.numbers import measured, results_of
from vqlearn.experiments.face_off.system_run import SEEDS
from vqlearn.experiments.face_off.training import BUDGET
from vqlearn.experiments.pages import COMPOSITIONS
from vqlearn.experiments.report import Report
from vqlearn.experiments.tokens import ShippedTokens, tokens_from_text


def shown_scenes(composition: str) -> SceneBatch:
    """All scenes that were measured; the first `SHOWN` are in the plot."""
    return evaluated_scenes(composition, Evaluation(prompts=BUDGET.rows))


def prompts() -> str:
    """The captions of the plot as Markdown, from left to right."""
    lines = []
    for composition, title in COMPOSITIONS.items():
        captions = shown_scenes(composition).captions[:SHOWN]
        lines.append(f"{title.capitalize()}: {', '.join(f'*{each}*' for each in captions)}.")
    return "\n\n".join(lines)


def plot(report: Report, file: Path) -> None:
    """True scenes, then a row of images for each system that was sampled guided."""
    tokens = ShippedTokens()
    names = [name for name in measured(report, QualityRun) if name != "direct"]
    size = (11, 0.6 * (len(names) + 1) + 0.4)
    figure, panels = plt.subplots(len(names) + 1, 2, figsize=size, layout="constrained")
    for (composition, title), column in zip(COMPOSITIONS.items(), panels.T, strict=True):
        column[0].set_title(title, fontsize=10)
        style.show_images(column[0], shown_scenes(composition).images[:SHOWN])
        for name, axes in zip(names, column[1:], strict=True):
            quality = results_of(report, QualityRun, name)[SEEDS[0]].by_composition[composition]
            style.show_images(axes, tokens.decode(tokens_from_text(quality.shown)))
    for name, axes in zip(("true scenes", *names), panels[:, 0], strict=True):
        label = style.LABELS.get(name, name)
        axes.text(-0.02, 0.5, label, transform=axes.transAxes, ha="right", va="center", fontsize=8)
    style.save(figure, file)

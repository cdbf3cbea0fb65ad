"""How often is an image right, and how many steps does it take?"""

from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
from transformers import CLIPModel

from vqlearn.evaluation.prompts import COMPOSITIONS, Evaluation, evaluate, evaluate_model
from vqlearn.pipeline.pipeline import VQDiffusionPipeline

PROMPTS_OF_STEPS = {2: 100, 5: 100, 10: 300, 100: 100}
PROMPTS = 300
LABELS = {"seen": "pairs seen in training", "held_out": "with a pair never seen"}


def measure(pipeline: VQDiffusionPipeline, clip: CLIPModel | None) -> dict[str, Any]:
    """The whole evaluation at 25 steps, and of the model alone at other numbers of steps."""
    whole = evaluate(pipeline, clip, Evaluation(prompts=PROMPTS))
    by_steps = {whole["steps"]: {name: whole[name]["model"] for name in COMPOSITIONS}}
    for steps, prompts in PROMPTS_OF_STEPS.items():
        evaluation = Evaluation(num_inference_steps=steps, prompts=prompts)
        by_steps[steps] = evaluate_model(pipeline, clip, evaluation)
    keys = ("right", "total", "share", "interval_95", "calls_per_image", "seconds_per_image")
    short = {
        str(steps): {name: {key: by_steps[steps][name][key] for key in keys} for name in LABELS}
        for steps in sorted(by_steps)
    }
    return {"evaluation": whole, "by_steps": short}


def draw_curve(numbers: dict[str, Any], file: Path) -> None:
    """Shares of right images against steps, with 95 % intervals and the ceiling."""
    figure, axes = plt.subplots(figsize=(6.4, 3.6), layout="constrained")
    by_steps = numbers["by_steps"]
    steps = [int(count) for count in by_steps]
    for name, label in LABELS.items():
        parts = [by_steps[str(count)][name] for count in steps]
        shares = [100 * part["share"] for part in parts]
        below = [100 * (part["share"] - part["interval_95"][0]) for part in parts]
        above = [100 * (part["interval_95"][1] - part["share"]) for part in parts]
        axes.errorbar(steps, shares, yerr=(below, above), marker="o", capsize=3, label=label)
    ceiling = 100 * numbers["evaluation"]["seen"]["ceiling"]["share"]
    axes.axhline(ceiling, color="grey", linestyle="--", label="true scenes through their tokens")
    axes.set_xscale("log")
    axes.set_xticks(steps, [str(count) for count in steps])
    axes.minorticks_off()
    axes.set_ylim(0, 103)
    axes.set_xlabel("steps (calls of the denoiser without guidance)")
    axes.set_ylabel("pictures that are right, %")
    axes.legend(fontsize=8)
    figure.savefig(file, dpi=110)
    plt.close(figure)

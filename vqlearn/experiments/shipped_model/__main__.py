"""Make everything in `figures/` again, and print the numbers."""

import json
from pathlib import Path

import matplotlib

from vqlearn.checkpoints.folder import load_clip
from vqlearn.checkpoints.shipped import resolve
from vqlearn.experiments.shipped_model import accuracy, denoising
from vqlearn.experiments.shipped_model import images as pictures
from vqlearn.pipeline.pipeline import VQDiffusionPipeline

FIGURES = Path("figures")


def main() -> None:
    """Draw from "scenes": images, films, and the evaluation with its curve."""
    matplotlib.use("Agg")
    FIGURES.mkdir(exist_ok=True)
    pipeline = VQDiffusionPipeline.from_pretrained("scenes")
    pictures.draw_prompts(pipeline, FIGURES / "prompts.png")
    pictures.draw_reconstructions(pipeline, FIGURES / "reconstructions.png")
    films = denoising.record(pipeline)
    denoising.draw_strip(pipeline, films, FIGURES / "denoising.png")
    denoising.animate(pipeline, films, FIGURES / "denoising.gif")
    numbers = accuracy.measure(pipeline, load_clip(resolve("scenes")))
    accuracy.draw_curve(numbers, FIGURES / "accuracy.png")
    text = json.dumps(numbers, indent=2)
    (FIGURES / "evaluation.json").write_text(text + "\n", encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()

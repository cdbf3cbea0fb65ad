"""The runs of the shipped model: how often an image is right, and after how many steps.

    python -m vqlearn.experiments shipped-model

The whole evaluation at 25 steps, and the model alone at other numbers of steps, on the same
prompts with the same random numbers.
"""

import hashlib
from dataclasses import dataclass
from functools import cache
from typing import Any, ClassVar

from vqlearn.checkpoints import load_clip, resolve
from vqlearn.evaluation import Evaluation, Share, evaluate, evaluate_model
from vqlearn.evaluation.prompts import CompositionScores
from vqlearn.experiments.report import Run
from vqlearn.pipeline import VQDiffusionPipeline

MODEL = "scenes"
WEIGHTS = "transformer/diffusion_pytorch_model.safetensors"


@dataclass(frozen=True)
class Timed(Share):
    """Images that are right, with the calls of the denoiser and the seconds of each."""

    calls_per_image: float
    seconds_per_image: float


@dataclass(frozen=True)
class EvaluatedRun(Run):
    """A measurement of the shipped model; its settings say how is sampled, from which weights."""

    evaluation: Evaluation
    data: ClassVar[None] = None

    def settings(self) -> dict[str, Any]:
        """All that decides the result."""
        return {
            **self.evaluation.settings(),
            "weights": WEIGHTS,
            "weights_sha256": weights_digest(),
        }


class EvaluationRun(EvaluatedRun):
    """The whole evaluation, with the default evaluation, by composition."""

    id: ClassVar[str] = "evaluation"

    def measure(self, data: None) -> dict[str, CompositionScores]:
        """Generate, read, count."""
        return evaluate(load_pipeline(), load_clip(resolve(MODEL)), self.evaluation)


class StepsRun(EvaluatedRun):
    """The model alone at one number of steps, by composition."""

    @property
    def id(self) -> str:
        """Such as "steps/10"."""
        return f"steps/{self.evaluation.num_inference_steps}"

    def measure(self, data: None) -> dict[str, Timed]:
        """Generate, read, count."""
        found = evaluate_model(load_pipeline(), None, self.evaluation)
        return {
            composition: Timed(part.right, part.total, part.calls_per_image, part.seconds_per_image)
            for composition, part in found.items()
        }


@cache
def load_pipeline() -> VQDiffusionPipeline:
    """The shipped model, once."""
    return VQDiffusionPipeline.from_pretrained(MODEL)


@cache
def weights_digest() -> str:
    """The SHA-256 of the shipped denoiser."""
    with (resolve(MODEL) / WEIGHTS).open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()

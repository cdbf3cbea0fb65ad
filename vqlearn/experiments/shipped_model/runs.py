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
from vqlearn.evaluation import Evaluation, evaluate, evaluate_model
from vqlearn.evaluation.prompts import COMPOSITIONS
from vqlearn.experiments.report import Accuracy, Run, Share
from vqlearn.pipeline import VQDiffusionPipeline

MODEL = "scenes"
WEIGHTS = "transformer/diffusion_pytorch_model.safetensors"


@dataclass(frozen=True)
class Scored(Accuracy):
    """What the scene reader and the small CLIP say of images and their captions.

    Of images that were generated also the calls of the denoiser and the seconds of each.
    """

    clip_score: float | None = None
    calls_per_image: float | None = None
    seconds_per_image: float | None = None


@dataclass(frozen=True)
class EvaluatedComposition:
    """What `evaluate` says of one kind of captions.

    `ceiling`: true scenes after a round trip through their tokens; `floor`: an untrained denoiser;
    `text_probe`: the share of attributes that a linear map reads off the text states.
    """

    model: Scored
    ceiling: Scored
    floor: Scored
    bound_bits_per_token: float
    token_bits_given_pixels: float
    text_probe: dict[str, float]


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
            "steps": self.evaluation.num_inference_steps,
            "guidance": self.evaluation.guidance_scale,
            "truncation": self.evaluation.truncation_rate,
            "prompts": self.evaluation.prompts,
            "seed": self.evaluation.seed,
            "weights": WEIGHTS,
            "weights_sha256": weights_digest(),
        }


class EvaluationRun(EvaluatedRun):
    """The whole evaluation, with the default evaluation, by composition."""

    id: ClassVar[str] = "evaluation"

    def measure(self, data: None) -> dict[str, EvaluatedComposition]:
        """Generate, read, count."""
        found = evaluate(load_pipeline(), load_clip(resolve(MODEL)), self.evaluation)
        return {each: evaluated(found[each]) for each in COMPOSITIONS}


class StepsRun(EvaluatedRun):
    """The model alone at one number of steps, by composition."""

    @property
    def id(self) -> str:
        """Such as "steps/10"."""
        return f"steps/{self.evaluation.num_inference_steps}"

    def measure(self, data: None) -> dict[str, Timed]:
        """Generate, read, count."""
        found = evaluate_model(load_pipeline(), None, self.evaluation)
        names = ("right", "total", "calls_per_image", "seconds_per_image")
        return {each: Timed(**{name: found[each][name] for name in names}) for each in COMPOSITIONS}


def evaluated(found: dict[str, Any]) -> EvaluatedComposition:
    """One composition of `evaluate`, typed."""
    return EvaluatedComposition(
        **{name: scored(found[name]) for name in ("model", "ceiling", "floor")},
        bound_bits_per_token=found["bound_bits_per_token"],
        token_bits_given_pixels=found["chance_bits_per_token"],
        text_probe=found["text"],
    )


def scored(found: dict[str, Any]) -> Scored:
    """A score of `evaluate`, typed."""
    by_attribute = {
        name: Share(part["right"], part["total"]) for name, part in found["by_attribute"].items()
    }
    others = ("right", "total", "unreadable", "clip_score", "calls_per_image", "seconds_per_image")
    return Scored(by_attribute=by_attribute, **{name: found.get(name) for name in others})


@cache
def load_pipeline() -> VQDiffusionPipeline:
    """The shipped model, once."""
    return VQDiffusionPipeline.from_pretrained(MODEL)


@cache
def weights_digest() -> str:
    """The SHA-256 of the shipped denoiser."""
    with (resolve(MODEL) / WEIGHTS).open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()

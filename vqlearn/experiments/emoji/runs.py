"""What is measured of the model of emoji: on images of the training, and on held-out ones.

The prompts are the first captions of random images, one for each. No stage is trained on the
held-out images.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor

from vqlearn.checkpoints import load_clip
from vqlearn.checkpoints.layout import PARTS as CHECKPOINT_PARTS
from vqlearn.checkpoints.shipped import WEIGHTS
from vqlearn.data import ImageFolder
from vqlearn.evaluation import (
    Evaluation,
    ImageScores,
    Share,
    evaluate_images,
    evaluated_images,
)
from vqlearn.evaluation.prompts import generate
from vqlearn.experiments.emoji.folder import PARTS, build
from vqlearn.experiments.report import Run
from vqlearn.pipeline import load_pipeline
from vqlearn.training import record

MODEL = WEIGHTS / "emoji"
DATA = Path("runs") / "emoji-data"
PROMPTS = 200
GUIDANCE = (1.0, 1.5, 2.0, 3.0)


@dataclass(frozen=True)
class EmojiScores:
    """All figures of one part of the data.

    `nearest`: how often the true image of the prompt is nearer, in pixels, to the generated image
    than the images of all other captions, of both parts. No network decides that.
    """

    scores: ImageScores
    nearest: Share


@dataclass(frozen=True)
class EmojiRun(Run):
    """The model of one part, "train" or "held_out", with one strength of guidance."""

    part: str
    guidance: float
    data: ClassVar[None] = None

    @property
    def id(self) -> str:
        """Such as "held_out/2.0"."""
        return f"{self.part}/{self.guidance}"

    @property
    def evaluation(self) -> Evaluation:
        """How images are sampled."""
        return Evaluation(guidance_scale=self.guidance, prompts=PROMPTS)

    def settings(self) -> dict[str, Any]:
        """All that decides the result."""
        return {**self.evaluation.settings(), "model": model_digest()}

    def measure(self, data: None) -> EmojiScores:
        """Encode and decode, generate, compare; the folder of images is made if it is not there."""
        build(DATA)
        pipeline = load_pipeline(str(MODEL))
        sources = {part: ImageFolder(DATA / part, pipeline.image_size) for part in PARTS}
        source = sources[self.part]
        batch = evaluated_images(source, torch.arange(len(source.rows)), self.evaluation)
        generated = generate(pipeline, batch.captions, self.evaluation)
        others = [each.images for part, each in sources.items() if part != self.part]
        known = torch.cat([source.images, *others]) / 255
        return EmojiScores(
            scores=evaluate_images(pipeline, load_clip(MODEL), batch, self.evaluation),
            nearest=nearest_share(generated, known, batch.numbers),
        )


def model_digest() -> str:
    """What tells these weights from others."""
    return record.digest_of(MODEL, CHECKPOINT_PARTS)


def nearest_share(
    images: Float[Tensor, "b 3 h w"], known: Float[Tensor, "n 3 h w"], own: Int[Tensor, " b"]
) -> Share:
    """How many images have their own one of the known images as the nearest in pixels."""
    nearest = torch.cdist(images.flatten(1), known.flatten(1)).argmin(1)
    return Share((nearest == own).sum().item(), len(own))

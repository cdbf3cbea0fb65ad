"""What is measured of the model of emoji: on images of the training, and on held-out ones.

The prompts are the first captions of random images, one for each. No stage is trained on the
held-out images. Those of two people or hands in two skin tones are measured apart: the training has
the same with the tones the other way round.
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
from vqlearn.data.emoji import DATA, build
from vqlearn.evaluation import (
    Evaluation,
    ImageScores,
    Share,
    evaluated_images,
    score_images,
)
from vqlearn.evaluation.prompts import generate
from vqlearn.experiments.report import Run
from vqlearn.pipeline import load_pipeline
from vqlearn.training import record

MODEL = WEIGHTS / "emoji"
SHEETS = Path("runs") / "emoji-questions"
ANSWERS = Path("figures") / "emoji_recognition.json"
PROMPTS = 200
GUIDANCE = (1.0, 1.5)
FOLDERS = ("train", "held_out")
PARTS = {"seen": "train", "never_seen": "held_out", "swapped": "held_out"}
"""What is measured apart, and the folder that it is in."""


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
    """The model on one of the `PARTS`, with one strength of guidance."""

    part: str
    guidance: float
    data: ClassVar[None] = None

    @property
    def id(self) -> str:
        """Such as "never_seen/2.0"."""
        return f"{self.part}/{self.guidance}"

    @property
    def evaluation(self) -> Evaluation:
        """How images are sampled."""
        return Evaluation(guidance_scale=self.guidance, prompts=PROMPTS)

    def settings(self) -> dict[str, Any]:
        """All that decides the result."""
        return {**self.evaluation.settings(), "model": model_digest()}

    def lines(self, source: ImageFolder) -> Int[Tensor, " lines"]:
        """The lines of its folder that belong to the part."""
        swapped = torch.tensor([caption.count(" skin") == 2 for caption in source.captions()])
        chosen = swapped if self.part == "swapped" else ~swapped
        return torch.arange(len(swapped)) if self.part == "seen" else chosen.nonzero()[:, 0]

    def measure(self, data: None) -> EmojiScores:
        """Encode and decode, generate, compare; the folder of images is made if it is not there."""
        build(DATA)
        pipeline = load_pipeline(MODEL)
        sources = {name: ImageFolder(DATA / name, pipeline.image_size) for name in FOLDERS}
        own = PARTS[self.part]
        source = sources[own]
        batch = evaluated_images(source, self.lines(source), self.evaluation)
        generated = generate(pipeline, batch.captions, self.evaluation)
        others = [each.images for name, each in sources.items() if name != own]
        known = torch.cat([source.images, *others]) / 255
        return EmojiScores(
            scores=score_images(pipeline, load_clip(MODEL), batch, generated),
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

"""Short trainings on random emoji, few and many, measured on images seen and never seen.

There is one image of each kind of emoji: no other skin tone, no man beside a woman, so that what
was never seen has no twin in the training. All stages are trained from nothing, for the same number
of steps. The images that nobody trains on are the same ones for all runs; with fewer images a
training has a part of those of a larger one.
"""

import json
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch

from vqlearn.checkpoints import load_clip
from vqlearn.data import ImageFolder
from vqlearn.data.emoji import DATA, METADATA, TWEMOJI, build, kind
from vqlearn.evaluation import Evaluation, ImageScores, evaluate_images, evaluated_images
from vqlearn.experiments.report import Run
from vqlearn.pipeline import load_pipeline
from vqlearn.probability import random_stream
from vqlearn.training.stages import Plan

NEVER_SEEN = 200
MEASURED = 50
IMAGE_SIZE = 32
STEPS = {"tokens": 500, "text": 300, "diffusion": 500}


@dataclass(frozen=True)
class SizeScores:
    """The figures on images of the training, and on images that nobody trained on."""

    seen: ImageScores
    never_seen: ImageScores


@dataclass(frozen=True)
class SizeRun(Run):
    """A training on this many images."""

    images: int
    data: ClassVar[None] = None

    @property
    def id(self) -> str:
        """Such as "500"."""
        return str(self.images)

    @property
    def evaluation(self) -> Evaluation:
        """How images are sampled."""
        return Evaluation(prompts=MEASURED)

    def settings(self) -> dict[str, Any]:
        """All that decides the result."""
        sizes = {"images": self.images, "never_seen": NEVER_SEEN, "image_size": IMAGE_SIZE}
        package = {"package": TWEMOJI.integrity}
        return {**sizes, **package, **self.evaluation.settings(), "training_steps": dict(STEPS)}

    def measure(self, data: None) -> SizeScores:
        """Make the folders, train in one of them, measure both."""
        build(DATA)
        with tempfile.TemporaryDirectory() as folder:
            return self._measured_in(Path(folder))

    def _measured_in(self, folder: Path) -> SizeScores:
        lines, files = drawn_images(DATA / "train")
        parts = {"never_seen": files[:NEVER_SEEN], "seen": files[NEVER_SEEN:][: self.images]}
        for part, chosen in parts.items():
            write_folder(DATA / "train", lines, chosen, folder / part)
        model = Plan(data=str(folder / "seen"), recipe={"steps": STEPS}).train(folder / "model")
        pipeline, clip = load_pipeline(str(model)), load_clip(model)
        found = {}
        for part in parts:
            source = ImageFolder(folder / part, IMAGE_SIZE)
            batch = evaluated_images(source, torch.arange(len(source.rows)), self.evaluation)
            found[part] = evaluate_images(pipeline, clip, batch, self.evaluation)
        return SizeScores(**found)


def drawn_images(folder: Path) -> tuple[list[dict[str, str]], list[str]]:
    """The lines of the folder's metadata, and a file of each kind in a random order, the same each
    time.
    """
    text = (folder / METADATA).read_text(encoding="utf-8")
    lines = [json.loads(line) for line in text.splitlines()]
    first = {}
    for line in lines:
        first.setdefault(kind(line["file_name"]), line["file_name"])
    files = list(first.values())
    order = torch.randperm(len(files), generator=random_stream("how many images"))
    return lines, [files[i] for i in order.tolist()]


def write_folder(
    source: Path, lines: Sequence[dict[str, str]], files: Sequence[str], folder: Path
) -> None:
    """A folder of images with some of the files of another, and their captions."""
    folder.mkdir()
    for file in files:
        shutil.copy(source / file, folder / file)
    kept = set(files)
    metadata = [json.dumps(line) + "\n" for line in lines if line["file_name"] in kept]
    (folder / METADATA).write_text("".join(metadata), encoding="utf-8")

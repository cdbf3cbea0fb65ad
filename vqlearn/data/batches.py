"""Where does a training take its batches from? Scenes made on the spot, or a folder of images.

Batch number i of a process is a function of (seed, process, i) and nothing else, so a training
that was stopped goes on with exactly the batches that were left.
"""

from dataclasses import dataclass, replace
from typing import ClassVar, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor
from torch.utils.data import Dataset

from vqlearn.data.scenes.hard_negatives import hard_negative_batch
from vqlearn.data.scenes.sampling import Composition, scene_batch
from vqlearn.probability import random_stream

VOCABULARY_CAPTIONS = 2000


@dataclass(frozen=True)
class Batch:
    """Images, RGB in 0 to 1, and one caption for each."""

    images: Float[Tensor, "b 3 h w"]
    captions: list[str]


@runtime_checkable
class Source(Protocol):
    """Anything that can make batches of square images."""

    name: str
    """What a stopped training must go on with."""
    image_size: int
    """Pixels of a side."""

    def batch(self, count: int, *, generator: torch.Generator) -> Batch:
        """`count` random images with captions; the same generator state gives the same."""

    def captions(self) -> list[str]:
        """Captions enough to learn a vocabulary from."""

    def with_held_out_pairs(self) -> "Source":
        """The source that also shows what token models shall never have seen."""

    def with_hard_negatives(self) -> "Source":
        """The source whose batches are the hardest to match with their captions."""


@dataclass(frozen=True)
class Scenes:
    """Scenes of the asked size and composition (see `scenes.sample_scenes`), new ones for ever.

    With `doubles` every scene comes with those it could be taken for (see `similar`).
    """

    image_size: int
    composition: Composition
    hard_negatives: bool = False

    name: ClassVar[str] = "scenes"

    def batch(self, count: int, *, generator: torch.Generator) -> Batch:
        make = hard_negative_batch if self.hard_negatives else scene_batch
        made = make(
            count, generator=generator, composition=self.composition, image_size=self.image_size
        )
        return Batch(made.images, made.captions)

    def captions(self) -> list[str]:
        plain = replace(self, hard_negatives=False)
        return plain.batch(VOCABULARY_CAPTIONS, generator=random_stream("vocabulary")).captions

    def with_held_out_pairs(self) -> "Scenes":
        """Scenes of every composition, as the token stage needs them."""
        return replace(self, composition="any")

    def with_hard_negatives(self) -> "Scenes":
        """The same scenes and their doubles, as the text stage needs them."""
        return replace(self, hard_negatives=True)


class NumberedBatches(Dataset):
    """`batches[i]` is batch number i of one process."""

    def __init__(self, source: Source, batch_size: int, seed: int, process: int) -> None:
        self.source, self.batch_size = source, batch_size
        self.seed, self.process = seed, process

    def __getitem__(self, index: int) -> Batch:
        generator = random_stream("data", self.seed, self.process, index)
        return self.source.batch(self.batch_size, generator=generator)

"""Where a training takes its batches from: scenes made on the spot, or another source.

Batch number i of a process is a function of (seed, process, i) and nothing else, so a training
that was stopped goes on with exactly the batches that were left.
"""

from dataclasses import dataclass, replace
from typing import ClassVar, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.utils.data import Dataset

from vqlearn.data.scenes.captions import describe_all
from vqlearn.data.scenes.drawing import render
from vqlearn.data.scenes.hard_negatives import sample_with_hard_negatives
from vqlearn.data.scenes.sampling import Composition, sample_scenes
from vqlearn.probability import random_stream

VOCABULARY_CAPTIONS = 2000


@dataclass(frozen=True)
class Batch:
    """Images, RGB in 0 to 1, and one caption for each.

    `numbers` says which images of a `FiniteSource` they are.
    """

    images: Float[Tensor, "b 3 h w"]
    captions: list[str]
    numbers: Int[Tensor, " b"] | None = None


@runtime_checkable
class Source(Protocol):
    """Anything that can make batches of square images.

    A source that holds nothing out and knows no hard negatives inherits the last two methods.
    """

    name: str
    """What the user calls it: "scenes", or the path of a folder."""
    digest: str
    """What is in it, whatever `name` and `image_size`: the same data has the same digest."""
    image_size: int
    """Pixels of a side."""

    def batch(self, count: int, *, generator: torch.Generator) -> Batch:
        """`count` random images with captions; the same generator state gives the same."""

    def captions(self) -> list[str]:
        """Captions enough to learn a vocabulary from."""

    def with_held_out_pairs(self) -> "Source":
        """The source that also shows what token models shall never have seen."""
        return self

    def with_hard_negatives(self) -> "Source":
        """The source whose batches are the hardest to match with their captions."""
        return self


@runtime_checkable
class FiniteSource(Source, Protocol):
    """A source of so many images. Its batches are numbered, and `captions` are all there are."""

    num_images: int
    varies: bool
    """Can the same image look different the next time it is drawn?"""

    def numbered_images(self, numbers: Int[Tensor, " b"]) -> Float[Tensor, "b 3 h w"]:
        """These images, counted from 0, as they are where nothing is drawn at random."""


@dataclass(frozen=True)
class Scenes:
    """Scenes of the asked size and composition (see `scenes.sample_scenes`), new ones for ever.

    With `hard_negatives` every scene comes with those that it could be taken for.
    """

    image_size: int
    composition: Composition
    hard_negatives: bool = False

    name: ClassVar[str] = "scenes"
    digest: ClassVar[str] = "scenes"

    def batch(self, count: int, *, generator: torch.Generator) -> Batch:
        sample = sample_with_hard_negatives if self.hard_negatives else sample_scenes
        scenes = sample(count, generator=generator, composition=self.composition)
        images = render(scenes, image_size=self.image_size)
        return Batch(images, describe_all(scenes, generator=generator))

    def captions(self) -> list[str]:
        """Those of 2,000 random scenes, none of which is drawn."""
        generator, count = random_stream("vocabulary"), VOCABULARY_CAPTIONS
        scenes = sample_scenes(count, generator=generator, composition=self.composition)
        return describe_all(scenes, generator=generator)

    def with_held_out_pairs(self) -> "Scenes":
        """Scenes of every composition, as the token stage needs them."""
        return replace(self, composition="any")

    def with_hard_negatives(self) -> "Scenes":
        """The same scenes and their hard negatives, as the text stage needs them."""
        return replace(self, hard_negatives=True)


class NumberedBatches(Dataset):
    """`batches[i]` is batch number i of one process."""

    def __init__(self, source: Source, batch_size: int, seed: int, process: int) -> None:
        self.source, self.batch_size = source, batch_size
        self.seed, self.process = seed, process

    def __getitem__(self, index: int) -> Batch:
        generator = random_stream("data", self.seed, self.process, index)
        return self.source.batch(self.batch_size, generator=generator)

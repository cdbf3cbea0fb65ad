"""The challenge's prompts and seeds, and what a sampler scores on them.

A sampler is a function `unmask(network, num_images)` that returns tokens, (num_images, n) int64. It
never sees the prompts: the network does (`network.CountedNetwork`). Two images of every prompt are
counted, each drawn in a batch of its own, so none can be chosen or copied. In every batch the codes
have other numbers, so that a sampler has to ask the network what they mean.

Prompts and seeds follow from a word. `PUBLIC` is for all; the word of a held-back set is known to
whoever runs the challenge.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from typing import Any

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from vqlearn.challenge.network import CountedNetwork
from vqlearn.data.scenes import Scene, scene_batch
from vqlearn.evaluation.diversity import ALL, Diversity
from vqlearn.evaluation.frontier import IMAGES, Point
from vqlearn.evaluation.frontier import score as score_scenes
from vqlearn.evaluation.prompts import COMPOSITIONS
from vqlearn.evaluation.scene_reader import read
from vqlearn.pipeline import VQDiffusionPipeline
from vqlearn.probability import random_stream
from vqlearn.probability.checks import check_integer, check_range, shown

PUBLIC = "public"
PROMPTS = 100  # of each kind
MODEL = "scenes"

Sampler = Callable[[CountedNetwork, int], Any]


@dataclass(frozen=True, repr=False)
class TaskScore:
    """What a sampler scores: on both kinds of prompts together, and on each.

    `evaluations`: the most that it used for a batch.
    """

    both: Point
    by_composition: dict[str, Point]
    evaluations: int

    @property
    def diversity(self) -> Diversity | None:
        """Of all prompts with two right images; None if there are fewer than two."""
        return self.both.diversity.get(ALL)

    def __str__(self) -> str:
        right, low, high = self.both.accuracy
        seen, never = (self.by_composition[kind].accuracy.value for kind in COMPOSITIONS)
        diversity = "unknown" if self.diversity is None else f"{self.diversity.value:.2f}"
        return (
            f"{right:.1%} of the images are right ({low:.1%} to {high:.1%}; pairs seen {seen:.1%}, "
            f"never seen {never:.1%}), diversity {diversity}, {self.evaluations} evaluations"
        )

    __repr__ = __str__


@dataclass(frozen=True, eq=False)
class PromptBatch:
    """The prompts of some images, their network, the seed of the sampler, the numbers of codes.

    `codes`: the model's number of each code, (K,).
    """

    network: CountedNetwork
    num_images: int
    seed: int
    codes: Int[Tensor, " k"]


class ScenesTask:
    """The prompts and seeds that belong to a word, and the shipped model.

    `prompts`: how many of the 100 of each kind count: with pairs of colour and shape seen in
    training, and with a pair never seen. Raises `ValueError` for more, or none.
    """

    def __init__(self, word: str = PUBLIC, prompts: int = PROMPTS) -> None:
        check_integer("prompts", prompts, 1, PROMPTS)
        self.word = word
        self.pipeline = VQDiffusionPipeline.from_pretrained(MODEL)
        self.captions = {
            kind: scene_batch(
                PROMPTS, generator=random_stream("challenge", word, kind), composition=kind
            ).captions[:prompts]
            for kind in COMPOSITIONS
        }

    def score(self, run: Callable[[PromptBatch], Int[Tensor, "b n"]]) -> TaskScore:
        """What the tokens score that `run` makes for each batch.

        Raises `ValueError` for tokens that are none, and what `run` raises.
        """
        points, scenes, evaluations = {}, {}, 0
        for kind, captions in self.captions.items():
            images = []
            for batch in self._batches(kind):
                images.append(self._read(run(batch), batch))
                evaluations = max(evaluations, batch.network.evaluations)
            scenes[kind] = [scene for of_prompt in zip(*images, strict=True) for scene in of_prompt]
            points[kind] = score_scenes(scenes[kind], captions)
        everything = [list(chain(*parts.values())) for parts in (scenes, self.captions)]
        return TaskScore(score_scenes(*everything), points, evaluations)

    def _batches(self, kind: str) -> Iterator[PromptBatch]:
        """All prompts of a kind, once for each image."""
        captions, condition = self.captions[kind], self._conditions[kind]
        for image in range(IMAGES):
            seed = random_stream("challenge", self.word, kind, image).initial_seed()
            # A stream of its own: the submission knows the seed.
            stream = random_stream("numbers of codes", self.word, kind, image)
            codes = torch.randperm(self.pipeline.model.num_codes, generator=stream)
            network = CountedNetwork(self.pipeline.model, condition, codes)
            yield PromptBatch(network, len(captions), seed, codes)

    @cached_property
    def _conditions(self) -> dict[str, Any]:
        return {kind: self.pipeline.conditioning(each) for kind, each in self.captions.items()}

    @torch.no_grad()
    def _read(self, tokens: Any, batch: PromptBatch) -> list[Scene | None]:
        """The scenes that the tokens show. Raises `ValueError` for what are no tokens."""
        shape, mask = (batch.num_images, self.pipeline.model.num_positions), len(batch.codes)
        try:
            found = torch.from_numpy(np.asarray(tokens, dtype=np.float64))
        except (TypeError, ValueError):
            seen = " ".join(shown(tokens).split())
            raise ValueError(f"unmask returned {seen}; allowed: tokens {shape}") from None
        if found.shape != shape:
            raise ValueError(f"unmask returned shape {tuple(found.shape)}; allowed: {shape}")
        if masked := int((found == mask).sum()):
            raise ValueError(f"unmask left {masked} tokens MASK ({mask}); allowed: none")
        check_range("what unmask returned", found, 0, mask - 1)
        if not found.equal(found.round()):
            raise ValueError(f"unmask returned fractions; allowed: whole numbers, 0 to {mask - 1}")
        return read(self.pipeline.pixels(batch.codes[found.long()]))


def score(unmask: Sampler, word: str = PUBLIC, prompts: int = PROMPTS) -> TaskScore:
    """What a function scores in this process, for a notebook; torch's own seed is set for it.

    Raises `ValueError` for tokens that are none and for one evaluation too many, and what the
    function raises. `vqlearn challenge` runs a file in a process apart.
    """

    def run(batch: PromptBatch) -> Any:
        with torch.random.fork_rng():
            torch.manual_seed(batch.seed)
            return unmask(batch.network, batch.num_images)

    return ScenesTask(word, prompts).score(run)

"""Networks of `raster` that write the tokens of a scene after its caption.

They are asked for the same sentences as the shipped diffusion model in `evaluation.json`, and draw
in two ways: from their laws as they are, and with its guidance and its truncation.
"""

import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import torch
from accelerate import Accelerator
from accelerate.utils import set_seed
from jaxtyping import Float, Int
from torch import Tensor

from vqlearn.autoregressive import filters, raster
from vqlearn.autoregressive.cache import CachedReader
from vqlearn.autoregressive.raster import NextLaw, Sharpen
from vqlearn.autoregressive.transformer import conditionals
from vqlearn.data.batches import random_stream
from vqlearn.data.reader import prompt_accuracy
from vqlearn.evaluate import COMPOSITIONS, Sampling, describe_accuracy, evaluated_scenes
from vqlearn.figures.family_worlds import SHOWN
from vqlearn.figures.identity import Named, size_settings
from vqlearn.figures.raster_rows import count_weights, empty_rows, machine
from vqlearn.figures.raster_worlds import Budget, CaptionedTokens
from vqlearn.training.loop import Run
from vqlearn.training.raster import (
    Conditional,
    ConditionalImageBART,
    ConditionalRaster,
    Size,
    train_imagebart,
    train_raster,
)
from vqlearn.training.stages import copy_frozen_parts

AT_ONCE = 100
MIXED_PRECISION = "bf16"
GUIDED = Sampling()

Text = Float[Tensor, "_ l c"]
Hear = Callable[[Callable[[Text], NextLaw]], NextLaw]
"""hear(law_of): the law to draw from, made of the laws after one text or two."""


class Writer(Protocol):
    """What a trained network can do with tokens."""

    def nats(
        self, x: Int[Tensor, "b n"], text: Text, chance: torch.Generator
    ) -> Float[Tensor, " b"]:
        """How surprising is each row after its sentence?"""

    def write(
        self, hear: Hear, shape: tuple[int, int], sharpen: Sharpen, chance: torch.Generator
    ) -> Int[Tensor, "b n"]:
        """Draw rows."""


class RasterWriter:
    """A raster transformer: its bits are exact."""

    def __init__(self, trained: ConditionalRaster) -> None:
        self.network = trained.transformer

    def nats(
        self, x: Int[Tensor, "b n"], text: Text, chance: torch.Generator
    ) -> Float[Tensor, " b"]:
        return -raster.log_likelihood(conditionals(self.network, text), x)

    def write(
        self, hear: Hear, shape: tuple[int, int], sharpen: Sharpen, chance: torch.Generator
    ) -> Int[Tensor, "b n"]:
        law, (count, n) = hear(lambda text: CachedReader(self.network, text)), shape
        return raster.sample(law, empty_rows(count), n, sharpen=sharpen, generator=chance)


class ImageBARTWriter:
    """An ImageBART: its bits are a bound."""

    def __init__(self, trained: ConditionalImageBART) -> None:
        self.network = trained.imagebart

    def nats(
        self, x: Int[Tensor, "b n"], text: Text, chance: torch.Generator
    ) -> Float[Tensor, " b"]:
        return self.network.bound(x, text=text, generator=chance)

    def write(
        self, hear: Hear, shape: tuple[int, int], sharpen: Sharpen, chance: torch.Generator
    ) -> Int[Tensor, "b n"]:
        def step_back(x_t: Int[Tensor, "b n"], t: int) -> NextLaw:
            return hear(lambda text: self.network.next_law(x_t, t, text))

        return self.network.sample_by(step_back, shape, sharpen=sharpen, generator=chance)


@dataclass(frozen=True)
class TokenRun:
    """A training stage with its options and the size of its network, and what reads the result."""

    train: Named
    size: Size
    writer: Callable[[Conditional], Writer]
    options: dict[str, Any] = field(default_factory=dict)

    def settings(self, budget: Budget) -> dict[str, Any]:
        """All that decides the result."""
        network = {"stage": self.train.id, "size": size_settings(self.size), **self.options}
        drawing = {"guidance": GUIDED.guidance_scale, "truncation": GUIDED.truncation_rate}
        return {**network, **drawing, "mixed_precision": MIXED_PRECISION, **budget.settings()}

    def measure(self, name: str, world: CaptionedTokens, budget: Budget) -> dict[str, Any]:
        """Train; then the bits of the test rows, then pictures for sentences."""
        begin = time.process_time()
        trained = self._trained(world, budget)
        training = time.process_time() - begin
        writer = self.writer(trained)
        plain = write_for_sentences(writer, world, budget.samples, null=None)
        return {
            "settings": self.settings(budget),
            "weights": count_weights(trained),
            **world.bits(nats_of_tests(writer, world, random_stream("raster", "bits", name))),
            "seconds": {"training": round(training), "drawing": plain.pop("seconds")},
            "machine": machine(),
            "samples": plain,
            "guided": write_for_sentences(writer, world, budget.samples, null=trained.null_text(1)),
        }

    def _trained(self, world: CaptionedTokens, budget: Budget) -> Conditional:
        accelerator = Accelerator(cpu=True, mixed_precision=MIXED_PRECISION)
        with tempfile.TemporaryDirectory() as name:
            copy_frozen_parts(world.shipped, Path(name))
            run = Run(Path(name), world.source, "scenes", budget.recipe, accelerator)
            set_seed(budget.recipe.seed)
            return self.train(run, size=self.size, **self.options).requires_grad_(False)


def nats_of_tests(
    writer: Writer, world: CaptionedTokens, chance: torch.Generator
) -> Float[Tensor, " b"]:
    """How surprising are the tokens of each test picture after its caption?"""
    rows, captions = world.test.split(AT_ONCE), batched(world.captions, AT_ONCE)
    parts = zip(rows, captions, strict=True)
    return torch.cat([writer.nats(x, world.encoder(part), chance) for x, part in parts])


def write_for_sentences(
    writer: Writer, world: CaptionedTokens, count: int, *, null: Text | None
) -> dict[str, Any]:
    """How many sentences of both compositions come out right? With `null`: guided and truncated.

    "seconds" are those of all pictures together.
    """
    begin, report = time.process_time(), {}
    for composition in COMPOSITIONS:
        captions = evaluated_scenes(composition, replace(GUIDED, prompts=count)).captions
        tokens = write(writer, world, captions, null=null)
        report[composition] = describe_accuracy(prompt_accuracy(world.decode(tokens), captions))
        report.setdefault("shown", tokens[:SHOWN].tolist())
    return {**report, "seconds": round(time.process_time() - begin, 1)}


def write(
    writer: Writer, world: CaptionedTokens, captions: list[str], *, null: Text | None
) -> Int[Tensor, "b n"]:
    """One row of tokens for each caption."""
    sharpen = None if null is None else partial(filters.top_p, mass=GUIDED.truncation_rate)
    chance, parts = random_stream("raster", "rows", len(captions)), []
    for some in batched(captions, AT_ONCE):
        text = world.encoder(some)

        def hear(law_of: Callable[[Text], NextLaw], text: Text = text) -> NextLaw:
            if null is None:
                return law_of(text)
            return filters.guided(law_of(text), law_of(null), GUIDED.guidance_scale)

        shape = (len(some), world.test.shape[1])
        parts.append(writer.write(hear, shape, sharpen, chance))
    return torch.cat(parts)


def batched(captions: list[str], count: int) -> list[list[str]]:
    """The captions in parts of this length; the last may be shorter."""
    return [captions[first : first + count] for first in range(0, len(captions), count)]


RASTER_STAGE = Named("train_raster", train_raster)
IMAGEBART_STAGE = Named("train_imagebart", train_imagebart)
TOKEN_RUNS = {
    "tokens/raster-transformer": TokenRun(RASTER_STAGE, Size(128, 6, 4), RasterWriter),
    "tokens/imagebart-3": TokenRun(
        IMAGEBART_STAGE, Size(64, 3, 4), ImageBARTWriter, {"num_scales": 3}
    ),
}

"""Networks of `raster` that write the tokens of a scene after its caption.

They are asked for the same captions as the shipped diffusion model in `evaluation.json`, and draw
in two ways: from their distributions as they are, and with its guidance and its truncation.
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

from vqlearn.autoregressive import model as raster
from vqlearn.autoregressive.cache import CachedDecoder
from vqlearn.autoregressive.model import NextTokenLogProbs
from vqlearn.autoregressive.raster_transformer import conditionals
from vqlearn.evaluation.prompts import COMPOSITIONS, Evaluation, describe_accuracy, evaluated_scenes
from vqlearn.evaluation.scene_reader import prompt_accuracy
from vqlearn.experiments.autoregressive.data import Budget, CaptionedTokens
from vqlearn.experiments.autoregressive.sequence_runs import count_weights, empty_rows, machine
from vqlearn.experiments.identity import Named, size_settings
from vqlearn.experiments.kernels.data import SHOWN
from vqlearn.probability import filters
from vqlearn.probability.filters import Filter
from vqlearn.probability.random import random_stream
from vqlearn.training.loop import Run
from vqlearn.training.stages.autoregressive import (
    Conditional,
    ConditionalImageBART,
    ConditionalRaster,
    Size,
    train_imagebart,
    train_raster,
)
from vqlearn.training.stages.order import copy_frozen_parts

AT_ONCE = 100
MIXED_PRECISION = "bf16"
GUIDED = Evaluation()

Text = Float[Tensor, "_ l c"]
Hear = Callable[[Callable[[Text], NextTokenLogProbs]], NextTokenLogProbs]
"""hear(law_of): the distribution to draw from, made of the distributions after one text or two."""


class Writer(Protocol):
    """What a trained network can do with tokens."""

    def nats(
        self, x: Int[Tensor, "b n"], text: Text, generator: torch.Generator
    ) -> Float[Tensor, " b"]:
        """How surprising is each row after its caption?"""

    def write(
        self, hear: Hear, shape: tuple[int, int], filter: Filter, generator: torch.Generator
    ) -> Int[Tensor, "b n"]:
        """Draw rows."""


class RasterWriter:
    """A raster transformer: its bits are exact."""

    def __init__(self, trained: ConditionalRaster) -> None:
        self.network = trained.transformer

    def nats(
        self, x: Int[Tensor, "b n"], text: Text, generator: torch.Generator
    ) -> Float[Tensor, " b"]:
        return -raster.log_likelihood(conditionals(self.network, text), x)

    def write(
        self, hear: Hear, shape: tuple[int, int], filter: Filter, generator: torch.Generator
    ) -> Int[Tensor, "b n"]:
        distribution, (count, n) = hear(lambda text: CachedDecoder(self.network, text)), shape
        return raster.sample(distribution, empty_rows(count), n, filter=filter, generator=generator)


class ImageBARTWriter:
    """An ImageBART: its bits are a bound."""

    def __init__(self, trained: ConditionalImageBART) -> None:
        self.network = trained.imagebart

    def nats(
        self, x: Int[Tensor, "b n"], text: Text, generator: torch.Generator
    ) -> Float[Tensor, " b"]:
        return self.network.bound(x, text=text, generator=generator)

    def write(
        self, hear: Hear, shape: tuple[int, int], filter: Filter, generator: torch.Generator
    ) -> Int[Tensor, "b n"]:
        def step_back(x_t: Int[Tensor, "b n"], t: int) -> NextTokenLogProbs:
            return hear(lambda text: self.network.next_token_log_probs(x_t, t, text))

        return self.network.sample_by(step_back, shape, filter=filter, generator=generator)


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
        """Train; then the bits of the test rows, then images for captions."""
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
    writer: Writer, world: CaptionedTokens, generator: torch.Generator
) -> Float[Tensor, " b"]:
    """How surprising are the tokens of each test image after its caption?"""
    rows, captions = world.test.split(AT_ONCE), batched(world.captions, AT_ONCE)
    parts = zip(rows, captions, strict=True)
    return torch.cat([writer.nats(x, world.encoder(part), generator) for x, part in parts])


def write_for_sentences(
    writer: Writer, world: CaptionedTokens, count: int, *, null: Text | None
) -> dict[str, Any]:
    """How many captions of both compositions come out right? With `null`: guided and truncated.

    "seconds" are those of all images together.
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
    filter = None if null is None else partial(filters.top_p, mass=GUIDED.truncation_rate)
    generator, parts = random_stream("raster", "rows", len(captions)), []
    for some in batched(captions, AT_ONCE):
        text = world.encoder(some)

        def hear(
            distribution_of: Callable[[Text], NextTokenLogProbs], text: Text = text
        ) -> NextTokenLogProbs:
            if null is None:
                return distribution_of(text)
            return raster.guide_next(
                distribution_of(text), distribution_of(null), GUIDED.guidance_scale
            )

        shape = (len(some), world.test.shape[1])
        parts.append(writer.write(hear, shape, filter, generator))
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

"""Networks of `raster` that write the tokens of a scene after its caption.

They are asked for the same captions as the shipped diffusion model in `evaluation.json`, and draw
in two ways: from their distributions as they are, and with its guidance and its truncation.
"""

import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from operator import attrgetter
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import set_seed
from jaxtyping import Float, Int
from torch import Tensor

from vqlearn.evaluation.prompts import COMPOSITIONS, Evaluation, describe_accuracy, evaluated_scenes
from vqlearn.evaluation.scene_reader import prompt_accuracy
from vqlearn.experiments.autoregressive.data import Budget, CaptionedTokens
from vqlearn.experiments.autoregressive.sequence_runs import count_weights, machine
from vqlearn.experiments.identity import Named, size_settings
from vqlearn.experiments.kernels.data import SHOWN
from vqlearn.probability.model import PLAIN, Conditioning, Sampling, TokenModel
from vqlearn.probability.random import random_stream
from vqlearn.training.loop import Run
from vqlearn.training.stages.autoregressive import (
    Conditional,
    Size,
    train_imagebart,
    train_raster,
)
from vqlearn.training.stages.order import copy_frozen_parts

AT_ONCE = 100
MIXED_PRECISION = "bf16"
GUIDED = Evaluation()

Text = Float[Tensor, "_ l c"]


@dataclass(frozen=True)
class TokenRun:
    """A training stage with its options and the size of its network; the model in its result."""

    train: Named
    size: Size
    model_of: Callable[[Conditional], TokenModel]
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
        model = self.model_of(trained)
        plain = write_for_sentences(model, world, budget.samples, null=None)
        return {
            "settings": self.settings(budget),
            "weights": count_weights(trained),
            **world.bits(nats_of_tests(model, world, random_stream("raster", "bits", name))),
            "seconds": {"training": round(training), "drawing": plain.pop("seconds")},
            "machine": machine(),
            "samples": plain,
            "guided": write_for_sentences(model, world, budget.samples, null=trained.null_text(1)),
        }

    def _trained(self, world: CaptionedTokens, budget: Budget) -> Conditional:
        accelerator = Accelerator(cpu=True, mixed_precision=MIXED_PRECISION)
        with tempfile.TemporaryDirectory() as name:
            copy_frozen_parts(world.shipped, Path(name))
            run = Run(Path(name), world.source, "scenes", budget.recipe, accelerator)
            set_seed(budget.recipe.seed)
            return self.train(run, size=self.size, **self.options).requires_grad_(False)


def nats_of_tests(
    model: TokenModel, world: CaptionedTokens, generator: torch.Generator
) -> Float[Tensor, " b"]:
    """How surprising are the tokens of each test image after its caption?"""
    rows, captions = world.test.split(AT_ONCE), batched(world.captions, AT_ONCE)
    parts = zip(rows, captions, strict=True)
    return torch.cat(
        [model.nll(x, Conditioning(world.encoder(part)), generator=generator) for x, part in parts]
    )


def write_for_sentences(
    model: TokenModel, world: CaptionedTokens, count: int, *, null: Text | None
) -> dict[str, Any]:
    """How many captions of both compositions come out right? With `null`: guided and truncated.

    "seconds" are those of all images together.
    """
    begin, report = time.process_time(), {}
    for composition in COMPOSITIONS:
        captions = evaluated_scenes(composition, replace(GUIDED, prompts=count)).captions
        tokens = write(model, world, captions, null=null)
        report[composition] = describe_accuracy(prompt_accuracy(world.decode(tokens), captions))
        report.setdefault("shown", tokens[:SHOWN].tolist())
    return {**report, "seconds": round(time.process_time() - begin, 1)}


def write(
    model: TokenModel, world: CaptionedTokens, captions: list[str], *, null: Text | None
) -> Int[Tensor, "b n"]:
    """One row of tokens for each caption."""
    how, generator = PLAIN, random_stream("raster", "rows", len(captions))
    if null is not None:
        how = Sampling(GUIDED.guidance_scale, GUIDED.truncation_rate)
    parts = []
    for some in batched(captions, AT_ONCE):
        condition = Conditioning(world.encoder(some), null)
        parts.append(model.sample(len(some), condition, sampling=how, generator=generator))
    return torch.cat(parts)


def batched(captions: list[str], count: int) -> list[list[str]]:
    """The captions in parts of this length; the last may be shorter."""
    return [captions[first : first + count] for first in range(0, len(captions), count)]


RASTER_STAGE = Named("train_raster", train_raster)
IMAGEBART_STAGE = Named("train_imagebart", train_imagebart)
TOKEN_RUNS = {
    "tokens/raster-transformer": TokenRun(RASTER_STAGE, Size(128, 6, 4), attrgetter("transformer")),
    "tokens/imagebart-3": TokenRun(
        IMAGEBART_STAGE, Size(64, 3, 4), attrgetter("imagebart"), {"num_scales": 3}
    ),
}

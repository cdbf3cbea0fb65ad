"""Networks that write the tokens of a scene after its caption.

They are asked for the same captions as the shipped diffusion model, and sample in two ways: from
their distributions as they are, and with its guidance and its truncation (top-p).
"""

import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import torch
from accelerate import Accelerator
from accelerate.utils import set_seed
from jaxtyping import Float, Int
from torch import Tensor

from vqlearn.evaluation import Evaluation, evaluated_scenes
from vqlearn.evaluation.prompts import COMPOSITIONS
from vqlearn.experiments.autoregressive.data import CaptionedTokens
from vqlearn.experiments.data import Budget, batched
from vqlearn.experiments.identity import Named, size_settings
from vqlearn.experiments.report import Accuracy, rounded
from vqlearn.experiments.sequences import count_weights
from vqlearn.experiments.tokens import AT_ONCE, tokens_as_text
from vqlearn.probability import (
    PLAIN,
    Bits,
    Conditioning,
    Sampling,
    TokenModel,
    bits_per_token,
    random_stream,
)
from vqlearn.training import Run
from vqlearn.training.stages import ImageBARTOptions, RasterOptions
from vqlearn.training.stages.captioned import Captioned
from vqlearn.training.stages.order import copy_frozen_parts

MIXED_PRECISION = "bf16"
GUIDED = Evaluation()


@dataclass(frozen=True)
class PromptedSamples:
    """How many images show their prompts, the first tokens, and the seconds of all of them."""

    by_composition: dict[str, Accuracy]
    shown: tuple[str, ...]
    seconds: float


@dataclass(frozen=True)
class LearnedTokens:
    """What a network that learnt tokens needs per token of the test images, and what it samples."""

    weights: int
    bits: Bits
    training_seconds: int
    plain: PromptedSamples
    guided: PromptedSamples


@dataclass(frozen=True)
class TokenRun:
    """A training stage with its options."""

    name: str
    train: Named
    options: RasterOptions | ImageBARTOptions
    budget: Budget
    data: ClassVar[str] = "tokens"
    device: ClassVar[str] = "cpu"
    result: ClassVar[type] = LearnedTokens

    @property
    def id(self) -> str:
        """Such as "tokens/raster-transformer"."""
        return f"{self.data}/{self.name}"

    def settings(self) -> dict[str, Any]:
        """All that decides the result."""
        network = {"stage": self.train.id, "size": size_settings(self.options.size)}
        if isinstance(self.options, ImageBARTOptions):
            network["num_scales"] = self.options.num_scales
        ways = {"guidance": GUIDED.guidance_scale, "truncation": GUIDED.truncation_rate}
        return {**network, **ways, "mixed_precision": MIXED_PRECISION, **self.budget.settings()}

    def measure(self, data: CaptionedTokens) -> LearnedTokens:
        """Train; then the bits of the test sequences, then images for prompts."""
        begin = time.process_time()
        trained = self._trained(data)
        training = time.process_time() - begin
        model, count = trained.model, self.budget.samples
        plain = sample_for_prompts(model, data, count, null=None)
        nll = nll_of_tests(model, data, random_stream("raster", "bits", self.id))
        return LearnedTokens(
            weights=count_weights(trained),
            bits=rounded(bits_per_token(nll, data.test.shape[1])),
            training_seconds=round(training),
            plain=plain,
            guided=sample_for_prompts(model, data, count, null=trained.null_text(1)),
        )

    def _trained(self, data: CaptionedTokens) -> Captioned:
        recipe = self.budget.recipe
        accelerator = Accelerator(cpu=True, mixed_precision=MIXED_PRECISION)
        with tempfile.TemporaryDirectory() as name:
            copy_frozen_parts(data.shipped, Path(name))
            run = Run(Path(name), data.source, recipe, accelerator)
            set_seed(recipe.seed)
            return self.train(run, self.options).requires_grad_(False)


def nll_of_tests(
    model: TokenModel, data: CaptionedTokens, generator: torch.Generator
) -> Float[Tensor, " b"]:
    """Negative log-likelihood of the tokens of each test image, given its caption: nats."""
    parts = zip(data.test.split(AT_ONCE), batched(data.captions, AT_ONCE), strict=True)
    return torch.cat(
        [model.nll(x, Conditioning(data.encoder(part)), generator=generator) for x, part in parts]
    )


def sample_for_prompts(
    model: TokenModel, data: CaptionedTokens, count: int, *, null: Tensor | None
) -> PromptedSamples:
    """How many prompts of both compositions come out right? With `null`: guided and truncated."""
    begin, asked = time.process_time(), replace(GUIDED, prompts=count)
    prompts = {each: evaluated_scenes(each, asked).captions for each in COMPOSITIONS}
    tokens = {each: sample_tokens(model, data, prompts[each], null=null) for each in COMPOSITIONS}
    accuracy = {each: data.accuracy(tokens[each], prompts[each]) for each in COMPOSITIONS}
    seconds = round(time.process_time() - begin, 1)
    return PromptedSamples(accuracy, tokens_as_text(tokens["seen"]), seconds)


def sample_tokens(
    model: TokenModel, data: CaptionedTokens, prompts: list[str], *, null: Tensor | None
) -> Int[Tensor, "b n"]:
    """One sequence of tokens for each prompt."""
    sampling = PLAIN if null is None else Sampling(GUIDED.guidance_scale, GUIDED.truncation_rate)
    generator, parts = random_stream("raster", "rows", len(prompts)), []
    for some in batched(prompts, AT_ONCE):
        condition = Conditioning(data.encoder(some), null)
        parts.append(model.sample(len(some), condition, sampling=sampling, generator=generator))
    return torch.cat(parts)

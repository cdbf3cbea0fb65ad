"""Networks that write the tokens of a scene after its caption.

They are asked for the same captions as the shipped diffusion model, and sample in two ways: from
their distributions as they are, and with its guidance and its truncation (top-p).
"""

import tempfile
import time
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

from jaxtyping import Int
from torch import Tensor

from vqlearn.data import Batch, Scenes
from vqlearn.evaluation import Accuracy, Evaluation, grid_bits
from vqlearn.evaluation.prompts import COMPOSITIONS
from vqlearn.experiments.data import COMPOSITION, COUNTED, Budget, SequenceData, by_counting
from vqlearn.experiments.report import Run
from vqlearn.experiments.sequences import count_weights
from vqlearn.experiments.systems import Autoregressive, fresh_task
from vqlearn.experiments.tokens import Examples, ShippedTokens, Trained, tokens_as_text
from vqlearn.probability import PLAIN, Bits, Sampling, random_stream
from vqlearn.training import fit

GUIDED = Sampling(Evaluation().guidance_scale, Evaluation().truncation_rate)


class CaptionedTokens(ShippedTokens, SequenceData):
    """New scenes for ever, each as 64 tokens of the shipped VQ-VAE, with the caption.

    Networks learn to write them in the loop of the denoiser, which reads the shipped folder itself.
    """

    unit = "bits per token"

    def __init__(self, budget: Budget) -> None:
        super().__init__()
        scenes = self.scenes("test", budget.test_rows)
        self.examples = self.examples_of(scenes.images, scenes.captions)
        self.test = self.examples.x

    def scenes(self, name: str, count: int) -> Batch:
        """Random images with captions; the name decides which."""
        generator = random_stream("raster", "tokens", name)
        return Scenes(32, COMPOSITION).batch(count, generator=generator)

    def baselines(self) -> dict[str, float]:
        """The counts know no caption; they are those of 20,000 other images."""
        counted = self.encode(self.scenes("counted", COUNTED).images)
        return by_counting(partial(grid_bits, counted, self.test, self.num_codes))

    def as_text(self, x: Int[Tensor, "b n"]) -> list[str]:
        """Numbers with spaces between."""
        return list(tokens_as_text(x))


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
class TokenRun(Run):
    """A network that learns captioned tokens; settings call it by its stage of training."""

    name: str
    budget: Budget
    stage: str
    system: Autoregressive
    data: ClassVar[str] = "tokens"

    @property
    def id(self) -> str:
        """Such as "tokens/raster-transformer"."""
        return f"{self.data}/{self.name}"

    def settings(self) -> dict[str, Any]:
        """All that decides the result."""
        system = {name: value for name, value in asdict(self.system).items() if value is not None}
        ways = {"guidance": GUIDED.guidance_scale, "truncation": GUIDED.truncation_rate}
        precision = {"mixed_precision": "bf16"}
        return {"stage": self.stage, **system, **ways, **precision, **self.budget.settings()}

    def measure(self, data: CaptionedTokens) -> LearnedTokens:
        """Train; then the bits of the test sequences, then images for prompts."""
        begin, count = time.process_time(), self.budget.samples
        with tempfile.TemporaryDirectory() as folder:
            task = fresh_task(self.system, Path(folder), self.budget.recipe, cpu=True)
            learnt = fit(self.name, task).requires_grad_(False)
        training = time.process_time() - begin
        trained = Trained(learnt.model, learnt.null_text(1), count_weights(learnt))
        prompts = {each: data.evaluated(each, count) for each in COMPOSITIONS}
        nats = trained.nll(data.examples, random_stream("raster", "bits", self.id))
        return LearnedTokens(
            weights=trained.weights,
            training_seconds=round(training),
            plain=sample_for_prompts(trained, data, prompts, PLAIN),
            guided=sample_for_prompts(trained, data, prompts, GUIDED),
            **data.bits(nats),
        )


def sample_for_prompts(
    trained: Trained, data: ShippedTokens, prompts: dict[str, Examples], sampling: Sampling
) -> PromptedSamples:
    """How many prompts of each composition come out right?"""
    begin, tokens, accuracy = time.process_time(), {}, {}
    for composition, asked in prompts.items():
        generator = random_stream("raster", "rows", len(asked.captions))
        tokens[composition] = trained.sample(asked, sampling, generator)
        accuracy[composition] = data.accuracy(tokens[composition], asked.captions)
    seconds = round(time.process_time() - begin, 1)
    return PromptedSamples(accuracy, tokens_as_text(tokens["seen"]), seconds)

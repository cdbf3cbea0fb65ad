"""How good is a system? Bits of a token, and captions that come out right."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor

from vqlearn.diffusion import DiffusionModel
from vqlearn.experiments.face_off.data import EvaluatedTokens, Examples
from vqlearn.experiments.face_off.system_run import SEEDS, SystemRun, Trained
from vqlearn.experiments.report import Accuracy, rounded
from vqlearn.experiments.systems import VARIANTS
from vqlearn.experiments.tokens import tokens_as_text
from vqlearn.probability import PLAIN, Bits, Sampling, TokenModel, bits_per_token, random_stream
from vqlearn.training import NUM_TIMESTEPS

CALLS = (100, 50, 25, 10, 5)
USUAL_CALLS = 25
GUIDED = Sampling(guidance_scale=1.5, truncation_rate=0.9, num_inference_steps=USUAL_CALLS)
SHOWN = 6


@dataclass(frozen=True)
class SampledAccuracy:
    """Captions that come out right, sampled in one way; `steps` is None where none are chosen."""

    guided: bool
    accuracy: Accuracy
    steps: int | None = None


@dataclass(frozen=True)
class CompositionQuality:
    """Bits of the true tokens, exact or a bound; then every way to sample.

    `shown` are the first sequences of tokens, guided and with the usual number of steps.
    """

    bits_per_token: Bits
    sampled: tuple[SampledAccuracy, ...]
    shown: tuple[str, ...] | None = None

    def share(self, *, guided: bool, steps: int) -> float | None:
        """Of captions that come out right; None if that was not sampled."""
        for each in self.sampled:
            if each.guided == guided and each.steps in (None, steps):
                return each.accuracy.share
        return None


@dataclass(frozen=True)
class Quality:
    """How good a system is, for pairs that were seen in training and others."""

    weights: int
    by_composition: dict[str, CompositionQuality]


class QualityRun(SystemRun):
    """Bits and right captions; the first seed with every number of steps."""

    measure_id: ClassVar[str] = "quality"
    result: ClassVar[type] = Quality

    def steps(self) -> Sequence[int]:
        """How often is a denoiser asked? A direct prediction knows no strides: at every level."""
        if self.system == "direct":
            return (NUM_TIMESTEPS,)
        if self.system in VARIANTS:
            return (NUM_TIMESTEPS, USUAL_CALLS)
        return CALLS if self.seed == SEEDS[0] else (USUAL_CALLS,)

    def details(self) -> dict[str, Any]:
        return {**sampling_settings(GUIDED), "calls": list(self.steps())}

    def measure(self, data: EvaluatedTokens) -> Quality:
        """Guidance and truncation are for a distribution of clean tokens: "direct" has none."""
        trained = self.trained()
        ways = ways_to_sample(trained.model, self.steps(), guided=self.system != "direct")
        return measure_quality(trained, data, ways)


def sampling_settings(sampling: Sampling) -> dict[str, float]:
    """How is sampled? In the words of stored runs."""
    return {
        "guidance": sampling.guidance_scale,
        "truncation": sampling.truncation_rate,
        "calls": sampling.num_inference_steps,
    }


def ways_to_sample(model: TokenModel, steps: Sequence[int], *, guided: bool) -> list[Sampling]:
    """All that are compared: plainly, then guided; only a diffusion can choose its steps."""
    steps = steps if isinstance(model, DiffusionModel) else (None,)
    return [
        replace(way, num_inference_steps=count)
        for way in ((PLAIN, GUIDED) if guided else (PLAIN,))
        for count in steps
    ]


def measure_quality(trained: Trained, data: EvaluatedTokens, ways: Sequence[Sampling]) -> Quality:
    """Bits of the true tokens, then images for their captions, sampled in each way."""
    found = {}
    for composition, examples in data.examples.items():
        generator = random_stream("face-off", "bits", composition)
        bits = bits_per_token(nll(trained.model, examples, generator), examples.x.shape[1])
        sampled, shown = [], None
        for way in ways:
            x = sample_all(trained, examples, way, random_stream("face-off", "drawn", composition))
            accuracy, steps = data.accuracy(x, examples.captions), way.num_inference_steps
            sampled.append(SampledAccuracy(way.is_guided, accuracy, steps))
            if way.is_guided and steps in (None, USUAL_CALLS):
                shown = tokens_as_text(x, SHOWN)
        found[composition] = CompositionQuality(rounded(bits), tuple(sampled), shown)
    return Quality(trained.weights, found)


def nll(model: TokenModel, examples: Examples, generator: torch.Generator) -> Float[Tensor, " b"]:
    """Negative log-likelihood of each sequence given its caption, or a bound: nats."""
    parts = examples.split()
    return torch.cat([model.nll(x, condition, generator=generator) for x, condition in parts])


def sample_all(
    trained: Trained, examples: Examples, sampling: Sampling, generator: torch.Generator
) -> Int[Tensor, "b n"]:
    """One sequence for each caption."""
    how = {"sampling": sampling, "generator": generator}
    conditions = examples.conditions(trained.null)
    return torch.cat([trained.model.sample(len(each), each, **how) for each in conditions])

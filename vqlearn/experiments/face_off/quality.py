"""How good is a system? Bits of a token, and captions that come out right."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from vqlearn.diffusion import DiffusionModel
from vqlearn.evaluation import Accuracy
from vqlearn.experiments.face_off.training import SEEDS, SystemRun, Trained
from vqlearn.experiments.report import rounded
from vqlearn.experiments.systems import VARIANTS
from vqlearn.experiments.tokens import EvaluatedTokens, tokens_as_text
from vqlearn.probability import PLAIN, Bits, Sampling, bits_per_token, random_stream
from vqlearn.training import NUM_TIMESTEPS

CALLS = (100, 50, 25, 10, 5)
USUAL_CALLS = 25
GUIDED = Sampling(guidance_scale=1.5, truncation_rate=0.9, num_inference_steps=USUAL_CALLS)
GUIDED_SETTINGS = {
    "guidance": GUIDED.guidance_scale,
    "truncation": GUIDED.truncation_rate,
    "calls": USUAL_CALLS,
}
"""In the words of stored runs."""
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

    def accuracy(self, *, guided: bool, steps: int) -> Accuracy | None:
        """How many images show their caption; None if that was not sampled."""
        for each in self.sampled:
            if each.guided == guided and each.steps in (None, steps):
                return each.accuracy
        return None


@dataclass(frozen=True)
class Quality:
    """How good a system is, for pairs that were seen in training and others."""

    weights: int
    by_composition: dict[str, CompositionQuality]


class QualityRun(SystemRun):
    """Bits of the true tokens, then images for their captions, sampled in each way."""

    measure_id: ClassVar[str] = "quality"

    def steps(self) -> Sequence[int]:
        """How often is a denoiser asked? The first seed with every number of steps.

        A direct prediction knows no strides: at every level.
        """
        if self.system == "direct":
            return (NUM_TIMESTEPS,)
        if self.system in VARIANTS:
            return (NUM_TIMESTEPS, USUAL_CALLS)
        return CALLS if self.seed == SEEDS[0] else (USUAL_CALLS,)

    def details(self) -> dict[str, Any]:
        return {**GUIDED_SETTINGS, "calls": list(self.steps())}

    def ways(self, trained: Trained) -> list[Sampling]:
        """All that are compared: plainly, then guided; only a diffusion can choose its steps.

        Guidance and truncation are for a distribution of clean tokens: "direct" has none.
        """
        steps = self.steps() if isinstance(trained.model, DiffusionModel) else (None,)
        kinds = (PLAIN,) if self.system == "direct" else (PLAIN, GUIDED)
        return [replace(kind, num_inference_steps=count) for kind in kinds for count in steps]

    def measure(self, data: EvaluatedTokens) -> Quality:
        trained, found = self.trained(), {}
        for composition, examples in data.examples.items():
            nll = trained.nll(examples, random_stream("face-off", "bits", composition))
            sampled, shown = [], None
            for way in self.ways(trained):
                x = trained.sample(examples, way, random_stream("face-off", "drawn", composition))
                accuracy, steps = data.accuracy(x, examples.captions), way.num_inference_steps
                sampled.append(SampledAccuracy(way.is_guided, accuracy, steps))
                if way.is_guided and steps in (None, USUAL_CALLS):
                    shown = tokens_as_text(x, SHOWN)
            bits = rounded(bits_per_token(nll, examples.x.shape[1]))
            found[composition] = CompositionQuality(bits, tuple(sampled), shown)
        return Quality(trained.weights, found)

"""How good is a system? Bits of a token, and captions that come out right."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor

from vqlearn.experiments.face_off.data import EvaluatedTokens, Examples
from vqlearn.experiments.face_off.players import DiffusionPlayer, Drawing, Heard, Player
from vqlearn.experiments.face_off.system_run import SEEDS, SystemRun, Trained
from vqlearn.experiments.report import Accuracy, rounded
from vqlearn.experiments.systems import VARIANTS
from vqlearn.experiments.tokens import AT_ONCE, tokens_as_text
from vqlearn.probability.estimates import Bits, bits_per_token
from vqlearn.probability.random import random_stream
from vqlearn.training.recipes import NUM_TIMESTEPS

GUIDED = {"guidance": 1.5, "truncation": 0.9}
CALLS = (100, 50, 25, 10, 5)
USUAL_CALLS = 25
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
        return {**GUIDED, "calls": list(self.steps())}

    def measure(self, data: EvaluatedTokens) -> Quality:
        """Guidance and truncation are for a distribution of clean tokens: "direct" has none."""
        trained = self.trained()
        ways = ways_to_sample(trained.player, self.steps(), guided=self.system != "direct")
        return measure_quality(trained, data, ways)


def ways_to_sample(player: Player, steps: Sequence[int], *, guided: bool) -> list[Drawing]:
    """All that are compared: plainly, then guided; only a diffusion can choose its steps."""
    ways = [Drawing(), *([Drawing(**GUIDED)] if guided else [])]
    if not isinstance(player, DiffusionPlayer):
        return ways
    return [replace(way, calls=count) for way in ways for count in steps]


def measure_quality(trained: Trained, data: EvaluatedTokens, ways: Sequence[Drawing]) -> Quality:
    """Bits of the true tokens, then images for their captions, sampled in each way."""
    found = {}
    for composition, examples in data.examples.items():
        generator = random_stream("face-off", "bits", composition)
        bits = bits_per_token(nll(trained.player, examples, generator), examples.x.shape[1])
        sampled, shown = [], None
        for way in ways:
            generator = random_stream("face-off", "drawn", composition)
            x = sample_all(trained, examples, way, generator)
            accuracy = data.accuracy(x, examples.captions)
            steps = way.calls if isinstance(trained.player, DiffusionPlayer) else None
            sampled.append(SampledAccuracy(way.guidance > 1, accuracy, steps))
            if way == Drawing(**GUIDED, calls=USUAL_CALLS):
                shown = tokens_as_text(x, SHOWN)
        found[composition] = CompositionQuality(rounded(bits), tuple(sampled), shown)
    return Quality(trained.weights, found)


def nll(player: Player, examples: Examples, generator: torch.Generator) -> Float[Tensor, " b"]:
    """Negative log-likelihood of each sequence given its caption, or a bound: nats."""
    parts = zip(examples.x.split(AT_ONCE), examples.text.split(AT_ONCE), strict=True)
    return torch.cat([player.nats(x, text, generator) for x, text in parts])


def sample_all(
    trained: Trained, examples: Examples, way: Drawing, generator: torch.Generator
) -> Int[Tensor, "b n"]:
    """One sequence for each caption."""
    n, parts = examples.x.shape[1], examples.text.split(AT_ONCE)
    heard = [Heard(text, trained.null) for text in parts]
    return torch.cat([trained.player.draw(each, n, way, generator) for each in heard])

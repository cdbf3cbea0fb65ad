"""What does a system make of half an image: one with errors in it, or one half of it?

**Errors.** Half of the tokens are lost in the way that the system is used to, and some of the
others are wrong. The result is compared with what the same random numbers sample if nothing is
wrong: how many captions come out right, how many of the lost tokens come out otherwise, and how
many of the wrong tokens are replaced, or even corrected to the true one? A denoiser also says how
probable the true code is to it, and the wrong one that it sees.

**Directions.** The upper, lower, left or right half is given, and the rest is sampled: how many
captions come out right?
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from jaxtyping import Bool
from torch import Tensor

from vqlearn.diffusion import DiffusionModel
from vqlearn.experiments.face_off.data import EvaluatedTokens, Examples
from vqlearn.experiments.face_off.halves import (
    ONE,
    Half,
    choose,
    complete,
    half,
    hide_rest,
    lose_half,
    make_wrong,
)
from vqlearn.experiments.face_off.quality import GUIDED, sampling_settings
from vqlearn.experiments.face_off.system_run import SystemRun, Trained
from vqlearn.experiments.report import DIGITS, Accuracy
from vqlearn.probability import Sampling, random_stream

SHARES = (0.05, 0.1, 0.2, 0.4)
AMOUNTS = (ONE, *map(str, SHARES))
"""How many tokens are wrong: one in each sequence, or a share of those that are left."""
SIDES = ("upper", "lower", "left", "right")


@dataclass(frozen=True)
class ErrorEffect:
    """What wrong tokens do. Shares are from 0 to 1, and None where there is nothing to count.

    Of the wrong tokens: those that are replaced, and those corrected to the true code. Of the lost
    ones: those that change. And the mean probability of the true code and of the wrong one to a
    denoiser.
    """

    accuracy: Accuracy
    replaced_share: float | None = None
    corrected_share: float | None = None
    changed_share: float | None = None
    p_true_code: float | None = None
    p_seen_code: float | None = None


@dataclass(frozen=True)
class Errors:
    """Without errors, and with each amount of them; `left_share` of the tokens are not lost."""

    untouched: Accuracy
    by_amount: dict[str, ErrorEffect]
    left_share: float | None = None


class ErrorsRun(SystemRun):
    """What wrong tokens do."""

    measure_id: ClassVar[str] = "errors"
    result: ClassVar[type] = Errors

    def details(self) -> dict[str, Any]:
        return {**sampling_settings(GUIDED), "shares": list(SHARES)}

    def measure(self, data: EvaluatedTokens) -> Errors:
        return measure_errors(self.trained(), data, GUIDED, AMOUNTS)


@dataclass(frozen=True)
class HalfGiven:
    """Captions that come out right, and the share of sampled tokens that are the true ones."""

    accuracy: Accuracy
    same_share: float | None = None


@dataclass(frozen=True)
class Directions:
    """By composition, then by the half that is given."""

    by_composition: dict[str, dict[str, HalfGiven]]


class DirectionsRun(SystemRun):
    """One half given."""

    measure_id: ClassVar[str] = "directions"
    result: ClassVar[type] = Directions

    def details(self) -> dict[str, Any]:
        return sampling_settings(GUIDED)

    def measure(self, data: EvaluatedTokens) -> Directions:
        return measure_directions(self.trained(), data, GUIDED, SIDES)


def measure_errors(
    trained: Trained, data: EvaluatedTokens, sampling: Sampling, amounts: Sequence[str]
) -> Errors:
    """For no wrong token, and for each amount of them."""
    examples = data.examples["seen"]
    start = lose_half(trained.model, examples.x, random_stream("face-off", "lost"))
    untouched = complete(trained, start, examples, sampling)
    found = {}
    for amount in amounts:
        wrong = choose(start.known, amount, random_stream("face-off", "wrong", amount))
        codes = random_stream("face-off", "codes", amount)
        spoilt = replace(start, x=make_wrong(start.x, wrong, data.num_codes, codes))
        sampled = complete(trained, spoilt, examples, sampling)
        found[amount] = ErrorEffect(
            data.accuracy(sampled, examples.captions),
            replaced_share=mean((sampled != spoilt.x)[wrong]),
            corrected_share=mean((sampled == examples.x)[wrong]),
            changed_share=mean((sampled != untouched)[~wrong & ~start.known]),
            **code_probabilities(trained, spoilt, wrong, examples),
        )
    return Errors(data.accuracy(untouched, examples.captions), found, mean(start.known))


@torch.no_grad()
def code_probabilities(
    trained: Trained, half: Half, wrong: Bool[Tensor, "b n"], examples: Examples
) -> dict[str, float]:
    """Where a token is wrong: the mean predicted probability of the true and of the seen code."""
    if not isinstance(trained.model, DiffusionModel):
        return {}
    parts = zip(half.split(), examples.conditions(), strict=True)
    p_x0 = torch.cat(
        [trained.model.denoiser(condition)(part.x, half.level).exp() for part, condition in parts]
    )
    codes = {"p_true_code": examples.x, "p_seen_code": half.x}
    return {
        name: round(p_x0[wrong].gather(-1, code[wrong][:, None]).mean().item(), DIGITS)
        for name, code in codes.items()
    }


def measure_directions(
    trained: Trained, data: EvaluatedTokens, sampling: Sampling, sides: Sequence[str]
) -> Directions:
    """Captions that come out right when one half is given, seen and held out."""
    found: dict[str, dict[str, HalfGiven]] = {}
    for composition, examples in data.examples.items():
        found[composition] = {}
        for side in sides:
            known = half(side, examples.x.shape[1]).to(examples.x.device).expand_as(examples.x)
            noise = random_stream("face-off", "hidden", side)
            start = hide_rest(trained.model, examples.x, known, noise)
            sampled = complete(trained, start, examples, sampling)
            found[composition][side] = HalfGiven(
                data.accuracy(sampled, examples.captions), mean((sampled == examples.x)[~known])
            )
    return Directions(found)


def mean(flags: Bool[Tensor, "*any"]) -> float | None:
    """The share of those that are true; None if there are none."""
    return round(flags.double().mean().item(), DIGITS) if flags.numel() > 0 else None

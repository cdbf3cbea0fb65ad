"""What does a system make of half an image: one with errors in it, or one half of it?

**Errors.** Half of the tokens are corrupted in the way that the system is used to, and some of
the others are errors: random codes. The result is compared with what the same random numbers
sample without errors: how many captions come out right, how many of the corrupted tokens come out
otherwise, and how many of the errors are replaced, or even corrected to the true code? A denoiser
also says how probable the true code is to it, and the one that it sees.

**Downstream.** The same on equal terms for a raster network and a diffusion: both get the same true
upper halves, with the same errors in them. Do errors reach far down the grid? A raster network
has to leave the upper half as it is. A diffusion is measured twice: it "keeps" the given tokens, or
is "free" to sample them anew.

**Directions.** The upper, lower, left or right half is given, and the rest is sampled: how many
captions come out right?
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from vqlearn.autoregressive import AutoregressiveModel
from vqlearn.diffusion import DiffusionModel
from vqlearn.evaluation import Accuracy
from vqlearn.experiments.face_off import halves
from vqlearn.experiments.face_off.halves import ONE, Half
from vqlearn.experiments.face_off.quality import GUIDED, GUIDED_SETTINGS
from vqlearn.experiments.face_off.training import SystemRun, Trained
from vqlearn.experiments.report import DIGITS
from vqlearn.experiments.tokens import EvaluatedTokens, Examples, by_grid_row
from vqlearn.probability import Conditioning, random_stream

SHARES = (0.05, 0.1, 0.2, 0.4)
AMOUNTS = (ONE, *map(str, SHARES))
"""How many tokens are errors: one in each sequence, or a share of those that are left."""
ABOVE = (ONE, "0.1")
"""The same in the upper half."""
KEEPS, FREE = "keeps", "free"
SIDES = ("upper", "lower", "left", "right")


@dataclass(frozen=True)
class ErrorEffect:
    """What errors do. Shares are from 0 to 1, and None where there is nothing to count.

    Of the errors: those that are replaced, and those corrected to the true code. Of the corrupted
    tokens, and of each row of the grid: those that come out otherwise than without the errors. And
    the mean probability, to a denoiser, of the true code and of the one that it sees.
    """

    accuracy: Accuracy
    changed_share_by_row: tuple[float, ...] | None = None
    replaced_share: float | None = None
    corrected_share: float | None = None
    changed_share: float | None = None
    p_true_code: float | None = None
    p_seen_code: float | None = None


@dataclass(frozen=True)
class Errors:
    """Without errors, and with each amount of them; `left_share` of the tokens are known."""

    untouched: Accuracy
    by_amount: dict[str, ErrorEffect]
    left_share: float | None = None


class ErrorsRun(SystemRun):
    """What errors do."""

    measure_id: ClassVar[str] = "errors"

    def details(self) -> dict[str, Any]:
        return {**GUIDED_SETTINGS, "shares": list(SHARES)}

    def measure(self, data: EvaluatedTokens) -> Errors:
        trained, x = self.trained(), data.examples["seen"].x
        start = halves.corrupt_half(trained.model, x, random_stream("face-off", "lost"))
        return measure_errors(trained, data, start, AMOUNTS)


class DownstreamRun(SystemRun):
    """Errors in the upper half, by what may happen to it: it is kept, or sampled anew."""

    measure_id: ClassVar[str] = "downstream"

    def details(self) -> dict[str, Any]:
        return {**GUIDED_SETTINGS, "shares": list(ABOVE)}

    def measure(self, data: EvaluatedTokens) -> dict[str, Errors]:
        trained = self.trained()
        start = give_half("upper", trained, data.examples["seen"])
        raster = isinstance(trained.model, AutoregressiveModel)
        return {
            freedom: measure_errors(trained, data, replace(start, held=freedom == KEEPS), ABOVE)
            for freedom in ((KEEPS,) if raster else (KEEPS, FREE))
        }


@dataclass(frozen=True)
class HalfGiven:
    """Captions that come out right, and the share of sampled tokens that are the true ones."""

    accuracy: Accuracy
    same_share: float | None = None


class DirectionsRun(SystemRun):
    """One half given: by composition, then by the half."""

    measure_id: ClassVar[str] = "directions"

    def details(self) -> dict[str, Any]:
        return GUIDED_SETTINGS

    def measure(self, data: EvaluatedTokens) -> dict[str, dict[str, HalfGiven]]:
        trained = self.trained()

        def given(side: str, examples: Examples) -> HalfGiven:
            start = give_half(side, trained, examples)
            sampled = complete(trained, start, examples)
            same = mean((sampled == examples.x)[~start.known])
            return HalfGiven(data.accuracy(sampled, examples.captions), same)

        return {
            composition: {side: given(side, examples) for side in SIDES}
            for composition, examples in data.examples.items()
        }


def measure_errors(
    trained: Trained, data: EvaluatedTokens, start: Half, amounts: Sequence[str]
) -> Errors:
    """From this half of the true tokens: without errors, and with each amount of them."""
    examples = data.examples["seen"]
    untouched, effects = complete(trained, start, examples), {}
    for amount in amounts:
        errors = halves.choose(start.known, amount, random_stream("face-off", "wrong", amount))
        codes = random_stream("face-off", "codes", amount)
        x = halves.with_errors(start.x, errors, data.num_codes, codes)
        erroneous = replace(start, x=x)
        sampled = complete(trained, erroneous, examples)
        changed = sampled != untouched
        effects[amount] = ErrorEffect(
            data.accuracy(sampled, examples.captions),
            by_grid_row(changed),
            replaced_share=mean((sampled != x)[errors]),
            corrected_share=mean((sampled == examples.x)[errors]),
            changed_share=mean(changed[~start.known]),
            **code_probabilities(trained, erroneous, errors, examples),
        )
    return Errors(data.accuracy(untouched, examples.captions), effects, mean(start.known))


@torch.no_grad()
def code_probabilities(
    trained: Trained, half: Half, errors: Bool[Tensor, "b n"], examples: Examples
) -> dict[str, float]:
    """Of tokens that are errors: the mean probability of the true code and of the one seen."""
    if not isinstance(trained.model, DiffusionModel):
        return {}
    denoise = trained.model.denoiser(Conditioning(examples.text, trained.null))
    p_x0 = denoise(half.x, half.level)[errors].exp()  # (errors, k)
    codes = {"p_true_code": examples.x, "p_seen_code": half.x}
    return {
        name: round(p_x0.gather(-1, code[errors][:, None]).mean().item(), DIGITS)
        for name, code in codes.items()
    }


def give_half(side: str, trained: Trained, examples: Examples) -> Half:
    """This half of the true tokens, which stays."""
    known, noise = halves.half(side, examples.x), random_stream("face-off", "hidden", side)
    return halves.corrupt_rest(trained.model, examples.x, known, noise)


def complete(trained: Trained, half: Half, examples: Examples) -> Int[Tensor, "b n"]:
    """Always from the same generator, so that runs that differ in a few tokens can be compared."""
    generator = random_stream("face-off", "going on")
    condition = Conditioning(examples.text, trained.null)
    return halves.complete_part(trained.model, half, condition, GUIDED, generator)


def mean(flags: Bool[Tensor, "*any"]) -> float | None:
    """The share of those that are true; None if there are none."""
    return round(flags.double().mean().item(), DIGITS) if flags.numel() > 0 else None

"""What does a system make of half an image: one with errors in it, or one half of it?

**Errors.** Half of the tokens are lost in the way that the system is used to, and some of the
others are wrong. The result is compared with what the same random numbers sample if nothing is
wrong: how many captions come out right, how many of the lost tokens come out otherwise, and how
many of the wrong tokens are replaced, or even corrected to the true one? A denoiser also says how
probable the true code is to it, and the wrong one that it sees.

**Directions.** The upper, lower, left or right half is given, and the rest is sampled: how many
captions come out right?
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from einops import rearrange
from jaxtyping import Bool, Int
from torch import Tensor

from vqlearn.experiments.face_off.data import EvaluatedTokens, Examples
from vqlearn.experiments.face_off.players import DiffusionPlayer, Drawing, Heard
from vqlearn.experiments.face_off.quality import GUIDED, USUAL_CALLS
from vqlearn.experiments.face_off.starts import Start
from vqlearn.experiments.face_off.system_run import SystemRun, Trained
from vqlearn.experiments.report import DIGITS, Accuracy
from vqlearn.experiments.tokens import AT_ONCE
from vqlearn.probability.random import random_stream

ONE = "one"
SHARES = (0.05, 0.1, 0.2, 0.4)
AMOUNTS = (ONE, *map(str, SHARES))
"""How many tokens are wrong: one in each sequence, or a share of those that are left."""
SIDES = ("upper", "lower", "left", "right")
WAY = Drawing(**GUIDED, calls=USUAL_CALLS)


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
        return {**way_settings(WAY), "shares": list(SHARES)}

    def measure(self, data: EvaluatedTokens) -> Errors:
        return measure_errors(self.trained(), data, WAY, AMOUNTS)


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
        return way_settings(WAY)

    def measure(self, data: EvaluatedTokens) -> Directions:
        return measure_directions(self.trained(), data, WAY, SIDES)


def way_settings(way: Drawing) -> dict[str, float]:
    """How is sampled? In the words of stored runs."""
    return {"guidance": way.guidance, "truncation": way.truncation, "calls": way.calls}


def measure_errors(
    trained: Trained, data: EvaluatedTokens, way: Drawing, amounts: Sequence[str]
) -> Errors:
    """For no wrong token, and for each amount of them."""
    examples = data.examples["seen"]
    start = trained.player.lose_half(examples.x, random_stream("face-off", "lost"))
    left = start.given
    untouched = complete(trained, start, examples, way)
    found = {}
    for amount in amounts:
        wrong = choose(left, amount, random_stream("face-off", "wrong", amount))
        x = spoil(start.x, wrong, data.num_codes, random_stream("face-off", "codes", amount))
        spoilt = replace(start, x=x)
        sampled = complete(trained, spoilt, examples, way)
        found[amount] = ErrorEffect(
            data.accuracy(sampled, examples.captions),
            replaced_share=mean((sampled != x)[wrong]),
            corrected_share=mean((sampled == examples.x)[wrong]),
            changed_share=mean((sampled != untouched)[~wrong & ~left]),
            **code_probabilities(trained, spoilt, wrong, examples),
        )
    return Errors(data.accuracy(untouched, examples.captions), found, mean(left))


def code_probabilities(
    trained: Trained, start: Start, wrong: Bool[Tensor, "b n"], examples: Examples
) -> dict[str, float]:
    """Where a token is wrong: the mean predicted probability of the true and of the seen code."""
    if not isinstance(trained.player, DiffusionPlayer):
        return {}
    parts = _parts(trained, start, examples)
    p_x0 = torch.cat([trained.player.p_x0(some, heard) for some, heard in parts])
    codes = {"p_true_code": examples.x, "p_seen_code": start.x}
    return {
        name: round(p_x0[wrong].gather(-1, code[wrong][:, None]).mean().item(), DIGITS)
        for name, code in codes.items()
    }


def measure_directions(
    trained: Trained, data: EvaluatedTokens, way: Drawing, sides: Sequence[str]
) -> Directions:
    """Captions that come out right when one half is given, seen and held out."""
    found: dict[str, dict[str, HalfGiven]] = {}
    for composition, examples in data.examples.items():
        found[composition] = {}
        for side in sides:
            given = half(side, examples.x.shape[1]).to(examples.x.device).expand_as(examples.x)
            generator = random_stream("face-off", "hidden", side)
            start = trained.player.hide(examples.x, given, generator)
            sampled = complete(trained, start, examples, way)
            found[composition][side] = HalfGiven(
                data.accuracy(sampled, examples.captions), mean((sampled == examples.x)[~given])
            )
    return Directions(found)


def half(side: str, n: int) -> Bool[Tensor, "1 n"]:
    """Which positions of a square grid of n lie in this half?"""
    edge = math.isqrt(n)
    rows, columns = torch.meshgrid(torch.arange(edge), torch.arange(edge), indexing="ij")
    halves = {
        "upper": rows < edge // 2,
        "lower": rows >= edge // 2,
        "left": columns < edge // 2,
        "right": columns >= edge // 2,
    }
    return rearrange(halves[side], "r c -> 1 (r c)")


def choose(left: Bool[Tensor, "b n"], name: str, generator: torch.Generator) -> Bool[Tensor, "b n"]:
    """Some of the tokens that are left: one of each row, or this share of them all."""
    score = torch.rand(left.shape, generator=generator).to(left.device).masked_fill(~left, 2.0)
    if name == ONE:
        first = torch.zeros_like(left).scatter_(1, score.argmin(dim=1, keepdim=True), True)
        return first & left
    return score < float(name)


def spoil(
    x: Int[Tensor, "b n"], wrong: Bool[Tensor, "b n"], num_codes: int, generator: torch.Generator
) -> Int[Tensor, "b n"]:
    """Each wrong token becomes any other code."""
    shift = torch.randint(1, num_codes, x.shape, generator=generator).to(x.device)
    return torch.where(wrong, (x + shift) % num_codes, x)


def complete(
    trained: Trained, start: Start, examples: Examples, way: Drawing
) -> Int[Tensor, "b n"]:
    """What it samples from here, each after its own caption, always from the same generator."""
    generator = random_stream("face-off", "going on")
    parts = _parts(trained, start, examples)
    return torch.cat([trained.player.go_on(some, heard, way, generator) for some, heard in parts])


def _parts(trained: Trained, start: Start, examples: Examples) -> Iterator[tuple[Start, Heard]]:
    rows = (start.x, start.given, examples.text)
    for x, given, text in zip(*(part.split(AT_ONCE) for part in rows), strict=True):
        yield replace(start, x=x, given=given), Heard(text, trained.null)


def mean(flags: Bool[Tensor, "*any"]) -> float | None:
    """The share of those that are true; None if there are none."""
    return round(flags.double().mean().item(), DIGITS) if flags.numel() > 0 else None

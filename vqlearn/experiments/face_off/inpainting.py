"""What does a system make of half an image: one with errors in it, or one half of it?

**Errors.** Half of the tokens are lost in the way that the system is used to, and some of the
others are wrong. The result is compared with what the same random numbers draw if nothing is wrong:
how many captions come out right, how many of the lost tokens come out otherwise ("lost changed"),
and how many of the wrong tokens are "replaced", or even "mended" to the true one? A denoiser also
says how much it believes in the true code and in the wrong one that it sees.

**Directions.** The upper, lower, left or right half is given, and the rest is drawn: how many
captions come out right?
"""

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch
from einops import rearrange
from jaxtyping import Bool, Int
from torch import Tensor

from vqlearn.experiments.face_off.data import AT_ONCE, Examples, TokenWorld
from vqlearn.experiments.face_off.players import DiffusionPlayer, Drawing, Heard, Player
from vqlearn.experiments.face_off.starts import Start
from vqlearn.probability.random import random_stream

ONE = "one"
SHARES = (0.05, 0.1, 0.2, 0.4)
SIDES = ("upper", "lower", "left", "right")


def measure_errors(
    player: Player, null: Tensor, world: TokenWorld, drawing: Drawing
) -> dict[str, Any]:
    """For no wrong token, for one, and for shares of those that are left."""
    examples = world.examples["seen"]
    start = player.lose_half(examples.x, random_stream("face-off", "lost"))
    left = start.given
    untouched = go_on(player, start, (examples, null), drawing)
    report = {"none": {**world.right(untouched, examples), "left": mean(left)}}
    for name in (ONE, *map(str, SHARES)):
        wrong = choose(left, name, random_stream("face-off", "wrong", name))
        x = spoil(start.x, wrong, world.num_codes, random_stream("face-off", "codes", name))
        spoilt = replace(start, x=x)
        drawn = go_on(player, spoilt, (examples, null), drawing)
        report[name] = {
            **world.right(drawn, examples),
            "replaced": mean((drawn != x)[wrong]),
            "mended": mean((drawn == examples.x)[wrong]),
            "lost changed": mean((drawn != untouched)[~wrong & ~left]),
            **p_x0s(player, spoilt, wrong, (examples, null)),
        }
    return report


def p_x0s(
    player: Player, start: Start, wrong: Bool[Tensor, "b n"], what: tuple[Examples, Tensor]
) -> dict[str, float]:
    """Where a token is wrong: the mean predicted distribution in the true code, and in the one that
    is seen."""
    if not isinstance(player, DiffusionPlayer):
        return {}
    p_x0 = torch.cat([player.p_x0(some, heard) for some, heard in _parts(start, *what)])
    codes = {"belief in true": what[0].x, "belief in seen": start.x}
    return {
        name: round(p_x0[wrong].gather(-1, code[wrong][:, None]).mean().item(), 4)
        for name, code in codes.items()
    }


def measure_directions(
    player: Player, null: Tensor, world: TokenWorld, drawing: Drawing
) -> dict[str, Any]:
    """Sentences that come out right when one half is given, seen and held out."""
    report: dict[str, Any] = {}
    for composition, examples in world.examples.items():
        n = examples.x.shape[1]
        for side in SIDES:
            given = half(side, n).to(examples.x.device).expand_as(examples.x)
            start = player.hide(examples.x, given, random_stream("face-off", "hidden", side))
            drawn = go_on(player, start, (examples, null), drawing)
            found = world.right(drawn, examples)
            same = mean((drawn == examples.x)[~given])
            report.setdefault(composition, {})[side] = {**found, "same tokens": same}
    return report


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


def go_on(
    player: Player, start: Start, what: tuple[Examples, Tensor], drawing: Drawing
) -> Int[Tensor, "b n"]:
    """What it draws from here, each row after its own caption, always with the same chance."""
    generator = random_stream("face-off", "going on")
    parts = _parts(start, *what)
    return torch.cat([player.go_on(some, heard, drawing, generator) for some, heard in parts])


def _parts(start: Start, examples: Examples, null: Tensor) -> Iterator[tuple[Start, Heard]]:
    rows = (start.x, start.given, examples.text)
    for x, given, text in zip(*(part.split(AT_ONCE) for part in rows), strict=True):
        yield replace(start, x=x, given=given), Heard(text, null)


def mean(flags: Bool[Tensor, "*any"]) -> float | None:
    """The share of those that are true; None if there are none."""
    return round(flags.double().mean().item(), 4) if flags.numel() > 0 else None

"""What does a contender make of half a picture: one with errors in it, or one half of it?

**Errors.** Half of the tokens are lost in the way that the contender is used to, and some of the
others are wrong. What is then drawn is compared with what is drawn, by the same random numbers,
if nothing is wrong: how many sentences are lost, how many of the tokens in between change, and
how many of the wrong tokens are replaced?

**Directions.** The upper, lower, left or right half is given, and the rest is drawn: how many
sentences come out right?
"""

import math
from typing import Any

import torch
from einops import rearrange
from jaxtyping import Bool, Int
from torch import Tensor

from vqlearn.data.batches import random_stream
from vqlearn.face_off.players import Drawing, Heard, Player, Start
from vqlearn.face_off.world import AT_ONCE, Examples, TokenWorld

ONE = "one"
SHARES = (0.05, 0.1, 0.2, 0.4)
SIDES = ("upper", "lower", "left", "right")


def measure_errors(
    player: Player, null: Tensor, world: TokenWorld, drawing: Drawing
) -> dict[str, Any]:
    """For no wrong token, for one, and for shares of those that are left."""
    examples = world.examples["seen"]
    chance = random_stream("face-off", "lost")
    left = player.lose_half(examples.x, chance)
    untouched = _go_on(player, Start(examples.x, left, False), (examples, null), drawing)
    report = {"none": {**world.right(untouched, examples), "left": _mean(left)}}
    for name in (ONE, *map(str, SHARES)):
        wrong = choose(left, name, random_stream("face-off", "wrong", name))
        x = spoil(examples.x, wrong, world.num_codes, random_stream("face-off", "codes", name))
        drawn = _go_on(player, Start(x, left, False), (examples, null), drawing)
        report[name] = {
            **world.right(drawn, examples),
            "replaced": _mean((drawn != x)[wrong]),
            "mended": _mean((drawn == examples.x)[wrong]),
            "others changed": _mean((drawn != untouched)[~wrong & ~left]),
        }
    return report


def measure_directions(
    player: Player, null: Tensor, world: TokenWorld, drawing: Drawing
) -> dict[str, Any]:
    """Sentences that come out right when one half is given, seen and held out."""
    report: dict[str, Any] = {}
    for composition, examples in world.examples.items():
        n = examples.x.shape[1]
        for side in SIDES:
            given = half(side, n).expand_as(examples.x)
            drawn = _go_on(player, Start(examples.x, given, True), (examples, null), drawing)
            found = world.right(drawn, examples)
            same = _mean((drawn == examples.x)[~given])
            report.setdefault(composition, {})[side] = {**found, "same tokens": same}
    return report


def half(side: str, n: int) -> Bool[Tensor, "1 n"]:
    """Which places of a square grid of n lie in this half?"""
    edge = math.isqrt(n)
    rows, columns = torch.meshgrid(torch.arange(edge), torch.arange(edge), indexing="ij")
    halves = {
        "upper": rows < edge // 2,
        "lower": rows >= edge // 2,
        "left": columns < edge // 2,
        "right": columns >= edge // 2,
    }
    return rearrange(halves[side], "r c -> 1 (r c)")


def choose(left: Bool[Tensor, "b n"], name: str, chance: torch.Generator) -> Bool[Tensor, "b n"]:
    """Some of the tokens that are left: one of each row, or this share of them all."""
    score = torch.rand(left.shape, generator=chance).masked_fill(~left, 2.0)
    if name == ONE:
        return torch.zeros_like(left).scatter_(1, score.argmin(dim=1, keepdim=True), True)
    return score < float(name)


def spoil(
    x: Int[Tensor, "b n"], wrong: Bool[Tensor, "b n"], num_codes: int, chance: torch.Generator
) -> Int[Tensor, "b n"]:
    """Each wrong token becomes any other code."""
    other = (x + torch.randint(1, num_codes, x.shape, generator=chance)) % num_codes
    return torch.where(wrong, other, x)


def _go_on(
    player: Player, start: Start, what: tuple[Examples, Tensor], drawing: Drawing
) -> Int[Tensor, "b n"]:
    examples, null = what
    chance, drawn = random_stream("face-off", "going on"), []
    parts = (start.x, start.given, examples.text)
    for x, given, text in zip(*(part.split(AT_ONCE) for part in parts), strict=True):
        some = Start(x, given, start.fixed)
        drawn.append(player.go_on(some, Heard(text, null), drawing, chance))
    return torch.cat(drawn)


def _mean(flags: Bool[Tensor, " any"]) -> float | None:
    """The share of those that are true; None if there are none."""
    return round(flags.double().mean().item(), 4) if flags.numel() > 0 else None

"""How good is a system? Bits of a token, and captions that come out right."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from vqlearn.experiments.face_off.data import AT_ONCE, Examples, TokenWorld
from vqlearn.experiments.face_off.players import DiffusionPlayer, Drawing, Heard, Player
from vqlearn.experiments.kernels.data import rounded
from vqlearn.probability.estimates import bits_per_token
from vqlearn.probability.random import random_stream

GUIDED = {"guidance": 1.5, "truncation": 0.9}
CALLS = (100, 50, 25, 10, 5)
USUAL_CALLS = 25
SHOWN = 6


def drawings(player: Player, calls: Sequence[int], *, guided: bool = True) -> dict[str, Drawing]:
    """The ways to draw that are compared, by name; only a diffusion can choose its calls."""
    ways = {"plain": Drawing(), **({"guided": Drawing(**GUIDED)} if guided else {})}
    if not isinstance(player, DiffusionPlayer):
        return ways
    return {
        f"{name} {count}": replace(way, calls=count)
        for name, way in ways.items()
        for count in calls
    }


def measure_quality(
    player: Player, null: Tensor, world: TokenWorld, ways: dict[str, Drawing]
) -> dict[str, Any]:
    """Bits of the true tokens, then images for their captions, drawn in each way.

    "shown" are the first rows of tokens, guided and with the usual number of calls.
    """
    report: dict[str, Any] = {}
    for composition, examples in world.examples.items():
        generator = random_stream("face-off", "bits", composition)
        bits = bits_per_token(nats(player, examples, generator), examples.x.shape[1])
        report[composition] = {"bits": rounded(bits), "drawn": {}}
        for name, drawing in ways.items():
            generator = random_stream("face-off", "drawn", composition)
            x = draw_all(player, examples, null, drawing, generator)
            report[composition]["drawn"][name] = world.right(x, examples)
            if drawing == Drawing(**GUIDED, calls=USUAL_CALLS):
                rows = [" ".join(map(str, row)) for row in x[:SHOWN].tolist()]
                report[composition]["shown"] = rows
    return report


def nats(player: Player, examples: Examples, generator: torch.Generator) -> Float[Tensor, " b"]:
    """How surprising is each row after its caption?"""
    parts = zip(examples.x.split(AT_ONCE), examples.text.split(AT_ONCE), strict=True)
    return torch.cat([player.nats(x, text, generator) for x, text in parts])


def draw_all(
    player: Player,
    examples: Examples,
    null: Tensor,
    drawing: Drawing,
    generator: torch.Generator,
) -> Int[Tensor, "b n"]:
    """One row for each caption."""
    n, parts = examples.x.shape[1], examples.text.split(AT_ONCE)
    return torch.cat([player.draw(Heard(text, null), n, drawing, generator) for text in parts])

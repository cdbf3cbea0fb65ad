"""How good is a contender? Bits of a token, and sentences that come out right."""

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from vqlearn.data.batches import random_stream
from vqlearn.diffusion.likelihood import bits_per_token
from vqlearn.face_off.players import Drawing, Heard, Player
from vqlearn.face_off.world import AT_ONCE, Examples, TokenWorld
from vqlearn.figures.family_worlds import SHOWN, rounded

GUIDED = {"guidance": 1.5, "truncation": 0.9}
CALLS = (100, 50, 25, 10, 5)


def drawings(player: Player, every_stride: bool) -> dict[str, Drawing]:
    """The ways to draw that are compared, by name.

    A raster network knows no calls; a direct prediction knows no strides.
    """
    if player.half is None or not every_stride:
        calls = (max(CALLS),)
    else:
        calls = CALLS
    plain = {f"plain {count}": Drawing(calls=count) for count in calls}
    guided = {f"guided {count}": Drawing(**GUIDED, calls=count) for count in calls}
    return {**plain, **guided}


def measure_quality(player: Player, null: Tensor, world: TokenWorld, names: dict[str, Drawing]):
    """Bits of the true tokens, then pictures for their sentences, drawn in each way."""
    report: dict[str, Any] = {}
    for composition, examples in world.examples.items():
        chance = random_stream("face-off", "bits", composition)
        bits = bits_per_token(nats(player, examples, chance), examples.x.shape[1])
        report[composition] = {"bits": rounded(bits), "drawn": {}}
        for name, drawing in names.items():
            chance = random_stream("face-off", "drawn", composition)
            x = draw_all(player, examples, null, drawing, chance)
            report[composition]["drawn"][name] = world.right(x, examples)
            if composition == "seen" and drawing.guidance > 1:
                report.setdefault("shown", {})[name] = x[:SHOWN].tolist()
    return report


def nats(player: Player, examples: Examples, chance: torch.Generator) -> Float[Tensor, " b"]:
    """How surprising is each row after its sentence?"""
    parts = zip(examples.x.split(AT_ONCE), examples.text.split(AT_ONCE), strict=True)
    return torch.cat([player.nats(x, text, chance) for x, text in parts])


def draw_all(
    player: Player,
    examples: Examples,
    null: Tensor,
    drawing: Drawing,
    chance: torch.Generator,
) -> Int[Tensor, "b n"]:
    """One row for each sentence."""
    n, parts = examples.x.shape[1], examples.text.split(AT_ONCE)
    return torch.cat([player.draw(Heard(text, null), n, drawing, chance) for text in parts])

"""Does a contender go astray on its own? A second model reads what it writes, and the true data.

A network that learns with true tokens before it ("teacher forcing") meets its own when it draws. If
errors add up, its rows become stranger the further they go: a second model, trained with another
seed, needs more bits for them than for true rows, and most for the last ones.
"""

import math
from typing import Any

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor

from vqlearn.autoregressive.transformer import conditionals
from vqlearn.data.batches import random_stream
from vqlearn.diffusion.likelihood import bits_per_token
from vqlearn.face_off.players import Drawing, Player, RasterPlayer
from vqlearn.face_off.quality import draw_all, nats
from vqlearn.face_off.world import AT_ONCE, Examples, TokenWorld
from vqlearn.figures.family_worlds import rounded

OWN = Drawing(calls=100)
"""How a contender draws its own rows: from its law as it is, with as many calls as there can be."""


def measure_forcing(
    player: Player, null: Tensor, world: TokenWorld, judges: dict[str, Player]
) -> dict[str, Any]:
    """Bits of a token to every judge, of true rows and of drawn ones, after the same sentences.

    A raster judge also says them for each row of the grid, from the top.
    """
    examples = world.examples["seen"]
    n, chance = examples.x.shape[1], random_stream("face-off", "own rows")
    drawn = draw_all(player, examples, null, OWN, chance)
    own = Examples(drawn, examples.captions, examples.text)
    report: dict[str, Any] = {}
    for name, judge in judges.items():
        report[name] = {}
        for kind, rows in {"data": examples, "own": own}.items():
            cost = nats(judge, rows, random_stream("face-off", "judge"))
            report[name][kind] = rounded(bits_per_token(cost, n))
            if isinstance(judge, RasterPlayer):
                report[name][f"{kind} by row"] = by_row(judge, rows)
    return report


def by_row(judge: RasterPlayer, rows: Examples) -> list[float]:
    """Bits of a token in each row of the grid, from the top."""
    parts = zip(rows.x.split(AT_ONCE), rows.text.split(AT_ONCE), strict=True)
    bits = torch.cat([_bits(judge, x, text) for x, text in parts])
    lines = rearrange(bits, "b (r c) -> r (b c)", r=math.isqrt(bits.shape[1]))
    return [round(value, 4) for value in lines.double().mean(dim=1).tolist()]


@torch.no_grad()
def _bits(judge: RasterPlayer, x: Tensor, text: Tensor) -> Float[Tensor, "b n"]:
    log_p = conditionals(judge.network, text)(x).gather(-1, x[..., None])[..., 0]
    return -log_p / math.log(2)

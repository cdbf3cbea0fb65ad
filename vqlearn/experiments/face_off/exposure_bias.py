"""Does a system go astray on its own? A second model reads what it writes, and the true data.

A network that learns with true tokens before it ("teacher forcing") meets its own when it draws. If
errors add up, its rows become stranger the further they go: a second model, trained with another
seed, needs more bits for them than for true rows, and most for the last ones.

A row may also be strange for another reason: its image shows something else than the caption.
`measure_strangeness` keeps such rows apart.
"""

import math
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from vqlearn.experiments.face_off.data import AT_ONCE, Examples, TokenWorld, by_row
from vqlearn.experiments.face_off.players import Drawing, Player, RasterPlayer
from vqlearn.experiments.face_off.quality import draw_all, nats
from vqlearn.experiments.kernels.data import rounded
from vqlearn.probability.estimates import bits_per_token
from vqlearn.probability.model import Conditioning
from vqlearn.probability.random import random_stream

OWN = Drawing(calls=100)
"""How a system draws its own rows: from its distribution as it is, with as many calls as there can
be."""


def measure_forcing(
    player: Player, null: Tensor, world: TokenWorld, judges: dict[str, Player]
) -> dict[str, Any]:
    """Bits of a token to every judge, of true rows and of drawn ones, after the same captions.

    A raster judge also says them for each row of the grid, from the top.
    """
    examples = world.examples["seen"]
    n, own = examples.x.shape[1], own_rows(player, null, examples)
    report: dict[str, Any] = {}
    for name, judge in judges.items():
        report[name] = {}
        for kind, rows in {"data": examples, "own": own}.items():
            cost = nats(judge, rows, random_stream("face-off", "judge"))
            report[name][kind] = rounded(bits_per_token(cost, n))
            if isinstance(judge, RasterPlayer):
                report[name][f"{kind} by row"] = bits_by_row(judge, rows)
    return report


def own_rows(player: Player, null: Tensor, examples: Examples) -> Examples:
    """What a system draws from its distribution as it is, after the captions of the examples."""
    drawn = draw_all(player, examples, null, OWN, random_stream("face-off", "own rows"))
    return Examples(drawn, examples.captions, examples.text)


def measure_strangeness(
    player: Player, null: Tensor, world: TokenWorld, judge: Player
) -> dict[str, Any]:
    """Bits of a token to a judge: of true rows, of drawn ones that show the caption, of others.

    The mean, its standard error and the median of each kind; of fewer than two rows only how many.
    """
    examples = world.examples["seen"]
    own = own_rows(player, null, examples)
    shown = world.shows(own.x, examples)
    true, drawn = (
        nats(judge, each, random_stream("face-off", "judge")) for each in (examples, own)
    )
    kinds = {"true": true, "right": drawn[shown], "wrong": drawn[~shown]}
    return {kind: _summary(each, own.x.shape[1]) for kind, each in kinds.items()}


def bits_by_row(judge: RasterPlayer, rows: Examples) -> list[float]:
    """Bits of a token in each row of the grid, from the top."""
    parts = zip(rows.x.split(AT_ONCE), rows.text.split(AT_ONCE), strict=True)
    return by_row(torch.cat([_bits(judge, x, text) for x, text in parts]))


@torch.no_grad()
def _bits(judge: RasterPlayer, x: Tensor, text: Tensor) -> Float[Tensor, "b n"]:
    log_p = judge.network.log_probs(x, Conditioning(text)).gather(-1, x[..., None])[..., 0]
    return -log_p / math.log(2)


def _summary(nats: Float[Tensor, " b"], n: int) -> dict[str, Any]:
    if len(nats) < 2:
        return {"rows": len(nats)}
    median = nats.double().median().item() / n / math.log(2)
    return {"rows": len(nats), **rounded(bits_per_token(nats, n)), "median": round(median, 4)}

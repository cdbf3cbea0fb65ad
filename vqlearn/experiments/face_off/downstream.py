"""Wrong tokens above, damage below: on equal terms for a raster network and a diffusion.

Both get the same true upper halves, with the same tokens made wrong, and draw the lower half. Lost
tokens that come out otherwise than without the errors are counted in each row of the grid below: do
errors reach far? A raster network has to leave the upper half as it is. A diffusion is measured
twice: it "keeps" the given tokens, or is "free" to draw them anew.
"""

from dataclasses import replace
from typing import Any

from torch import Tensor

from vqlearn.experiments.face_off.data import TokenWorld, by_row
from vqlearn.experiments.face_off.inpainting import choose, go_on, half, mean, spoil
from vqlearn.experiments.face_off.players import Drawing, Player, RasterPlayer
from vqlearn.probability.random import random_stream

KEEPS, FREE = "keeps", "free"
WAYS = {KEEPS: "keeps the upper half", FREE: "may change it"}


def measure_downstream(
    player: Player,
    null: Tensor,
    world: TokenWorld,
    drawing: Drawing,
    shares: tuple[str, ...],
) -> dict[str, Any]:
    """For each way to treat what is given, and for each share of wrong tokens (see `choose`)."""
    examples = world.examples["seen"]
    given = half("upper", examples.x.shape[1]).to(examples.x.device).expand_as(examples.x)
    hidden = player.hide(examples.x, given, random_stream("face-off", "hidden", "upper"))
    report: dict[str, Any] = {}
    for way in (KEEPS,) if isinstance(player, RasterPlayer) else (KEEPS, FREE):
        start = replace(hidden, fixed=way == KEEPS)
        untouched = go_on(player, start, (examples, null), drawing)
        report[way] = {"none": world.right(untouched, examples)}
        for share in shares:
            wrong = choose(given, share, random_stream("face-off", "wrong", share))
            codes = random_stream("face-off", "codes", share)
            spoilt = replace(start, x=spoil(start.x, wrong, world.num_codes, codes))
            drawn = go_on(player, spoilt, (examples, null), drawing)
            changed = drawn != untouched
            report[way][share] = {
                **world.right(drawn, examples),
                "mended": mean((drawn == examples.x)[wrong]),
                "lost changed": mean(changed[~given]),
                "changed by row": by_row(changed),
            }
    return report

"""Wrong tokens above, damage below: on equal terms for a raster network and a diffusion.

Both get the same true upper halves, with the same tokens made wrong, and sample the lower half.
Lost tokens that come out otherwise than without the errors are counted in each row of the grid
below: do errors reach far? A raster network has to leave the upper half as it is. A diffusion is
measured twice: it "keeps" the given tokens, or is "free" to sample them anew.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from vqlearn.autoregressive import AutoregressiveModel
from vqlearn.experiments.face_off.data import EvaluatedTokens, by_grid_row
from vqlearn.experiments.face_off.halves import ONE, choose, complete, half, hide_rest, make_wrong
from vqlearn.experiments.face_off.inpainting import mean
from vqlearn.experiments.face_off.quality import GUIDED, sampling_settings
from vqlearn.experiments.face_off.system_run import SystemRun, Trained
from vqlearn.experiments.report import Accuracy
from vqlearn.probability import Sampling, random_stream

KEEPS, FREE = "keeps", "free"
ABOVE = (ONE, "0.1")


@dataclass(frozen=True)
class Damage:
    """What wrong tokens in the upper half do; shares are from 0 to 1.

    Of the wrong tokens those corrected to the true code; of the lower half, and of each row of the
    grid, those that come out otherwise than without the errors.
    """

    accuracy: Accuracy
    changed_share_by_row: tuple[float, ...]
    corrected_share: float | None = None
    changed_share: float | None = None


@dataclass(frozen=True)
class Damages:
    """Without errors, and with each amount of them."""

    untouched: Accuracy
    by_amount: dict[str, Damage]


@dataclass(frozen=True)
class Downstream:
    """By what may happen to the given half: it keeps it, or it is free to sample it anew."""

    by_freedom: dict[str, Damages]


class DownstreamRun(SystemRun):
    """Wrong tokens in the upper half."""

    measure_id: ClassVar[str] = "downstream"
    result: ClassVar[type] = Downstream

    def details(self) -> dict[str, Any]:
        return {**sampling_settings(GUIDED), "shares": list(ABOVE)}

    def measure(self, data: EvaluatedTokens) -> Downstream:
        return measure_downstream(self.trained(), data, GUIDED, ABOVE)


def measure_downstream(
    trained: Trained, data: EvaluatedTokens, sampling: Sampling, amounts: Sequence[str]
) -> Downstream:
    """For each way to treat what is given, and for each amount of wrong tokens."""
    examples = data.examples["seen"]
    known = half("upper", examples.x.shape[1]).to(examples.x.device).expand_as(examples.x)
    noise = random_stream("face-off", "hidden", "upper")
    start = hide_rest(trained.model, examples.x, known, noise)
    found = {}
    for freedom in (KEEPS,) if isinstance(trained.model, AutoregressiveModel) else (KEEPS, FREE):
        start = replace(start, held=freedom == KEEPS)
        untouched, damage = complete(trained, start, examples, sampling), {}
        for amount in amounts:
            wrong = choose(known, amount, random_stream("face-off", "wrong", amount))
            codes = random_stream("face-off", "codes", amount)
            spoilt = replace(start, x=make_wrong(start.x, wrong, data.num_codes, codes))
            sampled = complete(trained, spoilt, examples, sampling)
            changed = sampled != untouched
            damage[amount] = Damage(
                data.accuracy(sampled, examples.captions),
                by_grid_row(changed),
                corrected_share=mean((sampled == examples.x)[wrong]),
                changed_share=mean(changed[~known]),
            )
        found[freedom] = Damages(data.accuracy(untouched, examples.captions), damage)
    return Downstream(found)

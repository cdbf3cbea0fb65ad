r"""The released code's numbers of tokens: how many MASK tokens each level of T = 100 reveals.

The released code of Tang et al. 2022 (microsoft/VQ-Diffusion, MIT) does not look at how many tokens
are MASK: a table written into it, for images of 1,024 tokens, has a number for every level but the
last. A level asks the network again, with at most so many tokens a step, until its number is
revealed. So at half the speed it makes 199 evaluations of the network, at a tenth 926.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import torch
from jaxtyping import Float, Int
from torch import Tensor

from vqlearn.diffusion.reveal.counts import certain
from vqlearn.diffusion.reveal.rule import Moment
from vqlearn.diffusion.schedule import Schedule
from vqlearn.probability.checks import check_integer, check_number, shown

NUM_POSITIONS, NUM_TIMESTEPS = 1024, 100
MIDDLE = (10, 10, 11) * 32  # the levels 98 to 3


@dataclass(frozen=True)
class CountTable:
    """A number of tokens for every level T, …, 2, in steps of at most `tokens_per_step`.

    A token that would be left alone for the last step of its level joins the step before it. Level
    1 reveals nothing: it is that of the redraw (`unmasking.unmask`, compatible="released"). Where
    tokens are given, the table is entered at the step that has as many MASK tokens.

    Raises `ValueError` for numbers below 0, for fewer than one token a step, and, where it is used,
    for a table of other sequences or of another schedule.
    """

    counts: Sequence[int]
    tokens_per_step: int

    def __post_init__(self) -> None:
        for count in self.counts:
            check_integer("counts", count, 0)
        check_integer("tokens_per_step", self.tokens_per_step, 1)

    def level(
        self, schedule: Schedule, num_masked: Int[Tensor, " b"], num_positions: int, step: int
    ) -> Int[Tensor, " b"]:
        """The level of the last step that begins with at least so many MASK tokens."""
        if sum(self.counts) != num_positions:
            raise ValueError(
                f"the number of positions is {num_positions}; allowed with this table of counts: "
                f"{sum(self.counts)}"
            )
        if len(self.counts) + 1 != schedule.num_timesteps:
            raise ValueError(
                f"num_timesteps is {schedule.num_timesteps}; allowed with this table of counts: "
                f"{len(self.counts) + 1}"
            )
        _, levels = self._steps
        return levels[self._step(num_masked.cpu())]

    def log_counts(self, moment: Moment) -> Float[Tensor, "b counts"]:
        """All mass on the tokens that bring the sequence to where its next step begins."""
        num_masked = moment.masked.sum(dim=-1)
        masked, _ = self._steps
        left = masked[self._step(num_masked.cpu()) + 1].to(num_masked.device)
        return certain(num_masked - left, moment.masked.shape[1])

    def _step(self, num_masked: Int[Tensor, " b"]) -> Int[Tensor, " b"]:
        """Which step a sequence with so many MASK tokens takes next."""
        masked, _ = self._steps
        return (masked[:-1] >= num_masked[:, None]).sum(dim=-1) - 1

    @property
    def _steps(self) -> tuple[Int[Tensor, " steps"], Int[Tensor, " steps"]]:
        return steps_of_table(tuple(self.counts), self.tokens_per_step)


@cache
def steps_of_table(
    counts: tuple[int, ...], tokens_per_step: int
) -> tuple[Int[Tensor, " steps"], Int[Tensor, " steps"]]:
    """The number of MASK tokens with which each step begins, and its level.

    Behind the steps stand two entries of 0: what is finished stays finished.
    """
    masked, levels, left = [], [], sum(counts)
    for level, count in zip(range(len(counts) + 1, 1, -1), counts, strict=True):
        while count > 0:
            now = count if count - tokens_per_step == 1 else min(count, tokens_per_step)
            masked.append(left)
            levels.append(level)
            count, left = count - now, left - now
    return torch.tensor([*masked, 0, 0]), torch.tensor([*levels, 0, 0])


def released_counts(speed: float | None = None) -> CountTable:
    """The table of the released code for 1,024 tokens and T = 100, at this `inference_speed`.

    At most 10 * speed tokens a step, rounded down, so 199 evaluations of the network at .5, 926 at
    .1; without a speed one step a level, 100 evaluations. Its tables for models of 50, 25 and 10
    levels leave MASK tokens to the redraw, and are not repeated.

    Raises `ValueError` for a speed outside .1 to 1, where the released code ignores it.
    """
    if speed is None:
        return CountTable((11, 11, *MIDDLE, 10), NUM_POSITIONS)
    check_number("speed", speed)
    if not 0.1 <= speed < 1:
        raise ValueError(f"speed is {shown(speed)}; allowed: 0.1 or more, below 1, or None")
    return CountTable((15, 11, *MIDDLE, 6), int(NUM_POSITIONS // NUM_TIMESTEPS * speed))

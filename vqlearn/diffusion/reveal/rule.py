r"""The unmasking rule: three answers that make a reverse step of masked tokens.

1. **How many** MASK tokens does this step reveal? A distribution over 0..n (`counts.py`).
2. **Which ones?** A ranking of the positions, with or without noise (`orders.py`).
3. **Which values?** A distribution of $x_0$, made from the prediction of the network.

    ChooseThenDraw(Binomial(levels), at_random)      # the ancestral sampler
    ChooseThenDraw(FixedCount(4), by_purity, Sharpened(1.0))
    DrawThenChoose(FixedCount(4), temperature=4.5)   # MaskGIT

All three are distributions, so the same rule can be drawn from (`unmasking.unmask`) and summed over
(`exact.revealed.unmasking_distribution`). A rule keeps nothing between two steps.

**Choose, then draw** and **draw, then choose** are two classes because only the first can be exact:
on the absorbing chain with the true $p(x_0 \mid x_t)$ and one token a step, it samples the data
distribution for every order that does not look at the drawn values. The second keeps the values
that came out likely, so likely values become more frequent.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from vqlearn.diffusion.process import MaskAndReplace
from vqlearn.diffusion.sampler import Denoise
from vqlearn.diffusion.schedule import Schedule
from vqlearn.probability import Filter, Generators, Given, log_normalise
from vqlearn.probability.checks import check_choice, check_number

COMPATIBLE = (None, "released")
TIE_DECIMALS = 9  # scores that agree so far are equal: rounding must not decide an order


class Moment(NamedTuple):
    """What a rule knows when it is asked: step i = 0, 1, … of a batch of sequences.

    The prediction is normalised, unless it is truncated for a rule with compatible="released".
    """

    schedule: Schedule
    step: int
    log_p_x0: Float[Tensor, "b n k"]
    masked: Bool[Tensor, "b n"]


class Ranking(NamedTuple):
    r"""Masked positions are taken in the order of score + noise * Gumbel, largest first.

    `noise` None: the order is fixed, ties go to the lower position. With noise $\tau$ the positions
    are drawn one after the other without replacement, each in proportion to
    $e^{\mathrm{score}/\tau}$ among those that are left (the Gumbel-top-k trick: Kool et al. 2019,
    https://arxiv.org/abs/1903.06059).
    """

    score: Float[Tensor, "b n"]
    noise: Float[Tensor, "b 1"] | None = None


@runtime_checkable
class HowMany(Protocol):
    """The first answer. It also says at which level each step begins."""

    def level(
        self, schedule: Schedule, num_masked: Int[Tensor, " b"], num_positions: int, step: int
    ) -> Int[Tensor, " b"]:
        """The level at which step i begins, and step i - 1 ends: 0 where nothing is left to do."""

    def log_counts(self, moment: Moment) -> Float[Tensor, "b counts"]:
        """The log-probabilities that 0, 1, …, n tokens are revealed; never more than are MASK."""


Which = Callable[[Moment], Ranking]
"""The second answer, given before any value is drawn."""


@runtime_checkable
class UnmaskingRule(Protocol):
    """Three answers, and whether the values are drawn before the positions are chosen.

    `compatible` is None or "released": see `unmasking.unmask`.
    """

    how_many: HowMany
    prediction: Filter
    compatible: str | None
    draws_first: ClassVar[bool]

    def ranking(
        self, moment: Moment, count: Int[Tensor, " b"], log_drawn: Float[Tensor, "b n"] | None
    ) -> Ranking:
        """Which positions come first; `log_drawn` are the values' log-probabilities, if drawn."""


def plain(log_p_x0: Float[Tensor, "b n k"]) -> Float[Tensor, "b n k"]:
    """The third answer that changes nothing: values come from the prediction itself."""
    return log_p_x0


@dataclass(frozen=True)
class Sharpened:
    r"""$p_j^{1 + r \cdot \mathrm{score}}$, normalised, with the purity $\max_j p_j$ as the score.

    The surer a prediction is, the more it is sharpened: a temperature, so values are no longer
    drawn from p. `relative` False: the score is divided by nothing, as in Tang et al. 2022. True:
    by the largest score of the sequence, positions that are not MASK included, as in the released
    code. Raises `ValueError` for r below 0.
    """

    r: float
    relative: bool = False

    def __post_init__(self) -> None:
        check_number("r", self.r)
        if not self.r >= 0:
            raise ValueError(f"r is {self.r}; allowed: 0 or more")

    def __call__(self, log_p_x0: Float[Tensor, "b n k"]) -> Float[Tensor, "b n k"]:
        """The sharpened distribution of every position."""
        score = log_p_x0.amax(dim=-1, keepdim=True).exp()  # (b, n, 1)
        if self.relative:
            score = score / score.amax(dim=1, keepdim=True)
        return log_normalise((1 + self.r * score) * log_p_x0)


@dataclass(frozen=True)
class ChooseThenDraw:
    """Positions first, without a look at any value; then their values.

    Raises `ValueError` for another `compatible` than None and "released".
    """

    how_many: HowMany
    which: Which
    prediction: Filter = plain
    compatible: str | None = None
    draws_first: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check_choice("compatible", self.compatible, COMPATIBLE)

    def ranking(
        self, moment: Moment, count: Int[Tensor, " b"], log_drawn: Float[Tensor, "b n"] | None
    ) -> Ranking:
        """The order of `which`."""
        return self.which(moment)


@dataclass(frozen=True)
class DrawThenChoose:
    """A value for every MASK token first; then the surest values are kept, the others dropped.

    The confidence of a position is the log-probability of the value that was drawn there. It gets
    Gumbel noise, times `temperature`, times the share of all positions that is still MASK after the
    step: the noise is annealed to 0. Source: the released code of MaskGIT (Chang et al. 2022,
    https://arxiv.org/abs/2202.04200), where the temperature is 4.5.

    Raises `ValueError` for a temperature below 0 and for another `compatible` than None and
    "released".
    """

    how_many: HowMany
    temperature: float = 4.5
    prediction: Filter = plain
    compatible: str | None = None
    draws_first: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_number("temperature", self.temperature)
        if not self.temperature >= 0:
            raise ValueError(f"temperature is {self.temperature}; allowed: 0 or more")
        check_choice("compatible", self.compatible, COMPATIBLE)

    def ranking(
        self, moment: Moment, count: Int[Tensor, " b"], log_drawn: Float[Tensor, "b n"] | None
    ) -> Ranking:
        """The surest values first, with the noise of this step."""
        if self.temperature == 0:
            return in_order(log_drawn)
        left = (moment.masked.sum(dim=-1) - count) / moment.masked.shape[1]  # (b,)
        return Ranking(log_drawn, self.temperature * left.to(log_drawn)[:, None])


@dataclass(frozen=True)
class Corrected(ABC):
    """A rule whose steps are corrected: a corrector around it. Its answers are those of `rule`."""

    rule: UnmaskingRule

    @property
    def how_many(self) -> HowMany:
        return self.rule.how_many

    @property
    def prediction(self) -> Filter:
        return self.rule.prediction

    @property
    def compatible(self) -> str | None:
        return self.rule.compatible

    @property
    def draws_first(self) -> bool:
        return self.rule.draws_first

    def ranking(
        self, moment: Moment, count: Int[Tensor, " b"], log_drawn: Float[Tensor, "b n"] | None
    ) -> Ranking:
        """The order of the rule."""
        return self.rule.ranking(moment, count, log_drawn)

    @abstractmethod
    def corrected_step(
        self,
        process: MaskAndReplace,
        denoise: Denoise,
        x_t: Int[Tensor, "b n"],
        step: int,
        *,
        given: Given | None = None,
        generator: Generators = None,
    ) -> Int[Tensor, "b n"]:
        """Draw x_s: step i of the rule, with its correction. Given tokens are held."""


def in_order(score: Float[Tensor, "b n"]) -> Ranking:
    """Largest score first, without noise; equal but for rounding: the lower position first."""
    return Ranking(torch.round(score, decimals=TIE_DECIMALS))

"""The unmasking rules of the literature, each put together from its three answers."""

from collections.abc import Sequence
from dataclasses import replace

from vqlearn.diffusion.reveal.counts import (
    Binomial,
    EntropyBound,
    FixedCount,
    ScheduledCounts,
)
from vqlearn.diffusion.reveal.orders import (
    Halton,
    at_random,
    by_purity,
    least_entropy,
    surest_first,
)
from vqlearn.diffusion.reveal.released import released_counts
from vqlearn.diffusion.reveal.rule import ChooseThenDraw, DrawThenChoose, Sharpened, plain


def ancestral(levels: Sequence[int]) -> ChooseThenDraw:
    """The ancestral sampler with these levels, written as a rule: the distribution is the same."""
    return ChooseThenDraw(Binomial(tuple(levels)), at_random)


def fixed_count(tokens_per_step: int, *, compatible: str | None = None) -> ChooseThenDraw:
    """k tokens a step at random positions: fewer tokens per step, Tang et al. 2022."""
    return ChooseThenDraw(FixedCount(tokens_per_step), at_random, compatible=compatible)


def scheduled(tokens_of_steps: Sequence[int]) -> ChooseThenDraw:
    """A number of tokens for each step, at random positions: see `planning.best_schedule`."""
    return ChooseThenDraw(ScheduledCounts(tuple(tokens_of_steps)), at_random)


def purity(
    tokens_per_step: int, r: float = 0.0, *, compatible: str | None = None
) -> ChooseThenDraw:
    """k tokens a step, positions in proportion to their purity, values sharpened with weight r.

    r = 0 leaves the positions and removes the temperature. With `compatible` = "released" the score
    that sharpens is divided by the largest of all positions; otherwise by nothing (`Sharpened`).
    """
    values = plain if r == 0 else Sharpened(r, relative=compatible is not None)
    return ChooseThenDraw(FixedCount(tokens_per_step), by_purity, values, compatible)


def released_purity(speed: float | None = 0.5, r: float = 1.0) -> ChooseThenDraw:
    """The high-quality inference of the released code, with its own tokens per step.

    `purity` with compatible="released", for 1,024 tokens and T = 100; `released.released_counts`
    says what the speed is. The released code recommends r = 1, and speed .5, each with a truncation
    rate of .86.
    """
    return replace(purity(1, r, compatible="released"), how_many=released_counts(speed))


def top_purity(tokens_per_step: int) -> ChooseThenDraw:
    """The k positions with the largest purity in every step."""
    return ChooseThenDraw(FixedCount(tokens_per_step), surest_first)


def confidence(tokens_per_step: int, temperature: float = 4.5) -> DrawThenChoose:
    """MaskGIT with k tokens a step: draw all, keep the surest values, mask the others again."""
    return DrawThenChoose(FixedCount(tokens_per_step), temperature)


def halton(tokens_per_step: int, height: int, width: int) -> ChooseThenDraw:
    """k tokens a step in the fixed Halton order of a grid."""
    return ChooseThenDraw(FixedCount(tokens_per_step), Halton(height, width))


def entropy_bound(limit: float) -> ChooseThenDraw:
    """The least entropy first, as many tokens a step as `counts.EntropyBound` allows."""
    return ChooseThenDraw(EntropyBound(limit), least_entropy)

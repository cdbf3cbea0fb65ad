"""The lines of the frontier: which unmasking rules are compared, at which numbers of steps.

A new rule joins by one line of `RULES`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from math import ceil
from typing import NamedTuple

from vqlearn.diffusion import levels_to_visit
from vqlearn.diffusion.reveal import (
    UnmaskingRule,
    ancestral,
    confidence,
    entropy_bound,
    fixed_count,
    halton,
    purity,
    scheduled,
    top_purity,
)

STEPS = (100, 25, 10, 5)
FAST = STEPS[1:]
LIMITS = {5: 0.0, 4: 0.5, 3: 2.0}  # nats, by the steps that the shipped model takes; 0 takes most


class Sizes(NamedTuple):
    """What the number of steps is turned into a rule with."""

    num_timesteps: int
    side: int  # of the grid of tokens

    def levels(self, steps: int, spacing: str) -> list[int]:
        """The levels of so many steps, at most T."""
        return levels_to_visit(self.num_timesteps, min(steps, self.num_timesteps), spacing)

    def slow_start(self, steps: int) -> list[int]:
        """The tokens of each of so many steps, few first; a step takes one at least."""
        n = self.side**2
        return [t - s for t, s in pairwise(levels_to_visit(n, min(steps, n), "slow_start"))]

    def tokens(self, steps: int) -> int:
        """The tokens a step that need so many steps or a few less; with one there are n steps."""
        return ceil(self.side**2 / steps)


@dataclass(frozen=True)
class FrontierRule:
    """A line of the frontier: its name, its rule for a number of steps, and which numbers."""

    name: str
    make: Callable[[Sizes, int], UnmaskingRule]
    steps: tuple[int, ...] = FAST


def counted(make: Callable[[int], UnmaskingRule]) -> Callable[[Sizes, int], UnmaskingRule]:
    """A rule that asks for tokens a step, made from a number of steps."""
    return lambda sizes, steps: make(sizes.tokens(steps))


RULES = (
    FrontierRule("ancestral, even", lambda z, n: ancestral(z.levels(n, "even")), STEPS),
    FrontierRule("ancestral, slow start", lambda z, n: ancestral(z.levels(n, "slow_start"))),
    FrontierRule("fixed count", counted(fixed_count), STEPS),
    FrontierRule("fixed counts, slow start", lambda z, n: scheduled(z.slow_start(n))),
    FrontierRule("purity, r = 0", counted(purity)),
    FrontierRule("purity, r = 1", counted(partial(purity, r=1.0))),
    FrontierRule("top purity", counted(top_purity)),
    FrontierRule("confidence", counted(confidence)),
    FrontierRule("Halton", lambda z, n: halton(z.tokens(n), z.side, z.side)),
    FrontierRule("entropy bound", lambda z, n: entropy_bound(LIMITS[n]), tuple(LIMITS)),
)
"""Every line of the frontier. With T steps both spacings of the ancestral sampler are one."""

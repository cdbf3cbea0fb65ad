"""The rules of the table by the ids of stored runs, and what each is made for."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from vqlearn.diffusion import levels_to_visit
from vqlearn.diffusion.reveal import (
    Binomial,
    ChooseThenDraw,
    ForwardAndBack,
    ReMDM,
    UnmaskingRule,
    ancestral,
    at_random,
    confidence,
    entropy_bound,
    fixed_count,
    halton,
    purity,
    top_purity,
)

NATS_A_TOKEN = 0.7  # a little more than ln 2, the entropy of a bit of which nothing is known
CORRECTOR_PARAMETERS = {"forward and back": {"levels_up": 10}, "ReMDM": {"sigma": 0.2}}


@dataclass(frozen=True)
class Case:
    """k tokens a step, the grid that the tokens lie on, and the levels T of the process."""

    tokens_per_step: int
    height: int
    width: int
    num_timesteps: int

    @property
    def num_steps(self) -> int:
        """The steps that reveal all tokens, k at a time."""
        return -(-self.height * self.width // self.tokens_per_step)

    @property
    def all_levels(self) -> tuple[int, ...]:
        """T, T - 1, …, 0."""
        return tuple(range(self.num_timesteps, -1, -1))


RULES: dict[str, Callable[[Case], UnmaskingRule]] = {
    "ancestral": lambda case: ancestral(levels_to_visit(case.num_timesteps, case.num_steps)),
    "random": lambda case: fixed_count(case.tokens_per_step),
    "random, released": lambda case: fixed_count(case.tokens_per_step, compatible="released"),
    "purity r=0": lambda case: purity(case.tokens_per_step),
    "purity r=0, released": lambda case: purity(case.tokens_per_step, compatible="released"),
    "purity r=1": lambda case: purity(case.tokens_per_step, 1.0),
    "purity r=1, released": lambda case: purity(case.tokens_per_step, 1.0, compatible="released"),
    "top purity": lambda case: top_purity(case.tokens_per_step),
    "Halton": lambda case: halton(case.tokens_per_step, case.height, case.width),
    "entropy bound": lambda case: entropy_bound(NATS_A_TOKEN * (case.tokens_per_step - 1)),
    "MaskGIT 0": lambda case: confidence(case.tokens_per_step, 0.0),
    "MaskGIT 4.5": lambda case: confidence(case.tokens_per_step, 4.5),
}
"""The ancestral sampler takes as many steps as the others, so k tokens come out on average."""

CORRECTORS: dict[str, Callable[[UnmaskingRule], UnmaskingRule]] = {
    name: partial(corrector, **CORRECTOR_PARAMETERS[name])
    for name, corrector in (("forward and back", ForwardAndBack), ("ReMDM", ReMDM))
}
"""What is put around each rule."""

FLOOR_RULES: dict[str, Callable[[Case], UnmaskingRule]] = {
    "frozen, fixed count": RULES["random, released"],
    "frozen, T steps": lambda case: ChooseThenDraw(
        Binomial(case.all_levels), at_random, compatible="released"
    ),
    "posterior row, fixed count": RULES["random"],
    "posterior row, T steps": lambda case: ancestral(case.all_levels),
}
"""What becomes of a token once it is drawn, and how many are drawn: in T steps a binomial count."""

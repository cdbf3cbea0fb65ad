"""How far from the data is what a rule samples?

    python -m vqlearn.experiments unmasking
    python -m vqlearn.experiments unmasking --only "table/chain/paper/top purity"

Every denoiser here is the true p(x_0 | x_t): what is wrong is the rule's fault alone. In small
worlds all states are summed over (`exact.unmasking_distribution`): no randomness. In a chain of 64
tokens samples are drawn, and counted.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from vqlearn.diffusion import DiffusionModel, MaskAndReplace, all_masked, build_schedule
from vqlearn.diffusion.exact import (
    long_chain,
    point_distribution,
    total_variation,
    unmasking_distribution,
)
from vqlearn.diffusion.exact.examples import WORLDS
from vqlearn.diffusion.reveal import UnmaskingRule
from vqlearn.diffusion.schedule import SCHEDULES
from vqlearn.experiments.report import DIGITS, Run
from vqlearn.experiments.unmasking.rules import (
    CORRECTOR_PARAMETERS,
    CORRECTORS,
    FLOOR_RULES,
    NATS_A_TOKEN,
    RULES,
    Case,
)
from vqlearn.probability import random_stream

GRIDS = {"twins": (1, 2), "parity": (2, 2), "chain": (1, 4), "square": (2, 2)}
SCHEDULES_SHOWN = {
    "absorbing": "absorbing",
    "released": "mask-and-replace, released",
    "paper": "mask-and-replace, paper's",
}
TOKENS, LEVELS = (1, 2, 4), 100
FLOOR_LEVELS = {"twins": (10, 25, 100, 400, 1600), "chain": (10, 25, 100)}
EXACT_DIGITS = 7  # of a total variation; what is smaller is left over from rounding
LONG, LONG_TOKENS, SAMPLES = 64, (1, 4, 16), 500
LONG_RULES = tuple(rule for rule in RULES if not rule.endswith(", released"))


def make_process(schedule: str, num_codes: int, num_timesteps: int) -> MaskAndReplace:
    """By the name of its schedule."""
    return MaskAndReplace(build_schedule(SCHEDULES[schedule](num_codes, num_timesteps)))


def distance(world: str, schedule: str, num_timesteps: int, rule: UnmaskingRule) -> float:
    """Total variation between what the rule samples, from MASK alone, and the data."""
    truth = WORLDS[world]()
    process = make_process(schedule, truth.num_codes, num_timesteps)
    masked = point_distribution(process, torch.full((truth.num_positions,), process.mask))
    sampled = unmasking_distribution(process, truth.denoiser(process), masked, rule)
    return round(total_variation(sampled, truth.data_distribution(process)), EXACT_DIGITS)


@dataclass(frozen=True)
class TableRun(Run):
    """A rule, or a corrector around it, in a small world: 1, 2 and 4 tokens a step, T = 100."""

    world: str
    schedule: str
    rule: str
    corrector: str | None = None
    data: ClassVar[None] = None

    @property
    def id(self) -> str:
        """Such as "table/chain/paper/top purity", or the same and "/ReMDM"."""
        end = "" if self.corrector is None else f"/{self.corrector}"
        return f"table/{self.world}/{self.schedule}/{self.rule}{end}"

    @property
    def cases(self) -> list[Case]:
        """One for each number of tokens that the world has."""
        height, width = GRIDS[self.world]
        return [Case(k, height, width, LEVELS) for k in TOKENS if k <= height * width]

    def settings(self) -> dict[str, Any]:
        """All that decides the result."""
        return {
            "world": self.world,
            "grid": list(GRIDS[self.world]),
            "schedule": self.schedule,
            "levels": LEVELS,
            "rule": self.rule,
            "tokens_per_step": [case.tokens_per_step for case in self.cases],
            **parameters(self.rule),
            **corrector_parameters(self.corrector),
        }

    def measure(self, data: None) -> dict[str, float]:
        """Total variation by the number of tokens a step."""
        return {
            str(case.tokens_per_step): distance(
                self.world, self.schedule, LEVELS, self.composed(case)
            )
            for case in self.cases
        }

    def composed(self, case: Case) -> UnmaskingRule:
        """The rule, in its corrector if there is one."""
        rule = RULES[self.rule](case)
        return rule if self.corrector is None else CORRECTORS[self.corrector](rule)


@dataclass(frozen=True)
class FloorRun(Run):
    """One token a step, or T steps, where tokens are also replaced: against the levels T."""

    world: str
    rule: str
    schedule: str = "paper"
    data: ClassVar[None] = None

    @property
    def id(self) -> str:
        """Such as "floor/twins/frozen, T steps"."""
        return f"floor/{self.world}/{self.rule}"

    def settings(self) -> dict[str, Any]:
        """All that decides the result."""
        return {
            "world": self.world,
            "schedule": self.schedule,
            "levels": list(FLOOR_LEVELS[self.world]),
            "rule": self.rule,
        }

    def measure(self, data: None) -> dict[str, float]:
        """Total variation by the number of levels."""
        cases = [Case(1, *GRIDS[self.world], levels) for levels in FLOOR_LEVELS[self.world]]
        return {
            str(case.num_timesteps): distance(
                self.world, self.schedule, case.num_timesteps, FLOOR_RULES[self.rule](case)
            )
            for case in cases
        }


@dataclass(frozen=True)
class Mean:
    """Of independent samples, with its standard error."""

    value: float
    standard_error: float


@dataclass(frozen=True)
class Sampled:
    """What samples of a long chain are like, per sequence.

    `excess`: the mean of -log p(x), less the entropy of the data, in nats. `changes`: steps that
    lead to another code. `calls` of the denoiser.
    """

    excess: Mean
    changes: Mean
    calls: float


@dataclass(frozen=True)
class LongRun(Run):
    """Samples of a rule on a chain of 64 tokens, masks only."""

    rule: str
    tokens: Sequence[int] = LONG_TOKENS
    samples: int = SAMPLES
    data: ClassVar[None] = None

    @property
    def id(self) -> str:
        """Such as "long/top purity"."""
        return f"long/{self.rule}"

    def settings(self) -> dict[str, Any]:
        """All that decides the result."""
        return {
            "positions": LONG,
            "schedule": "absorbing",
            "levels": LEVELS,
            "rule": self.rule,
            "tokens_per_step": list(self.tokens),
            "samples": self.samples,
            **parameters(self.rule),
        }

    def measure(self, data: None) -> dict[str, Sampled]:
        """Draw and count, for each number of tokens a step."""
        return {str(k): self.sampled(k) for k in self.tokens}

    def sampled(self, tokens_per_step: int) -> Sampled:
        """With so many tokens a step."""
        world = long_chain(LONG)
        process = make_process("absorbing", world.num_codes, LEVELS)
        model = DiffusionModel(process, world.denoiser(process), num_positions=LONG)
        rule = RULES[self.rule](Case(tokens_per_step, 1, LONG, LEVELS))
        x_t, calls = all_masked(process, (self.samples, LONG)), torch.zeros(self.samples)
        stream = random_stream("unmasking", self.rule, tokens_per_step)
        for _, x_s in model.steps(x_t, rule, generator=stream):
            calls += (x_t == process.mask).any(dim=1)
            x_t = x_s
        excess = -world.log_prob(x_t) - world.entropy()
        changes = (x_t[:, 1:] != x_t[:, :-1]).sum(dim=1)
        return Sampled(mean_of(excess), mean_of(changes), round(float(calls.mean()), 1))


def parameters(rule: str) -> dict[str, float]:
    """What a rule has besides the number of tokens."""
    return {"nats_a_token": NATS_A_TOKEN} if rule == "entropy bound" else {}


def corrector_parameters(corrector: str | None) -> dict[str, Any]:
    """The corrector around a rule, if there is one, with what it is given."""
    if corrector is None:
        return {}
    return {"corrector": corrector, **CORRECTOR_PARAMETERS[corrector]}


def mean_of(values: Float[Tensor, " b"]) -> Mean:
    """As it is stored."""
    values = values.double()
    error = values.std() / len(values) ** 0.5
    return Mean(round(float(values.mean()), DIGITS), round(float(error), DIGITS))


RUNS = (
    *(
        TableRun(world, schedule, rule, corrector)
        for corrector in (None, *CORRECTORS)
        for world in GRIDS
        for schedule in SCHEDULES_SHOWN
        for rule in RULES
    ),
    *(FloorRun(world, rule) for world in FLOOR_LEVELS for rule in FLOOR_RULES),
    *(LongRun(rule) for rule in LONG_RULES),
)

r"""How many MASK tokens a step reveals, and at which levels the steps begin.

`Binomial` follows given levels, as the ancestral sampler does. The others fix the number of tokens;
their level is the one whose share of masked tokens is nearest to the share that is still masked.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from jaxtyping import Float, Int
from torch import Tensor

from vqlearn.diffusion.reveal.orders import entropy
from vqlearn.diffusion.reveal.rule import Moment
from vqlearn.diffusion.schedule import Schedule
from vqlearn.probability import IMPOSSIBLE, finest_float
from vqlearn.probability.checks import check_integer, check_number, shown


@dataclass(frozen=True)
class Binomial:
    r"""Each MASK token is revealed with $1 - \bar\gamma_s/\bar\gamma_t$, whatever its position.

    That is the reverse process between the levels t and s: the number of revealed tokens is
    binomial, and given the number all sets of positions are equally likely. `levels` as made by
    `sampler.levels_to_visit`. Raises `ValueError` unless they fall all the way to 0.
    """

    levels: Sequence[int]

    def __post_init__(self) -> None:
        falling = all(t > s for t, s in pairwise(self.levels))
        if len(self.levels) < 2 or not falling or self.levels[-1] != 0:
            raise ValueError(f"levels is {shown(self.levels)}; allowed: falling, the last one 0")

    def level(
        self, schedule: Schedule, num_masked: Int[Tensor, " b"], num_positions: int, step: int
    ) -> Int[Tensor, " b"]:
        """The i-th of the levels, whatever is masked."""
        return torch.full(num_masked.shape, self.levels[step])

    def shares(self, schedule: Schedule, step: int, sigma: float = 0.0) -> tuple[Tensor, Tensor]:
        r"""The probability that a shown token is masked again in step i, and that MASK stays.

        The first is sigma, but at most $\bar\gamma_s/(1-\bar\gamma_t)$; the second follows,
        $(\bar\gamma_s - (1-\bar\gamma_t)\,\sigma)/\bar\gamma_t$, so that the share of MASK at level
        s is $\bar\gamma_s$. Sigma above 0 is that of `correctors.ReMDM`.
        """
        gamma_t, gamma_s = (schedule.gamma_bar[level] for level in self.levels[step : step + 2])
        shown = 1 - gamma_t
        again = torch.minimum(sigma * shown, gamma_s)  # of all tokens
        # Where no token can be MASK, or none is shown, any number but 0/0.
        stay = (gamma_s - again) / gamma_t.masked_fill(gamma_t == 0, 1)
        return again / shown.masked_fill(shown == 0, 1), stay

    def log_counts(self, moment: Moment) -> Float[Tensor, "b counts"]:
        """The binomial distribution of each sequence, float64."""
        device = moment.masked.device
        _, stay = self.shares(moment.schedule, moment.step)
        stay = stay.to(device, finest_float(device))
        return log_binomial(moment.masked.sum(dim=-1), stay, moment.masked.shape[1])


@dataclass(frozen=True)
class FixedCount:
    """The same number of tokens in every step; the last step takes what is left.

    Source: fewer tokens per step, Tang et al. 2022, https://arxiv.org/abs/2205.16007. Any n, T and
    k: n / k steps, rounded up. Where tokens are also replaced, that is too few steps to be exact,
    even with one token in each: more levels do not help, more steps (`Binomial`) do.

    Raises `ValueError` for fewer than one token, and, where it is used, for more tokens than
    positions.
    """

    tokens_per_step: int

    def __post_init__(self) -> None:
        check_integer("tokens_per_step", self.tokens_per_step, 1)

    def level(
        self, schedule: Schedule, num_masked: Int[Tensor, " b"], num_positions: int, step: int
    ) -> Int[Tensor, " b"]:
        """See `nearest_level`."""
        check_integer("tokens_per_step", self.tokens_per_step, 1, num_positions)
        return nearest_level(schedule, num_masked, num_positions)

    def log_counts(self, moment: Moment) -> Float[Tensor, "b counts"]:
        """All mass on the fixed number, or on the tokens that are left if they are fewer."""
        count = moment.masked.sum(dim=-1).clamp(max=self.tokens_per_step)
        return certain(count, moment.masked.shape[1])


@dataclass(frozen=True)
class ScheduledCounts:
    """Step i reveals `tokens[i]` of the MASK tokens, or what is left if that is less.

    The tokens of all steps are the n positions: few first, as `profile.best_schedule` finds them.
    With given tokens the MASK tokens are fewer, and the last steps fall away.

    Raises `ValueError` for a step without a token, and, where it is used, for a sum that is not n.
    """

    tokens: tuple[int, ...]

    def __post_init__(self) -> None:
        check_integer("the number of steps", len(self.tokens), 1)
        for count in self.tokens:
            check_integer("the tokens of a step", count, 1)

    def level(
        self, schedule: Schedule, num_masked: Int[Tensor, " b"], num_positions: int, step: int
    ) -> Int[Tensor, " b"]:
        """See `nearest_level`."""
        self.check_positions(num_positions)
        return nearest_level(schedule, num_masked, num_positions)

    def check_positions(self, num_positions: int) -> None:
        """Raise `ValueError` unless all steps together reveal so many tokens."""
        if sum(self.tokens) != num_positions:
            raise ValueError(
                f"the sum of the tokens is {sum(self.tokens)}; allowed: {num_positions} positions"
            )

    def log_counts(self, moment: Moment) -> Float[Tensor, "b counts"]:
        """All mass on the number of this step, or on the tokens that are left if they are fewer."""
        count = moment.masked.sum(dim=-1).clamp(max=self.tokens[moment.step])
        return certain(count, moment.masked.shape[1])


@dataclass(frozen=True)
class EntropyBound:
    r"""As many tokens as keep the sum of their entropies, less the largest, within `limit` nats.

    With the least entropy first. Revealed in one step, m tokens are drawn independently of each
    other, and $\sum_i H_i - \max_i H_i$ bounds their total correlation given what is revealed. The
    first token costs nothing, so every step reveals one at least, and `limit` = 0 reveals together
    what is certain. Source: Ben-Hamu et al. 2025, https://arxiv.org/abs/2505.24857.

    Raises `ValueError` for a limit below 0.
    """

    limit: float

    def __post_init__(self) -> None:
        check_number("limit", self.limit)
        if not self.limit >= 0:
            raise ValueError(f"limit is {self.limit}; allowed: 0 or more")

    def level(
        self, schedule: Schedule, num_masked: Int[Tensor, " b"], num_positions: int, step: int
    ) -> Int[Tensor, " b"]:
        """See `nearest_level`."""
        return nearest_level(schedule, num_masked, num_positions)

    def log_counts(self, moment: Moment) -> Float[Tensor, "b counts"]:
        """All mass on the largest number of tokens that the bound allows."""
        nats = entropy(moment.log_p_x0).masked_fill(~moment.masked, torch.inf)
        nats = nats.sort(dim=-1).values  # (b, n): ascending, so the last of a set is its largest
        cost = torch.cat([torch.zeros_like(nats[:, :1]), nats[:, :-1].cumsum(dim=-1)], dim=-1)
        # Certain tokens have an entropy of 0 but for rounding.
        allowed = (cost <= self.limit + 1e-9) & nats.isfinite()
        return certain(allowed.sum(dim=-1), moment.masked.shape[1])


def log_binomial(
    total: Int[Tensor, " b"], stay: Float[Tensor, "*b"], num_positions: int
) -> Float[Tensor, "b counts"]:
    """The log-probabilities that 0..n of `total` tokens change, if each stays with `stay`."""
    total, stay = total.to(stay)[:, None], stay.reshape(-1, 1)  # (b, 1) and (b or 1, 1)
    count = torch.arange(num_positions + 1, device=stay.device).to(stay)  # 0..n
    left = (total - count).clamp(min=0)
    ways = torch.lgamma(total + 1) - torch.lgamma(count + 1) - torch.lgamma(left + 1)
    log_p = ways + torch.xlogy(count, 1 - stay) + torch.xlogy(left, stay)
    return log_p.masked_fill(count > total, IMPOSSIBLE)


def certain(count: Int[Tensor, " b"], num_positions: int) -> Float[Tensor, "b counts"]:
    """The log-probabilities of 0..n where one number has all the mass."""
    others = torch.arange(num_positions + 1, device=count.device) != count[:, None]
    home = finest_float(count.device)
    return torch.zeros(others.shape, dtype=home, device=count.device).masked_fill(
        others, IMPOSSIBLE
    )


def nearest_level(
    schedule: Schedule, num_masked: Int[Tensor, " b"], num_positions: int
) -> Int[Tensor, " b"]:
    r"""The level t whose $\bar\gamma_t$ is nearest to the share of tokens that is still masked.

    Level T is that of nothing but MASK, level 0 that of no MASK; of two equally near levels it is
    the lower one. Source: Tang et al. 2022. Raises `ValueError` for a schedule whose share of MASK
    does not grow with every level.
    """
    if not (schedule.gamma_bar.diff() > 0).all():
        raise ValueError(
            "gamma_bar does not grow; allowed: a schedule with more MASK at every level"
        )
    num_masked = num_masked.cpu()
    last = schedule.num_timesteps
    share = num_masked.double() / num_positions
    nearest = (schedule.gamma_bar - share[:, None]).abs().argmin(dim=-1)  # (b,)
    nearest = nearest.clamp(min=1, max=max(last - 1, 1))
    nearest = torch.where(num_masked == num_positions, last, nearest)
    return torch.where(num_masked == 0, 0, nearest)

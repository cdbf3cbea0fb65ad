r"""How much of an image is kept, replaced and masked at each level t = 0..T.

The arrays are **cumulative**: at level t a token of the clean image is still itself with
probability $\bar\alpha_t + \bar\beta_t$, is any one other code with probability $\bar\beta_t$ and
is MASK with probability $\bar\gamma_t$. Level 0 is the data itself, so index 0 of every array is
the identity (1, 0, 0) and no index ever wraps round. `Schedule.stride` has the numbers between
any two levels.
"""

from dataclasses import dataclass
from fractions import Fraction
from typing import NamedTuple

import torch
from jaxtyping import Float64
from torch import Tensor

from vqlearn.probability.checks import Level, check_level, check_sizes, check_stride

ROUNDING = Fraction(1, 10**12)  # 1/3 and 2/3 in a file have 16 digits and may sum to 1 + 5e-17


@dataclass(frozen=True)
class ScheduleConfig:
    r"""The straight lines that $\bar\alpha_t$ and $\bar\gamma_t$ follow from t = 1 to t = T.

    The field names are those of the files that diffusers writes. `num_vec_classes` counts MASK:
    it is K + 1. The four numbers are read as the decimals that they are written as, so 0.99999
    means 99999/100000 exactly. The defaults are the schedule of the released ITHQ checkpoint.

    Raises `ValueError` if a number is out of its range.
    """

    num_vec_classes: int
    num_train_timesteps: int = 100
    alpha_cum_start: float = 0.99999
    alpha_cum_end: float = 0.000009
    gamma_cum_start: float = 0.000009
    gamma_cum_end: float = 0.99999

    def __post_init__(self) -> None:
        counts = {name: getattr(self, name) for name in ("num_vec_classes", "num_train_timesteps")}
        check_sizes(counts, num_vec_classes=2)
        for name in ("alpha_cum_start", "alpha_cum_end", "gamma_cum_start", "gamma_cum_end"):
            value = getattr(self, name)
            if not 0 <= value <= 1:
                raise ValueError(f"{name} is {value}; allowed: 0 to 1")


def released(num_codes: int, num_timesteps: int = 100) -> ScheduleConfig:
    r"""The schedule of the released checkpoints: masks almost only, $K\bar\beta_t = 10^{-6}$."""
    return ScheduleConfig(num_codes + 1, num_timesteps)


def paper(num_codes: int, num_timesteps: int = 100) -> ScheduleConfig:
    r"""The schedule of the paper: linear from 0 to $\bar\gamma_T = 0.9$ and $K\bar\beta_T = 0.1$.

    Source: Gu et al. 2022, "Vector Quantized Diffusion Model for Text-to-Image Synthesis".
    """
    return _lines_from_zero(num_codes, num_timesteps, Fraction(9, 10))


def absorbing(num_codes: int, num_timesteps: int = 100) -> ScheduleConfig:
    r"""Only masks ($\beta = 0$): the absorbing corner of Austin et al. 2021."""
    return _lines_from_zero(num_codes, num_timesteps, Fraction(1))


def multinomial(num_codes: int, num_timesteps: int = 100) -> ScheduleConfig:
    r"""Only replacements ($\gamma = 0$): multinomial diffusion, Hoogeboom et al. 2021."""
    return _lines_from_zero(num_codes, num_timesteps, Fraction(0))


SCHEDULES = {"released": released, "paper": paper, "absorbing": absorbing}
"""The schedules whose last level is mostly MASK, by name: schedule(num_codes, num_timesteps)."""


def _lines_from_zero(num_codes: int, num_timesteps: int, gamma_end: Fraction) -> ScheduleConfig:
    r"""Lines that would pass through $\bar\alpha_0 = 1$, $\bar\gamma_0 = 0$ and end at T."""
    # Twelve decimals of 1/T, so that the shares still sum to 1 as decimals when 3 divides T.
    lost = round(Fraction(1, num_timesteps), 12)
    return ScheduleConfig(
        num_vec_classes=num_codes + 1,
        num_train_timesteps=num_timesteps,
        alpha_cum_start=float(1 - lost),
        alpha_cum_end=0.0,
        gamma_cum_start=float(gamma_end * lost),
        gamma_cum_end=float(gamma_end),
    )


class Cumulative(NamedTuple):
    r"""From level 0 to level t: float64, shape (b, 1), or (1, 1) for one level of the whole batch.

    A code is kept with $\bar\alpha_t$, becomes each of the K codes with $\bar\beta_t$ (itself too)
    and MASK with $\bar\gamma_t$; the three cases exclude each other.
    """

    alpha_bar: Float64[Tensor, "#b 1"]
    beta_bar: Float64[Tensor, "#b 1"]
    gamma_bar: Float64[Tensor, "#b 1"]


class Stride(NamedTuple):
    r"""From level s to level t > s, as `Cumulative` is from level 0. MASK stays MASK."""

    alpha: Float64[Tensor, "#b 1"]
    beta: Float64[Tensor, "#b 1"]
    gamma: Float64[Tensor, "#b 1"]


@dataclass(frozen=True, eq=False)
class Schedule:
    r"""The cumulative arrays, float64, index t = 0..T. Made by `build_schedule`.

    `beta_bar` is kept beside the other two on purpose: $(1-\bar\alpha_t-\bar\gamma_t)/K$ computed
    from rounded numbers has lost six of its sixteen digits on the released schedule.
    """

    num_codes: int
    alpha_bar: Float64[Tensor, " levels"]
    beta_bar: Float64[Tensor, " levels"]
    gamma_bar: Float64[Tensor, " levels"]

    @property
    def num_timesteps(self) -> int:
        return len(self.alpha_bar) - 1

    @property
    def config(self) -> ScheduleConfig:
        """The numbers from which `build_schedule` makes these arrays: the ends of both lines.

        Raises `ValueError` for arrays that are not straight lines: no such numbers describe them.
        """
        lines = (self.alpha_bar[[1, -1]], self.gamma_bar[[1, -1]])
        config = ScheduleConfig(self.num_codes + 1, self.num_timesteps, *torch.cat(lines).tolist())
        straight = build_schedule(config)
        for name in ("alpha_bar", "beta_bar", "gamma_bar"):
            far = (getattr(self, name) - getattr(straight, name)).abs().max().item()
            if far > 1e-12:
                raise ValueError(f"{name} is {far:.3g} off a straight line; allowed: up to 1e-12")
        return config

    def cumulative(self, t: Level) -> Cumulative:
        r"""$\bar\alpha_t, \bar\beta_t, \bar\gamma_t$: how a token gets from level 0 to level t.

        Raises `ValueError` for a level outside 0..T.
        """
        check_level(t, self.num_timesteps)
        # On the CPU, one level in each row, so that the numbers broadcast over (b, n).
        levels = torch.as_tensor(t, device="cpu").reshape(-1, 1)
        return Cumulative(self.alpha_bar[levels], self.beta_bar[levels], self.gamma_bar[levels])

    def stride(self, s: Level, t: Level) -> Stride:
        r"""$\alpha_{t|s}, \beta_{t|s}, \gamma_{t|s}$: how a token gets from level s to level t.

        No matrices are multiplied, because mask-and-replace matrices are closed under
        multiplication. Let $M(\alpha, \beta, \gamma)$ send a code i to the code j with probability
        $\alpha[i = j] + \beta$ and to MASK with $\gamma$, where $\alpha + K\beta + \gamma = 1$, and
        MASK to MASK. A token that goes through $M(\alpha', \beta', \gamma')$ first and then through
        $M(\alpha, \beta, \gamma)$ ends

        - in the code j with $\sum_l (\alpha'[i = l] + \beta')(\alpha[l = j] + \beta) =
          \alpha'\alpha\,[i = j] + \beta'\alpha + (\alpha' + K\beta')\beta$;
        - in MASK with $\gamma' + (1 - \gamma')\gamma$.

        That is $M$ again. With the bars of level s in the first place and those of level t as the
        result, and with $\bar\alpha_s + K\bar\beta_s = 1 - \bar\gamma_s$, solve for the second:

        $\alpha_{t|s} = \frac{\bar\alpha_t}{\bar\alpha_s}$,
        $\beta_{t|s} = \frac{\bar\beta_t - \alpha_{t|s}\bar\beta_s}{1 - \bar\gamma_s}$,
        $\gamma_{t|s} = \frac{\bar\gamma_t - \bar\gamma_s}{1 - \bar\gamma_s}$.

        Raises `ValueError` unless 0 <= s < t <= T.
        """
        before, after = self.cumulative(s), self.cumulative(t)
        check_stride(s, t)
        unmasked = 1 - before.gamma_bar  # (b, 1): the share that can still be masked
        alpha = after.alpha_bar / before.alpha_bar
        # Where nothing is replaced the difference is 0, and rounding must not make it negative.
        beta = ((after.beta_bar - alpha * before.beta_bar) / unmasked).clamp(min=0)
        return Stride(alpha, beta, (after.gamma_bar - before.gamma_bar) / unmasked)


def build_schedule(config: ScheduleConfig) -> Schedule:
    r"""The arrays of a configuration, computed as exact fractions and rounded once.

    Raises `ValueError`, naming the first level t, if the four numbers describe no process:
    a probability below 0, a token that comes back from MASK, or a data token that can no longer
    be kept before the last level.
    """
    num_timesteps, num_codes = config.num_train_timesteps, config.num_vec_classes - 1
    # Level 0 is the data; the lines are those of the levels 1..T.
    alpha_bar = [Fraction(1), *_line(config.alpha_cum_start, config.alpha_cum_end, num_timesteps)]
    gamma_bar = [Fraction(0), *_line(config.gamma_cum_start, config.gamma_cum_end, num_timesteps)]
    _check_steps(alpha_bar, gamma_bar)
    # What neither keeps nor masks is shared by the K codes; 1/3 + 2/3 in decimals may exceed 1.
    beta_bar = [
        max(Fraction(0), 1 - a - g) / num_codes for a, g in zip(alpha_bar, gamma_bar, strict=True)
    ]
    return Schedule(num_codes, _rounded(alpha_bar), _rounded(beta_bar), _rounded(gamma_bar))


def _line(start: float, end: float, num_timesteps: int) -> list[Fraction]:
    first, last = Fraction(str(start)), Fraction(str(end))
    if num_timesteps == 1:
        return [last]
    return [first + (last - first) * Fraction(t, num_timesteps - 1) for t in range(num_timesteps)]


def _check_steps(alpha_bar: list[Fraction], gamma_bar: list[Fraction]) -> None:
    for t in range(1, len(alpha_bar)):
        # The stride to a later level would divide by alpha_bar and by 1 - gamma_bar.
        if alpha_bar[t - 1] == 0 or gamma_bar[t - 1] == 1:
            raise ValueError(
                f"nothing of the data is left at level t = {t - 1} of {len(alpha_bar) - 1}; "
                "allowed: alpha_bar > 0 and gamma_bar < 1 at every level but the last"
            )
        keep = alpha_bar[t] / alpha_bar[t - 1]
        not_masked = (1 - gamma_bar[t]) / (1 - gamma_bar[t - 1])
        if not 0 <= keep <= not_masked + ROUNDING or not_masked > 1:
            raise ValueError(
                f"the step from level {t - 1} to {t} keeps a token with probability {float(keep)} "
                f"and leaves it unmasked with {float(not_masked)}; "
                "allowed: 0 <= keep <= unmasked <= 1"
            )


def _rounded(exact: list[Fraction]) -> Tensor:
    return torch.tensor([float(value) for value in exact], dtype=torch.float64)

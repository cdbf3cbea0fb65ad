r"""The forward process of VQ-Diffusion (keep, replace, mask) and its exact way back.

Levels run from 0 (the data) to T. With the cumulative numbers of `schedule.py`, the step from
any level s < t needs no product of matrices: its numbers follow from those at s and t alone,
because mask-and-replace matrices are closed under multiplication:
$\alpha_{t|s}=\bar\alpha_t/\bar\alpha_s$, $1-\gamma_{t|s}=(1-\bar\gamma_t)/(1-\bar\gamma_s)$,
$\beta_{t|s}=(\bar\beta_t-\alpha_{t|s}\bar\beta_s)/(1-\bar\gamma_s)$.

Everything is in log-probabilities, class axis last, and costs O(K) for each token.
"""

from typing import Protocol, runtime_checkable

import torch
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor

from vqlearn.diffusion.schedule import Schedule
from vqlearn.probability.checks import Level, check_tokens
from vqlearn.probability.log_probs import (
    IMPOSSIBLE,
    at_least_float32,
    log_add,
    log_normalise,
    log_one_hot,
)
from vqlearn.probability.random import Generators, finest_float, uniform


@runtime_checkable
class Process(Protocol):
    """What the objective and the sampler need to know of a corruption process.

    `num_codes` is K, the classes of clean tokens; `num_classes` counts the classes of corrupted
    tokens (K + 1 where MASK exists). A level is one number, or one for each image of the batch.
    """

    num_timesteps: int
    num_codes: int
    num_classes: int

    def corrupt(self, x_0: Tensor, t: Level, *, generator: Generators) -> Tensor:
        """Draw x_t ~ q(x_t | x_0), shape (b, n)."""

    def log_marginal(self, x_0: Tensor, t: Level, *, dtype: torch.dtype) -> Tensor:
        """log q(x_t | x_0) over all x_t, shape (b, n, num_classes)."""

    def log_likelihood(self, x_t: Tensor, t: Level, *, dtype: torch.dtype) -> Tensor:
        """log q(x_t | x_0 = k) for every code k, shape (b, n, K)."""

    def log_posterior(
        self, x_0: Tensor, x_t: Tensor, s: Level, t: Level, *, dtype: torch.dtype
    ) -> Tensor:
        """log q(x_s | x_t, x_0) for a KNOWN x_0, shape (b, n, num_classes)."""

    def log_reverse(self, log_p_x0: Tensor, x_t: Tensor, s: Level, t: Level) -> Tensor:
        """log p(x_s | x_t) for a BELIEF over x_0, shape (b, n, num_classes)."""

    def log_prior(self) -> Tensor:
        """log p(x_T), float64, shape (num_classes,)."""


class MaskAndReplace:
    """Keep, replace or mask each token: the process of VQ-Diffusion.

    With `schedule.multinomial` (no masks) and `schedule.absorbing` (no replacements) it is also
    its two corners. MASK has the index K, the last class.

    Tokens outside their range raise `ValueError`; it is looked at on the CPU only.

    Source: Gu et al. 2022, section 4. Tested against enumeration in exact fractions in
    `tests/diffusion/test_process.py`.
    """

    def __init__(self, schedule: Schedule) -> None:
        self.schedule = schedule
        self.num_timesteps = schedule.num_timesteps
        self.num_codes = schedule.num_codes
        self.num_classes = schedule.num_codes + 1
        self.mask = schedule.num_codes

    def corrupt(
        self, x_0: Int[Tensor, "b n"], t: Level, *, generator: Generators = None
    ) -> Int[Tensor, "b n"]:
        """Draw x_t ~ q(x_t | x_0): what does an image look like at level t?

        One random number decides (mask, replace or keep), one names the replacement. The
        distribution that is drawn from is `log_marginal`. Raises `ValueError` if t is not in 0..T.
        """
        device = x_0.device
        check_tokens("x_0", x_0, self.num_codes)
        _, beta_bar, gamma_bar = self.cumulative(t, device, finest_float(device))
        fate, other = uniform((*x_0.shape, 2), device, generator=generator).unbind(dim=-1)
        code = (other * self.num_codes).long()
        replaced = torch.where(fate < gamma_bar + self.num_codes * beta_bar, code, x_0)
        return torch.where(fate < gamma_bar, self.mask, replaced)

    def log_marginal(
        self, x_0: Int[Tensor, "b n"], t: Level, *, dtype: torch.dtype = torch.float32
    ) -> Float[Tensor, "b n classes"]:
        r"""How likely is each class at level t, if the clean token is x_0?

        $q(x_t = j \mid x_0) = \bar\alpha_t [j = x_0] + \bar\beta_t$ and
        $q(\mathrm{MASK} \mid x_0) = \bar\gamma_t$.
        """
        check_tokens("x_0", x_0, self.num_codes)
        log_codes = self.log_likelihood(x_0, t, dtype=dtype)
        (log_mask,) = log_like(log_codes, self.cumulative(t)[2])
        return torch.cat([log_codes, log_mask.expand(*x_0.shape, 1)], dim=-1)

    def log_likelihood(
        self, x_t: Int[Tensor, "b n"], t: Level, *, dtype: torch.dtype = torch.float32
    ) -> Float[Tensor, "b n codes"]:
        r"""How likely is what we see, for every clean code k that could be behind it?

        $q(x_t = i \mid x_0 = k) = \bar\alpha_t [k = i] + \bar\beta_t$; for a masked token it is
        $\bar\gamma_t$ whatever k is.
        """
        check_tokens("x_t", x_t, self.num_classes)
        alpha_bar, beta_bar, gamma_bar = self.cumulative(t)
        like = torch.empty(0, dtype=dtype, device=x_t.device)
        same, other, masked = log_like(like, alpha_bar + beta_bar, beta_bar, gamma_bar)
        codes = torch.arange(self.num_codes, device=x_t.device)
        seen = rearrange(x_t, "b n -> b n 1")
        return torch.where(seen == self.mask, masked, torch.where(seen == codes, same, other))

    def log_posterior(
        self,
        x_0: Int[Tensor, "b n"],
        x_t: Int[Tensor, "b n"],
        s: Level,
        t: Level,
        *,
        dtype: torch.dtype = torch.float32,
    ) -> Float[Tensor, "b n classes"]:
        r"""Where was the token at level s, if we see x_t and KNOW the clean token x_0?

        $q(x_s \mid x_t, x_0) \propto q(x_t \mid x_s)\, q(x_s \mid x_0)$: Bayes' rule.
        """
        check_tokens("x_0", x_0, self.num_codes)
        return self.log_reverse(log_one_hot(x_0, self.num_codes, dtype), x_t, s, t)

    def log_reverse(
        self, log_p_x0: Float[Tensor, "b n codes"], x_t: Int[Tensor, "b n"], s: Level, t: Level
    ) -> Float[Tensor, "b n classes"]:
        r"""Where was the token at level s, if we see x_t and only BELIEVE something about x_0?

        $p(x_s \mid x_t) = \sum_k q(x_s \mid x_t, x_0 = k)\, \tilde p(x_0 = k \mid x_t)$, exact
        for every stride s < t, one step or many.

        `log_p_x0` must be normalised (see `log_probs.log_normalise`); half precision is computed
        in float32. Where $\bar\beta_t = 0$ an unmasked token stays what it is, whatever the
        predicted distribution says. Raises `ValueError` unless 0 <= s < t <= T, and for a masked
        token at a level where $\bar\gamma_t = 0$.
        """
        check_tokens("x_t", x_t, self.num_classes)
        log_p_x0 = at_least_float32(log_p_x0)
        is_mask = rearrange(x_t == self.mask, "b n -> b n 1")
        seen = rearrange(x_t, "b n -> b n 1").masked_fill(is_mask, 0)  # any code: not used
        if_mask = log_like(log_p_x0, *self._from_mask(x_t, s, t))
        if_code = log_like(log_p_x0, *self._from_code(s, t))
        per_code, to_any, stay = _mix_over_x0(log_p_x0, seen, if_code)

        log_codes = log_add(
            log_p_x0 + torch.where(is_mask, if_mask[0], per_code),
            torch.where(is_mask, if_mask[1], to_any),
        )
        stay = torch.where(is_mask, log_codes.gather(-1, seen), stay)
        log_mask = torch.where(is_mask, if_mask[2], IMPOSSIBLE)
        log_p = torch.cat([log_codes.scatter(-1, seen, stay), log_mask], dim=-1)
        return log_normalise(log_p)  # sums to 1 but for the rounding of 4,096 float32 logarithms

    def log_prior(self) -> Float[Tensor, " classes"]:
        r"""The distribution of x_T that the bound starts from: MASK with $\bar\gamma_T$, else
        uniform."""
        gamma_bar = self.schedule.gamma_bar[-1]
        codes = ((1 - gamma_bar) / self.num_codes).expand(self.num_codes)
        return torch.cat([codes, gamma_bar[None]]).log()

    def cumulative(
        self, t: Level, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float64
    ) -> tuple[Tensor, Tensor, Tensor]:
        r"""$\bar\alpha_t, \bar\beta_t, \bar\gamma_t$ for each level of t: (b, 1), or (1, 1).

        Raises `ValueError` for a level outside 0..T.
        """
        levels = torch.as_tensor(t, device="cpu").reshape(-1, 1)
        lowest, highest = int(levels.min()), int(levels.max())
        if lowest < 0 or highest > self.num_timesteps:
            raise ValueError(
                f"level t is {lowest if lowest < 0 else highest}; "
                f"allowed: 0 to {self.num_timesteps}"
            )
        schedule = self.schedule
        arrays = (schedule.alpha_bar, schedule.beta_bar, schedule.gamma_bar)
        return tuple(array[levels].to(device, dtype) for array in arrays)

    def _from_mask(self, x_t: Tensor, s: Level, t: Level) -> tuple[Tensor, Tensor, Tensor]:
        r"""A masked token stays MASK with $\bar\gamma_s/\bar\gamma_t$, else is drawn.

        $p(x_s=j)=\frac{\gamma_{t|s}}{\bar\gamma_t}(\bar\alpha_s p_j+\bar\beta_s)$: the factor of
        $p_j$, the part that is the same for every j, and the probability of MASK.
        """
        alpha_s, beta_s, gamma_s = self.cumulative(s)
        gamma_t = self.cumulative(t)[2]
        self._refuse_masks_that_cannot_be(x_t, gamma_t)
        gamma_t = gamma_t.masked_fill(gamma_t == 0, 1)  # no masks there: any number, but not 0/0
        dropped = (gamma_t - gamma_s) / (1 - gamma_s) / gamma_t  # gamma_{t|s} / gamma_bar_t
        return dropped * alpha_s, dropped * beta_s, gamma_s / gamma_t

    def _from_code(self, s: Level, t: Level) -> tuple[Tensor, ...]:
        r"""An unmasked token i stays i, or comes from another code j; it was never MASK.

        With the predicted distribution split into "right" ($p_i$: the clean token is i) and "wrong"
        ($1-p_i$): $p(x_s=i)=(\alpha_{t|s}+\beta_{t|s})\left(p_i\frac{\bar\alpha_s+\bar\beta_s}
        {\bar\alpha_t+\bar\beta_t}+(1-p_i)\frac{\bar\beta_s}{\bar\beta_t}\right)$ and
        $p(x_s=j)=\beta_{t|s}\left(p_j\frac{\bar\alpha_s}{\bar\beta_t}+p_i\frac{\bar\beta_s}
        {\bar\alpha_t+\bar\beta_t}+(1-p_i)\frac{\bar\beta_s}{\bar\beta_t}\right)$.

        The five factors, in the order: $p_j$; stay if right, if wrong; move if right, if wrong.
        They are formed in float64: the likelihoods in them differ by 10 orders of magnitude, and
        dividing the predicted distribution by one to multiply it by another would cost float32 its
        digits.
        """
        self._check_stride(s, t)
        alpha_s, beta_s, gamma_s = self.cumulative(s)
        alpha_t, beta_t, _ = self.cumulative(t)
        alpha = alpha_t / alpha_s
        beta = ((beta_t - alpha * beta_s) / (1 - gamma_s)).clamp(min=0)
        frozen = beta_t == 0  # nothing was ever replaced: the token stays, whatever we believe
        if_right = torch.where(frozen, 1, alpha_t + beta_t)
        if_wrong = torch.where(frozen, 1, beta_t)
        return (
            beta * alpha_s / if_wrong,
            torch.where(frozen, 1, (alpha + beta) * (alpha_s + beta_s) / if_right),
            torch.where(frozen, 1, (alpha + beta) * beta_s / if_wrong),
            beta * beta_s / if_right,
            beta * beta_s / if_wrong,
        )

    def _check_stride(self, s: Level, t: Level) -> None:
        if (torch.as_tensor(s, device="cpu") >= torch.as_tensor(t, device="cpu")).any():
            raise ValueError(f"the way back goes from t = {t} to s = {s}; allowed: s below t")

    def _refuse_masks_that_cannot_be(self, x_t: Tensor, gamma_t: Tensor) -> None:
        if (gamma_t == 0).any():
            impossible = (x_t == self.mask) & (gamma_t == 0).to(x_t.device)
            if impossible.any():
                raise ValueError(
                    f"x_t holds MASK (class {self.mask}) at a level where nothing is masked; "
                    f"allowed: 0 to {self.mask - 1}"
                )


def _mix_over_x0(
    log_p_x0: Tensor, seen: Tensor, if_code: list[Tensor]
) -> tuple[Tensor, Tensor, Tensor]:
    """Factor of p_j, the part that is the same for every j, and the distribution of staying: (b, n,
    1)."""
    per_code, stay_right, stay_wrong, move_right, move_wrong = if_code
    log_right = log_p_x0.gather(-1, seen)
    log_wrong = log_p_x0.scatter(-1, seen, IMPOSSIBLE).logsumexp(dim=-1, keepdim=True)
    stay = log_add(log_right + stay_right, log_wrong + stay_wrong)
    return per_code, log_add(log_right + move_right, log_wrong + move_wrong), stay


def log_like(like: Tensor, *numbers: Tensor) -> list[Tensor]:
    """Logarithms of (b, 1) numbers, taken in float64, then shaped and cast for (b, n, k)."""
    return [rearrange(x.log(), "b 1 -> b 1 1").to(like.device, like.dtype) for x in numbers]

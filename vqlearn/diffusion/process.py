r"""The forward process of VQ-Diffusion (keep, replace, mask) and its reverse, exact token by token.

Levels run from 0 (the data) to T. A step between any two of them, s < t, needs no product of
matrices: its three numbers follow from the cumulative ones (`schedule.Schedule.stride`).

Everything is in log-probabilities, class axis last, and costs O(K) for each token. "Exact" means:
the right posterior for every stride, token by token. The joint distribution of several tokens that
are drawn in one step is a product.
"""

from collections.abc import Iterable
from typing import NamedTuple, Protocol, runtime_checkable

import torch
from einops import rearrange
from jaxtyping import Bool, Float, Int
from torch import Tensor

from vqlearn.diffusion.schedule import Schedule
from vqlearn.probability import (
    IMPOSSIBLE,
    Generators,
    at_least_float32,
    log_add,
    log_normalise,
    log_one_hot,
    log_sum,
    uniform,
)
from vqlearn.probability.checks import Level, check_tokens


@runtime_checkable
class Process(Protocol):
    """A corruption process.

    Only enumeration and other parameterisations need `log_marginal_under`, `log_likelihood` and
    `log_transition`. `num_codes` is K, the classes of clean tokens; `num_classes` counts those of
    corrupted tokens (K + 1 where MASK exists). A level is one number, or one for each sequence.
    """

    num_timesteps: int
    num_codes: int
    num_classes: int

    def corrupt(self, x_0: Tensor, t: Level, *, generator: Generators) -> Tensor:
        """Draw x_t ~ q(x_t | x_0), shape (b, n)."""

    def log_marginal(self, x_0: Tensor, t: Level, *, dtype: torch.dtype) -> Tensor:
        """log q(x_t | x_0) over all x_t, shape (b, n, num_classes)."""

    def log_marginal_under(self, log_p_x0: Tensor, s: Level) -> Tensor:
        """log of the mean of q(x_s | x_0) over a distribution of x_0: (b, n, num_classes)."""

    def log_likelihood(self, x_t: Tensor, t: Level, *, dtype: torch.dtype) -> Tensor:
        """log q(x_t | x_0 = k) for every code k, shape (b, n, K)."""

    def log_transition(self, x_t: Tensor, s: Level, t: Level, *, dtype: torch.dtype) -> Tensor:
        """log q(x_t | x_s = j) for every class j of x_s, shape (b, n, num_classes)."""

    def log_posterior(
        self, x_0: Tensor, x_t: Tensor, s: Level, t: Level, *, dtype: torch.dtype
    ) -> Tensor:
        """log q(x_s | x_t, x_0) for a KNOWN x_0, shape (b, n, num_classes)."""

    def log_reverse(self, log_p_x0: Tensor, x_t: Tensor, s: Level, t: Level) -> Tensor:
        """log p(x_s | x_t) for a PREDICTED distribution of x_0, shape (b, n, num_classes)."""

    def log_prior(self) -> Tensor:
        """log p(x_T), float64, shape (num_classes,)."""


class Mixing(NamedTuple):
    """A reverse step: p(x_s = j) = per_code * p(x_0 = j) + any_code, for each code j but x_t.

    The class of x_t itself has the probability `stay`. Probabilities are float64,
    one a level: (b, 1) or (1, 1). Logarithms have a class axis too: (b, 1, 1), and (b, n, 1) once
    they are chosen for each token.
    """

    per_code: Tensor
    any_code: Tensor
    stay: Tensor


class CodeFactors(NamedTuple):
    """What the `Mixing` of an unmasked token is made of, same shapes; "right": x_0 = x_t."""

    per_code: Tensor
    stay_if_right: Tensor
    stay_if_wrong: Tensor
    move_if_right: Tensor
    move_if_wrong: Tensor


class MaskAndReplace:
    """Keep, replace or mask each token: the process of VQ-Diffusion.

    With `schedule.multinomial` (no masks) and `schedule.absorbing` (no replacements) it is also
    its two corners. MASK has the index K, the last class. Tokens outside their range raise
    `ValueError`; it is looked at on the CPU only. Source: Gu et al. 2022, section 4.
    """

    def __init__(self, schedule: Schedule) -> None:
        self.schedule = schedule
        self.num_timesteps, self.num_codes = schedule.num_timesteps, schedule.num_codes
        self.mask, self.num_classes = schedule.num_codes, schedule.num_codes + 1

    def corrupt(
        self, x_0: Int[Tensor, "b n"], t: Level, *, generator: Generators = None
    ) -> Int[Tensor, "b n"]:
        """Draw x_t ~ q(x_t | x_0): what does an image look like at level t?

        It has the distribution `log_marginal`. Raises `ValueError` if t is not in 0..T.
        """
        check_tokens("x_0", x_0, self.num_codes)
        _, beta_bar, gamma_bar = self.schedule.cumulative(t)
        # One random number decides (mask, replace or keep), one picks the replacement.
        draws = uniform((*x_0.shape, 2), x_0.device, generator=generator)  # (b, n, 2)
        decision, pick = draws.unbind(dim=-1)
        code = (pick * self.num_codes).long()  # uniform on 0..K-1
        changed = (gamma_bar + self.num_codes * beta_bar).to(decision)  # (b, 1): masked or replaced
        x_t = torch.where(decision < changed, code, x_0)
        return torch.where(decision < gamma_bar.to(decision), self.mask, x_t)

    def log_marginal(
        self, x_0: Int[Tensor, "b n"], t: Level, *, dtype: torch.dtype = torch.float32
    ) -> Float[Tensor, "b n classes"]:
        r"""log q(x_t | x_0) for each class of x_t: where the clean token may be at level t.

        $q(x_t = j \mid x_0) = \bar\alpha_t [j = x_0] + \bar\beta_t$ and
        $q(\mathrm{MASK} \mid x_0) = \bar\gamma_t$.
        """
        check_tokens("x_0", x_0, self.num_codes)
        # The matrix is symmetric among the codes, so a row of it is a column.
        log_codes = self.log_likelihood(x_0, t, dtype=dtype)
        _, _, log_mask = _log_for(log_codes, self.schedule.cumulative(t))
        return torch.cat([log_codes, log_mask.expand(*x_0.shape, 1)], dim=-1)

    def log_marginal_under(
        self, log_p_x0: Float[Tensor, "b n codes"], s: Level
    ) -> Float[Tensor, "b n classes"]:
        r"""log of q(x_s | x_0), averaged over a distribution p of x_0, for each class of x_s.

        $\sum_k q(x_s = j \mid x_0 = k)\,p_k$: it is $\bar\alpha_s p_j + \bar\beta_s$ for a code j
        and $\bar\gamma_s$ for MASK.
        """
        # (b, 1, 1) each, as logarithms.
        alpha_bar, beta_bar, gamma_bar = _log_for(log_p_x0, self.schedule.cumulative(s))
        log_codes = log_add(log_p_x0 + alpha_bar, beta_bar)
        return torch.cat([log_codes, gamma_bar.expand(*log_p_x0.shape[:2], 1)], dim=-1)

    def log_likelihood(
        self, x_t: Int[Tensor, "b n"], t: Level, *, dtype: torch.dtype = torch.float32
    ) -> Float[Tensor, "b n codes"]:
        r"""log q(x_t | x_0 = k) for every clean code k that could be behind what we see.

        $q(x_t = i \mid x_0 = k) = \bar\alpha_t [k = i] + \bar\beta_t$; for a masked token it is
        $\bar\gamma_t$ whatever k is.
        """
        return self._log_from_codes(x_t, *self.schedule.cumulative(t), dtype=dtype)

    def log_transition(
        self, x_t: Int[Tensor, "b n"], s: Level, t: Level, *, dtype: torch.dtype = torch.float32
    ) -> Float[Tensor, "b n classes"]:
        r"""log q(x_t | x_s = j) for every class j that the token could have had at level s.

        $q(x_t = i \mid x_s = j) = \alpha_{t|s}[j = i] + \beta_{t|s}$ for codes i and j; a code is
        masked with $\gamma_{t|s}$ and MASK stays. Raises `ValueError` unless 0 <= s < t <= T.
        """
        from_code = self._log_from_codes(x_t, *self.schedule.stride(s, t), dtype=dtype)
        is_mask = rearrange(x_t == self.mask, "b n -> b n 1")
        from_mask = torch.zeros_like(from_code[..., :1]).masked_fill(~is_mask, IMPOSSIBLE)
        return torch.cat([from_code, from_mask], dim=-1)  # (b, n, K) and (b, n, 1)

    def log_posterior(
        self,
        x_0: Int[Tensor, "b n"],
        x_t: Int[Tensor, "b n"],
        s: Level,
        t: Level,
        *,
        dtype: torch.dtype = torch.float32,
    ) -> Float[Tensor, "b n classes"]:
        r"""log q(x_s | x_t, x_0): where was the token at level s, if we KNOW the clean x_0?

        $q(x_s \mid x_t, x_0) \propto q(x_t \mid x_s)\, q(x_s \mid x_0)$: Bayes' rule.
        """
        check_tokens("x_0", x_0, self.num_codes)
        return self.log_reverse(log_one_hot(x_0, self.num_codes, dtype), x_t, s, t)

    def log_reverse(
        self, log_p_x0: Float[Tensor, "b n codes"], x_t: Int[Tensor, "b n"], s: Level, t: Level
    ) -> Float[Tensor, "b n classes"]:
        r"""log p(x_s | x_t): where was the token at level s, if we have a PREDICTION of x_0?

        $p(x_s \mid x_t) = \sum_k q(x_s \mid x_t, x_0 = k)\, \tilde p(x_0 = k \mid x_t)$, exact for
        each token and every stride s < t, one step or many.

        `log_p_x0` must be normalised (see `log_probs.log_normalise`); half precision is computed
        in float32. Where $\bar\beta_t = 0$ an unmasked token stays what it is, whatever
        $\tilde p$ says. Raises `ValueError` unless 0 <= s < t <= T, and for a masked token at a
        level where $\bar\gamma_t = 0$.
        """
        check_tokens("x_t", x_t, self.num_classes)
        log_p_x0 = at_least_float32(log_p_x0)
        token = rearrange(x_t, "b n -> b n 1")
        is_mask = token == self.mask
        # Both cases are computed for every token; each then takes its own.
        masked = Mixing(*_log_for(log_p_x0, self._from_mask(is_mask, s, t)))
        factors = CodeFactors(*_log_for(log_p_x0, self._from_code(s, t)))
        code = _mix(log_p_x0, token.masked_fill(is_mask, 0), factors)  # 0: any code, not used
        pairs = zip(masked, code, strict=True)
        step = Mixing(*(torch.where(is_mask, one, other) for one, other in pairs))

        log_codes = log_add(log_p_x0 + step.per_code, step.any_code)  # (b, n, K)
        log_mask = torch.full_like(step.stay, IMPOSSIBLE)  # (b, n, 1): a code was never MASK
        log_p = torch.cat([log_codes, log_mask], dim=-1).scatter(-1, token, step.stay)
        return log_normalise(log_p)  # the sum is 1 but for rounding

    def log_prior(self) -> Float[Tensor, " classes"]:
        r"""log p(x_T), from which sampling starts: MASK with $\bar\gamma_T$, else any code."""
        gamma_bar = self.schedule.gamma_bar[-1]
        codes = ((1 - gamma_bar) / self.num_codes).expand(self.num_codes)
        return torch.cat([codes, gamma_bar[None]]).log()

    def _log_from_codes(
        self, x_t: Tensor, alpha: Tensor, beta: Tensor, gamma: Tensor, *, dtype: torch.dtype
    ) -> Tensor:
        """log of the probability to get from every code to x_t, shape (b, n, K)."""
        check_tokens("x_t", x_t, self.num_classes)
        like = torch.empty(0, dtype=dtype, device=x_t.device)
        same, other, masked = _log_for(like, (alpha + beta, beta, gamma))
        token = rearrange(x_t, "b n -> b n 1")
        codes = torch.arange(self.num_codes, device=x_t.device)  # (K,)
        return torch.where(token == self.mask, masked, torch.where(token == codes, same, other))

    def _from_mask(self, is_mask: Bool[Tensor, "b n 1"], s: Level, t: Level) -> Mixing:
        r"""A masked token stays MASK with $\bar\gamma_s/\bar\gamma_t$, else it is drawn.

        $p(x_s=j)=\frac{\gamma_{t|s}}{\bar\gamma_t}(\bar\alpha_s p_j+\bar\beta_s)$.
        """
        at_s, at_t = self.schedule.cumulative(s), self.schedule.cumulative(t)
        self._check_masks_possible(is_mask, at_t.gamma_bar)
        # Where no token can be MASK the result is not used: any number but 0/0.
        gamma_bar_t = at_t.gamma_bar.masked_fill(at_t.gamma_bar == 0, 1)
        unmask = self.schedule.stride(s, t).gamma / gamma_bar_t
        return Mixing(unmask * at_s.alpha_bar, unmask * at_s.beta_bar, at_s.gamma_bar / gamma_bar_t)

    def _from_code(self, s: Level, t: Level) -> CodeFactors:
        r"""An unmasked token i stays i, or comes from another code j; it was never MASK.

        With $\tilde p$ split into "right" ($p_i$: the clean token is i) and "wrong" ($1-p_i$):
        $p(x_s=i)=(\alpha_{t|s}+\beta_{t|s})\left(p_i\frac{\bar\alpha_s+\bar\beta_s}
        {\bar\alpha_t+\bar\beta_t}+(1-p_i)\frac{\bar\beta_s}{\bar\beta_t}\right)$ and
        $p(x_s=j)=\beta_{t|s}\left(p_j\frac{\bar\alpha_s}{\bar\beta_t}+p_i\frac{\bar\beta_s}
        {\bar\alpha_t+\bar\beta_t}+(1-p_i)\frac{\bar\beta_s}{\bar\beta_t}\right)$.

        The factors are formed in float64: the likelihoods in them differ by 10 orders of magnitude,
        and dividing $\tilde p$ by one to multiply it by another would cost float32 its digits.
        """
        alpha_bar_s, beta_bar_s, _ = self.schedule.cumulative(s)
        alpha_bar_t, beta_bar_t, _ = self.schedule.cumulative(t)
        alpha, beta, _ = self.schedule.stride(s, t)
        frozen = beta_bar_t == 0  # nothing was ever replaced: the token stays, whatever p says
        if_right = (alpha_bar_t + beta_bar_t).masked_fill(frozen, 1)  # q(x_t = i | x_0 = i)
        if_wrong = beta_bar_t.masked_fill(frozen, 1)  # q(x_t = i | x_0 = j)
        keep = alpha + beta  # q(x_t = i | x_s = i)
        return CodeFactors(
            per_code=beta * alpha_bar_s / if_wrong,
            stay_if_right=(keep * (alpha_bar_s + beta_bar_s) / if_right).masked_fill(frozen, 1),
            stay_if_wrong=(keep * beta_bar_s / if_wrong).masked_fill(frozen, 1),
            move_if_right=beta * beta_bar_s / if_right,
            move_if_wrong=beta * beta_bar_s / if_wrong,
        )

    def _check_masks_possible(self, is_mask: Tensor, gamma_bar_t: Tensor) -> None:
        never = gamma_bar_t == 0  # (b, 1)
        if never.any() and (is_mask & never[..., None].to(is_mask.device)).any():
            raise ValueError(
                f"x_t holds MASK (class {self.mask}) at a level where nothing is masked; "
                f"allowed: 0 to {self.mask - 1}"
            )


def _mix(log_p_x0: Tensor, code: Int[Tensor, "b n 1"], factors: CodeFactors) -> Mixing:
    """The `Mixing` of tokens that are a code, by what the prediction says of that code."""
    log_right = log_p_x0.gather(-1, code)  # (b, n, 1)
    # The sum over all other codes: 1 - p would lose its digits, and its gradient, at p = 1.
    log_wrong = log_sum(log_p_x0.scatter(-1, code, IMPOSSIBLE))
    return Mixing(
        factors.per_code,
        any_code=log_add(log_right + factors.move_if_right, log_wrong + factors.move_if_wrong),
        stay=log_add(log_right + factors.stay_if_right, log_wrong + factors.stay_if_wrong),
    )


def _log_for(like: Tensor, numbers: Iterable[Tensor]) -> list[Tensor]:
    """Logarithms of (b, 1) numbers, taken in float64, then shaped and cast for (b, n, k)."""
    return [rearrange(x.log(), "b 1 -> b 1 1").to(like.device, like.dtype) for x in numbers]

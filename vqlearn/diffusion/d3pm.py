r"""Any corruption that is a Markov chain on classes: D3PM, with transition matrices.

A step is a matrix $Q_t$: row i holds the distribution of $x_t$ for a token that was in class i.
Products of steps give every distribution that a `Process` needs: $\bar Q_t = Q_1 \cdots Q_t$ leads
from the data to level t, $Q_{t|s} = Q_{s+1} \cdots Q_t$ from level s to level t.

"Exact" means: the right posterior for every stride, token by token. The joint distribution of
several tokens that are drawn in one step is a product.

Source: Austin et al. 2021, "Structured Denoising Diffusion Models in Discrete State-Spaces".
"""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from einops import rearrange
from jaxtyping import Float, Float64, Int
from torch import Tensor

from vqlearn.diffusion.transition_products import StepMatrix, TransitionProducts, check_distribution
from vqlearn.probability import (
    IMPOSSIBLE,
    Generators,
    at_least_float32,
    finest_float,
    log_normalise,
    log_one_hot,
    sample_categorical,
)
from vqlearn.probability.checks import Level, check_level, check_sizes, check_stride, check_tokens


class StrideMatrices(NamedTuple):
    r"""What a reverse step from level t to level s is made of; K rows stand for the clean codes."""

    to_s: Float[Tensor, "codes classes"]
    r"""$\bar Q_s$: q(x_s | x_0)."""
    to_t: Float[Tensor, "codes classes"]
    r"""$\bar Q_t$: q(x_t | x_0)."""
    step: Float[Tensor, "classes classes"]
    r"""$Q_{t|s}$: q(x_t | x_s)."""


class DenseProcess:
    r"""The `Process` of any transition matrices, with or without a class for MASK.

    `step_matrix(t)` gives $Q_t$ for t = 1..T, `prior` is the distribution of $x_T$ from which the
    reverse process starts. The first `num_codes` classes are the clean tokens. Ready-made ones:
    `kernels.py`.

    Memory: about $\sqrt T$ matrices, never T of them; under autograd also one for each different
    level of the batch. Cost of a reverse step: one matrix product with $\bar Q_s$, $K^2$ for each
    token, after the matrices of each different level in the batch were made (`TransitionProducts`).

    The arithmetic is float64 inside (float32 on MPS); `dtype` is that of the result. Raises
    `ValueError` for steps or a prior that are no distributions; every method also for levels
    outside 0..T and, on the CPU, for tokens outside their range.
    """

    def __init__(
        self,
        step_matrix: StepMatrix,
        num_timesteps: int,
        prior: Float64[Tensor, " classes"],
        *,
        num_codes: int,
    ) -> None:
        check_sizes({"num_timesteps": num_timesteps})
        if not 1 <= num_codes <= len(prior):
            raise ValueError(f"num_codes is {num_codes}; allowed: 1 to {len(prior)}")
        check_distribution("the prior", prior)
        self.num_timesteps = num_timesteps
        self.num_codes = num_codes
        self.num_classes = len(prior)
        self.prior = prior
        self.products = TransitionProducts(step_matrix, num_timesteps, len(prior))

    def corrupt(
        self, x_0: Int[Tensor, "b n"], t: Level, *, generator: Generators = None
    ) -> Int[Tensor, "b n"]:
        """Draw x_t ~ q(x_t | x_0), which is `log_marginal`: one uniform number for each token."""
        log_q = self.log_marginal(x_0, t, dtype=finest_float(x_0.device))  # (b, n, classes)
        return sample_categorical(log_q, generator=generator)

    def log_marginal(
        self, x_0: Int[Tensor, "b n"], t: Level, *, dtype: torch.dtype = torch.float32
    ) -> Float[Tensor, "b n classes"]:
        r"""log q(x_t | x_0) for each class of x_t: where the clean token may be at level t.

        $q(x_t = j \mid x_0) = [\bar Q_t]_{x_0 j}$: a row.
        """
        check_tokens("x_0", x_0, self.num_codes)

        def rows(t: int, x_0: Tensor) -> Tensor:
            return self._between(0, t, x_0.device)[x_0].log().to(dtype)

        return self._by_level(rows, [t], [x_0])

    def log_likelihood(
        self, x_t: Int[Tensor, "b n"], t: Level, *, dtype: torch.dtype = torch.float32
    ) -> Float[Tensor, "b n codes"]:
        r"""log q(x_t | x_0 = k) for every clean code k that could be behind what we see.

        $q(x_t = i \mid x_0 = k) = [\bar Q_t]_{k i}$: a column.
        """
        return self.log_transition(x_t, 0, t, dtype=dtype)[..., : self.num_codes]

    def log_transition(
        self, x_t: Int[Tensor, "b n"], s: Level, t: Level, *, dtype: torch.dtype = torch.float32
    ) -> Float[Tensor, "b n classes"]:
        r"""log q(x_t | x_s = j) for every class j that the token could have had at level s.

        $q(x_t = i \mid x_s = j) = [Q_{t|s}]_{j i}$: a column; s may be t.
        """
        check_tokens("x_t", x_t, self.num_classes)

        def columns(s: int, t: int, x_t: Tensor) -> Tensor:
            return _log_columns(self._between(s, t, x_t.device), x_t).to(dtype)

        return self._by_level(columns, [s, t], [x_t])

    def log_marginal_under(
        self, log_p_x0: Float[Tensor, "b n codes"], s: Level
    ) -> Float[Tensor, "b n classes"]:
        r"""log of q(x_s | x_0), averaged over a distribution p of x_0, for each class of x_s.

        $\sum_k p_k\,q(x_s = j \mid x_0 = k)$: p times the matrix $\bar Q_s$.
        """

        def spread(s: int, log_p_x0: Tensor) -> Tensor:
            return log_matmul(log_p_x0, self._between(0, s, log_p_x0.device)[: self.num_codes])

        finest = log_p_x0.to(finest_float(log_p_x0.device))
        return self._by_level(spread, [s], [finest]).to(at_least_float32(log_p_x0))

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

        $q(x_s \mid x_t, x_0) \propto [\bar Q_s]_{x_0 x_s} [Q_{t|s}]_{x_s x_t}$: a row times a
        column. In place of an x_0 that x_t cannot come from stands the likeliest code, as in
        `log_reverse`.
        """
        check_tokens("x_0", x_0, self.num_codes)
        check_tokens("x_t", x_t, self.num_classes)

        def known(s: int, t: int, x_0: Tensor, x_t: Tensor) -> Tensor:
            to_s, to_t, step = self._stride(s, t, x_t)
            x_0 = torch.where(to_t[x_0, x_t] > 0, x_0, to_t.argmax(dim=0)[x_t])  # (b, n)
            return log_normalise(to_s[x_0].log() + _log_columns(step, x_t))  # (b, n, classes)

        return self._by_level(known, [s, t], [x_0, x_t]).to(dtype)

    def log_reverse(
        self, log_p_x0: Float[Tensor, "b n codes"], x_t: Int[Tensor, "b n"], s: Level, t: Level
    ) -> Float[Tensor, "b n classes"]:
        r"""log p(x_s | x_t): where was the token at level s, if we have a PREDICTION of x_0?

        $p(x_s = j \mid x_t) = [Q_{t|s}]_{j x_t} \sum_k [\bar Q_s]_{k j}
        \frac{\tilde p(x_0 = k \mid x_t)}{[\bar Q_t]_{k x_t}}$: the posteriors of every possible
        x_0, mixed by $\tilde p$; exact for each token and every stride s < t.

        Codes that x_t cannot come from are left out, whatever $\tilde p$ says of them. If it allows
        no other, the code that leads to x_t most often stands in for them, so that an unmasked
        token of the absorbing kernel stays what it is. Gradients are finite there too. Raises
        `ValueError` unless 0 <= s < t <= T, and for an x_t that no clean token leads to.
        """
        check_tokens("x_t", x_t, self.num_classes)

        def back(s: int, t: int, log_p_x0: Tensor, x_t: Tensor) -> Tensor:
            to_s, to_t, step = self._stride(s, t, x_t)
            log_likelihood = _log_columns(to_t, x_t)  # (b, n, K)
            # -inf - -inf is NaN: such a code is left out, whatever p says.
            impossible = log_likelihood.isneginf()
            log_weight = (log_p_x0 - log_likelihood).masked_fill(impossible, IMPOSSIBLE)
            nothing = log_weight.amax(dim=-1, keepdim=True).isneginf()  # (b, n, 1)
            likeliest = log_one_hot(to_t.argmax(dim=0)[x_t], self.num_codes, log_weight.dtype)
            log_weight = torch.where(nothing, likeliest, log_weight)
            # (b, n, K) times (K, classes), and the column of x_t: (b, n, classes)
            return log_normalise(log_matmul(log_weight, to_s) + _log_columns(step, x_t))

        finest = log_p_x0.to(finest_float(log_p_x0.device))
        return self._by_level(back, [s, t], [finest, x_t]).to(at_least_float32(log_p_x0))

    def log_prior(self) -> Float64[Tensor, " classes"]:
        """log p(x_T), from which the reverse process starts."""
        return self.prior.log()

    def _between(self, s: int, t: int, device: torch.device) -> Tensor:
        return self.products.between(s, t).to(device, finest_float(device))

    def _stride(self, s: int, t: int, x_t: Tensor) -> StrideMatrices:
        """The matrices of a reverse step; refuses an x_t that no clean token leads to."""
        check_stride(s, t)
        to_s = self._between(0, s, x_t.device)[: self.num_codes]
        to_t = self.products.between(0, t)[: self.num_codes]
        never = to_t.amax(dim=0) == 0  # (classes,)
        if never.any() and (unreachable := never.to(x_t.device)[x_t]).any():
            raise ValueError(
                f"x_t holds class {int(x_t[unreachable][0])} at level t = {t}; "
                f"allowed: {(~never).nonzero()[:, 0].tolist()}"
            )
        return StrideMatrices(to_s, to_t.to(to_s), self._between(s, t, x_t.device))

    def _by_level(
        self, work: Callable[..., Tensor], levels: Sequence[Level], rows: Sequence[Tensor]
    ) -> Tensor:
        """work(*levels, *rows), once for all rows of the batch that share the same levels.

        _by_level(work, [s, t], [x_t])  with s = [0, 3, 0], t = [1, 4, 1] makes two calls,
        work(0, 1, x_t[[0, 2]]) and work(3, 4, x_t[[1]]),
        and puts their rows back in the order of the batch.
        """
        for level in levels:
            check_level(level, self.num_timesteps)
        columns = [torch.as_tensor(level, device="cpu").expand(len(rows[0])) for level in levels]
        table = torch.stack(columns, dim=-1)  # (b, levels)
        distinct, which, counts = table.unique(dim=0, return_inverse=True, return_counts=True)
        if len(distinct) == 1:
            return work(*distinct[0].tolist(), *rows)
        # Sorted by their levels, rows of the same levels lie side by side and can be split off.
        order = which.argsort().to(rows[0].device)
        sorted_rows = [row[order].split(counts.tolist()) for row in rows]
        parts = [
            work(*numbers, *members)
            for numbers, *members in zip(distinct.tolist(), *sorted_rows, strict=True)
        ]
        return torch.cat(parts)[order.argsort()]  # the inverse of the sorting


def log_matmul(
    log_weights: Float[Tensor, "*b k"], matrix: Float[Tensor, "k j"]
) -> Float[Tensor, "*b j"]:
    r"""$\log \sum_k e^{w_k} M_{kj}$ as one matrix product; no gradient is ever NaN.

    The largest weight is moved to the top of the range of its type, not to 1: in float64 weights
    $10^{-580}$ times as large still count. A sum that has lost its digits passes no gradient on.
    """
    limits = torch.finfo(log_weights.dtype)
    top = log_weights.detach().amax(dim=-1, keepdim=True) - 0.9 * math.log(limits.max)
    sums = (log_weights - top).exp() @ matrix  # (..., j)
    lost = sums < limits.tiny / limits.eps  # denormal, or nearly: 1 / sum would overflow
    return torch.where(lost, sums.detach().log(), sums.masked_fill(lost, 1).log()) + top


def _log_columns(matrix: Tensor, x_t: Tensor) -> Tensor:
    """For every token the column of its class, as a logarithm: (b, n, rows of the matrix)."""
    return rearrange(matrix, "i j -> j i")[x_t].log()

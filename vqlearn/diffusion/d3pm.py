r"""Any corruption that is a Markov chain on classes: D3PM, with transition matrices.

A step is a matrix $Q_t$: row i holds the distribution of $x_t$ for a token that was in class i.
Products of steps give every distribution that a `Process` needs: $\bar Q_t = Q_1 \cdots Q_t$ leads
from the data to level t, $Q_{t|s} = Q_{s+1} \cdots Q_t$ from level s to level t.

Source: Austin et al. 2021, "Structured Denoising Diffusion Models in Discrete State-Spaces".
"""

import math
from collections.abc import Callable, Sequence

import torch
from einops import rearrange
from jaxtyping import Float, Float64, Int
from torch import Tensor

from vqlearn.diffusion.transition_products import StepMatrix, TransitionProducts, check_distribution
from vqlearn.probability.checks import Level, check_tokens
from vqlearn.probability.log_probs import IMPOSSIBLE, at_least_float32, log_normalise, log_one_hot
from vqlearn.probability.random import Generators, finest_float, sample_categorical


class DenseProcess:
    r"""The `Process` of any transition matrices, with or without a class for MASK.

    `step_matrix(t)` gives $Q_t$ for t = 1..T, `prior` is the distribution of $x_T$ that the bound
    starts from. The first `num_codes` classes are the clean tokens. Ready-made ones: `kernels.py`.

    Memory: about $\sqrt T$ matrices, never T of them; under autograd also one for each different
    level of the batch. Cost of the way back: one matrix product with $\bar Q_s$, $K^2$ for each
    token, after the matrices of each different level in the batch were made (`TransitionProducts`).

    The arithmetic is float64 inside (float32 on MPS); `dtype` is that of the result. Raises
    `ValueError` for steps or a prior that are no distributions; every method also for levels
    outside 0..T and, on the CPU, for tokens outside their range. Tested against sums over every
    path in `tests/diffusion/test_d3pm.py` and `tests/diffusion/test_kernels.py`.
    """

    def __init__(
        self,
        step_matrix: StepMatrix,
        num_timesteps: int,
        prior: Float64[Tensor, " classes"],
        *,
        num_codes: int,
    ) -> None:
        if num_timesteps < 1:
            raise ValueError(f"num_timesteps is {num_timesteps}; allowed: 1, 2, …")
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
        """Draw x_t ~ q(x_t | x_0), one uniform number for each token. Its distribution:
        `log_marginal`."""
        distribution = self.log_marginal(x_0, t, dtype=finest_float(x_0.device))
        return sample_categorical(distribution, generator=generator)

    def log_marginal(
        self, x_0: Int[Tensor, "b n"], t: Level, *, dtype: torch.dtype = torch.float32
    ) -> Float[Tensor, "b n classes"]:
        r"""How likely is each class at level t, if the clean token is x_0?

        $q(x_t = j \mid x_0) = [\bar Q_t]_{x_0 j}$: a row.
        """
        check_tokens("x_0", x_0, self.num_codes)

        def rows(t: int, x_0: Tensor) -> Tensor:
            return self._between(0, t, x_0.device)[x_0].log().to(dtype)

        return self._by_level(rows, [t], [x_0])

    def log_likelihood(
        self, x_t: Int[Tensor, "b n"], t: Level, *, dtype: torch.dtype = torch.float32
    ) -> Float[Tensor, "b n codes"]:
        r"""$q(x_t = i \mid x_0 = k) = [\bar Q_t]_{k i}$ for every clean code k: a column."""
        return self.log_transition(x_t, 0, t, dtype=dtype)[..., : self.num_codes]

    def log_transition(
        self, x_t: Int[Tensor, "b n"], s: Level, t: Level, *, dtype: torch.dtype = torch.float32
    ) -> Float[Tensor, "b n classes"]:
        r"""$q(x_t = i \mid x_s = j) = [Q_{t|s}]_{j i}$ for every class j of x_s; s may be t."""
        check_tokens("x_t", x_t, self.num_classes)

        def columns(s: int, t: int, x_t: Tensor) -> Tensor:
            return _log_columns(self._between(s, t, x_t.device), x_t).to(dtype)

        return self._by_level(columns, [s, t], [x_t])

    def log_marginal_under(
        self, log_p_x0: Float[Tensor, "b n codes"], s: Level
    ) -> Float[Tensor, "b n classes"]:
        r"""A predicted distribution over x_0, carried on to level s: $\sum_k \tilde p(x_0 =
        k)\,q(x_s \mid k)$."""

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
        r"""Where was the token at level s, if we see x_t and KNOW the clean token x_0?

        $q(x_s \mid x_t, x_0) \propto [\bar Q_s]_{x_0 x_s} [Q_{t|s}]_{x_s x_t}$: a row times a
        column. An x_0 that x_t cannot come from is treated as `log_reverse` does.
        """
        check_tokens("x_0", x_0, self.num_codes)
        check_tokens("x_t", x_t, self.num_classes)

        def known(s: int, t: int, x_0: Tensor, x_t: Tensor) -> Tensor:
            to_s, to_t, log_step = self._way_back(s, t, x_t)
            x_0 = torch.where(to_t[x_0, x_t] > 0, x_0, to_t.argmax(dim=0)[x_t])
            return log_normalise(to_s[x_0].log() + log_step)

        return self._by_level(known, [s, t], [x_0, x_t]).to(dtype)

    def log_reverse(
        self, log_p_x0: Float[Tensor, "b n codes"], x_t: Int[Tensor, "b n"], s: Level, t: Level
    ) -> Float[Tensor, "b n classes"]:
        r"""Where was the token at level s, if we see x_t and only BELIEVE something about x_0?

        $p(x_s = j \mid x_t) = [Q_{t|s}]_{j x_t} \sum_k [\bar Q_s]_{k j}
        \frac{\tilde p(x_0 = k \mid x_t)}{[\bar Q_t]_{k x_t}}$: the posteriors of every possible
        x_0, mixed by the predicted distribution; exact for every stride s < t.

        Codes that x_t cannot come from are left out, whatever the predicted distribution says of
        them. If the predicted distribution allows no other, the likeliest code takes their
        position, so that an unmasked token of the absorbing kernel stays what it is. Gradients are
        finite there too. Raises `ValueError` unless 0 <= s < t <= T, and for an x_t that no clean
        token leads to.
        """
        check_tokens("x_t", x_t, self.num_classes)

        def back(s: int, t: int, log_p_x0: Tensor, x_t: Tensor) -> Tensor:
            to_s, to_t, log_step = self._way_back(s, t, x_t)
            log_seen = _log_columns(to_t, x_t)
            log_weight = (log_p_x0 - log_seen).masked_fill(log_seen.isneginf(), IMPOSSIBLE)
            nothing = log_weight.amax(dim=-1, keepdim=True).isneginf()
            likeliest = log_one_hot(to_t.argmax(dim=0)[x_t], self.num_codes, log_weight.dtype)
            log_weight = torch.where(nothing, likeliest, log_weight)
            return log_normalise(log_matmul(log_weight, to_s) + log_step)

        finest = log_p_x0.to(finest_float(log_p_x0.device))
        return self._by_level(back, [s, t], [finest, x_t]).to(at_least_float32(log_p_x0))

    def log_prior(self) -> Float64[Tensor, " classes"]:
        """The distribution of x_T that the bound starts from."""
        return self.prior.log()

    def _between(self, s: int, t: int, device: torch.device) -> Tensor:
        return self.products.between(s, t).to(device, finest_float(device))

    def _way_back(self, s: int, t: int, x_t: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        r"""$\bar Q_s$ and $\bar Q_t$ from the codes on, and $\log q(x_t \mid x_s)$ for all x_s."""
        if s >= t:
            raise ValueError(f"the way back goes from t = {t} to s = {s}; allowed: s below t")
        to_s = self._between(0, s, x_t.device)[: self.num_codes]
        to_t = self.products.between(0, t)[: self.num_codes]
        never = to_t.amax(dim=0) == 0
        if never.any() and (unseen := never.to(x_t.device)[x_t]).any():
            raise ValueError(
                f"x_t holds class {int(x_t[unseen][0])} at level t = {t}; "
                f"allowed: {(~never).nonzero()[:, 0].tolist()}"
            )
        step = self._between(s, t, x_t.device)
        return to_s, to_t.to(to_s), _log_columns(step, x_t)

    def _by_level(
        self, work: Callable[..., Tensor], levels: Sequence[Level], rows: Sequence[Tensor]
    ) -> Tensor:
        """work(*levels, *rows), once for all rows of the batch that share the same levels."""
        count = len(rows[0])
        columns = [torch.as_tensor(level, device="cpu").reshape(-1) for level in levels]
        table = torch.stack([column.expand(count) for column in columns], dim=-1)
        outside = table[(table < 0) | (table > self.num_timesteps)]
        if len(outside) > 0:
            raise ValueError(f"level t is {outside[0]}; allowed: 0 to {self.num_timesteps}")
        distinct, which, counts = table.unique(dim=0, return_inverse=True, return_counts=True)
        if len(distinct) == 1:
            return work(*distinct[0].tolist(), *rows)
        order = which.argsort().to(rows[0].device)
        sorted_rows = [row[order].split(counts.tolist()) for row in rows]
        parts = [
            work(*numbers, *members)
            for numbers, *members in zip(distinct.tolist(), *sorted_rows, strict=True)
        ]
        return torch.cat(parts)[order.argsort()]


def log_matmul(
    log_weights: Float[Tensor, "*b k"], matrix: Float[Tensor, "k j"]
) -> Float[Tensor, "*b j"]:
    r"""$\log \sum_k e^{w_k} M_{kj}$ as one matrix product; no gradient is ever NaN.

    The largest weight is moved to the top of the range of its type, not to 1: in float64 weights
    $10^{-580}$ times as large still count. A sum that has lost its digits passes no gradient on.
    """
    limits = torch.finfo(log_weights.dtype)
    top = log_weights.detach().amax(dim=-1, keepdim=True) - 0.9 * math.log(limits.max)
    sums = (log_weights - top).exp() @ matrix
    lost = sums < limits.tiny / limits.eps
    return torch.where(lost, sums.detach().log(), sums.masked_fill(lost, 1).log()) + top


def _log_columns(matrix: Tensor, x_t: Tensor) -> Tensor:
    """For every token the column of its class, as a logarithm: (b, n, rows of the matrix)."""
    return rearrange(matrix, "i j -> j i")[x_t].log()

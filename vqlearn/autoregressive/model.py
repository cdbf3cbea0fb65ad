r"""One token after the other: the exact likelihood, and the one sampling loop.

$p(x) = \prod_i p(x_i \mid x_1 \ldots x_{i-1})$. The order is that of reading: row by row from the
top left, and inside a pixel red, green, blue. No bound is needed: the product is the likelihood.

A network meets this file as one of two functions. `Conditionals` looks at a whole row at once and
gives all n distributions: for training and for likelihoods. `NextTokenLogProbs` gives the
distribution of the next token alone: for sampling. `without_cache` makes the second of the first; a
network that remembers what it has read (a KV cache) can do better.
"""

from collections.abc import Callable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from vqlearn.probability.filters import Filter, guide
from vqlearn.probability.random import Generators, sample_categorical

Conditionals = Callable[[Int[Tensor, "b n"]], Float[Tensor, "b n k"]]
"""conditionals(x): normalised log p(x_i | x_1..x_{i-1}); position i must not depend on x_i..x_n."""

NextTokenLogProbs = Callable[[Int[Tensor, "b i"]], Float[Tensor, "b k"]]
"""next_token_log_probs(prefix): normalised log p(x_{i+1} | x_1..x_i), asked for i = 0, 1, … n - 1
in turn."""


def log_likelihood(conditionals: Conditionals, x: Int[Tensor, "b n"]) -> Float[Tensor, " b"]:
    """log p(x) of each row in nats, exactly: one call for all positions."""
    return conditionals(x).gather(-1, x[..., None])[..., 0].sum(dim=1)


def sequential_log_likelihood(
    next_token_log_probs: NextTokenLogProbs, x: Int[Tensor, "b n"]
) -> Float[Tensor, " b"]:
    """The same number, token by token, as the sampler would have seen it: n calls."""
    nats = 0.0
    for i in range(x.shape[1]):
        nats = nats + next_token_log_probs(x[:, :i]).gather(-1, x[:, i : i + 1])[:, 0]
    return nats


def without_cache(conditionals: Conditionals, num_positions: int) -> NextTokenLogProbs:
    """The next distribution of a network that remembers nothing: it reads the whole row again.

    What stands after the prefix is 0, and must not matter.
    """

    def next_token_log_probs(prefix: Int[Tensor, "b i"]) -> Float[Tensor, "b k"]:
        row = prefix.new_zeros(len(prefix), num_positions)
        row[:, : prefix.shape[1]] = prefix
        return conditionals(row)[:, prefix.shape[1]]

    return next_token_log_probs


@torch.no_grad()
def sample(
    next_token_log_probs: NextTokenLogProbs,
    prefix: Int[Tensor, "b i"],
    num_positions: int,
    *,
    filter: Filter | None = None,
    generator: Generators = None,
) -> Int[Tensor, "b n"]:
    """Draw the rest of each row, one token at a time; an empty prefix draws all of it.

    Costs one call for each token, the ones of the prefix included, since a network with a cache
    has to read them. The distribution of the result is `exact_distribution`. Raises `ValueError`
    for a prefix that is longer than the row.
    """
    if prefix.shape[1] > num_positions:
        raise ValueError(f"a prefix of {prefix.shape[1]} tokens; allowed: 0 to {num_positions}")
    x = prefix
    for i in range(num_positions):
        log_p = next_token_log_probs(x[:, :i])
        if i >= prefix.shape[1]:
            log_p = log_p if filter is None else filter(log_p)
            x = torch.cat([x, sample_categorical(log_p[:, None], generator=generator)], dim=1)
    return x


@torch.no_grad()
def exact_distribution(
    next_token_log_probs: NextTokenLogProbs,
    num_codes: int,
    num_positions: int,
    *,
    filter: Filter | None = None,
) -> Float[Tensor, " states"]:
    """How likely is each row to be drawn by `sample`? All K^n rows, the last token fastest.

    The distribution is asked for all prefixes of one length at once, so it must remember nothing:
    `without_cache`.
    """
    rows, log_p = torch.zeros(1, 0, dtype=torch.long), torch.zeros(1, dtype=torch.float64)
    codes = torch.arange(num_codes)
    for _ in range(num_positions):
        distribution = next_token_log_probs(rows)
        distribution = distribution if filter is None else filter(distribution)
        log_p = (log_p[:, None] + distribution.double()).flatten()
        ends = codes.repeat(len(rows))[:, None]
        rows = torch.cat([rows.repeat_interleave(num_codes, dim=0), ends], dim=1)
    return log_p.exp()


def dependence(
    output: Callable[[Float[Tensor, "n d"]], Float[Tensor, "n k"]], inputs: Float[Tensor, "n d"]
) -> Bool[Tensor, "n n"]:
    """Which inputs can change which outputs? Entry (i, j): the distribution of position i depends
    on input j.

    By gradients, at these inputs: of all numbers of output i with respect to input j. A leak is
    an entry with j >= i, a blind spot a missing one with j < i.
    """
    jacobian = torch.autograd.functional.jacobian(output, inputs)  # (n, k, n, d)
    return (jacobian != 0).any(dim=3).any(dim=1)


def guide_next(
    conditional: NextTokenLogProbs, unconditional: NextTokenLogProbs, scale: float
) -> NextTokenLogProbs:
    r"""The next distribution with `scale` times as much of what the caption adds: see
    `filters.guide`.

    $\log u + s\,(\log c - \log u)$, renormalised for each token alone: so the distribution of the
    whole row is not the guided distribution of rows. Costs two networks, or one that is asked
    twice.
    """

    def next_token_log_probs(prefix: Int[Tensor, "b i"]) -> Float[Tensor, "b k"]:
        distributions = (
            distribution(prefix)[:, None] for distribution in (conditional, unconditional)
        )  # (b, 1, K)
        return guide(*distributions, scale)[:, 0]

    return next_token_log_probs

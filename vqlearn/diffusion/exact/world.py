"""Toy distributions of tokens that can be enumerated: exact worlds with their true denoiser.

An `ExactWorld` is a joint distribution over n tokens of K codes, small enough to list: its TRUE
denoiser p(x_0 | x_t) can be computed, and so can the exact distribution of what any sampler
returns. What goes wrong in such a world is the sampler's fault alone: there is no network to blame.
"""

import math
from collections.abc import Sequence
from itertools import pairwise, product

import torch
from einops import einsum, rearrange, repeat
from jaxtyping import Float64, Int
from torch import Tensor
from torch.nn import functional

from vqlearn.diffusion.objective import bound_term, prior_term
from vqlearn.diffusion.process import Process
from vqlearn.diffusion.sampler import Denoise
from vqlearn.probability import Given
from vqlearn.probability.checks import Level

MAX_STATES = 20_000
CHUNK = 512


class ExactWorld:
    """A joint distribution p(x_0) over n tokens of K codes, given as a table of shape (K, ..., K).

    Raises `ValueError` if the table is no distribution (negative, or not summing to 1), if its axes
    differ in length, or if the (K + 1)^n corrupted states are more than 20,000.
    """

    def __init__(self, table: Tensor) -> None:
        table = table.double()
        if len(set(table.shape)) != 1:
            raise ValueError(f"the table has the shape {tuple(table.shape)}; allowed: equal axes")
        if not ((table >= 0).all() and abs(float(table.sum()) - 1) < 1e-6):
            raise ValueError(f"the table sums to {float(table.sum())}; allowed: 1, nothing below 0")
        self.num_positions, self.num_codes = table.ndim, table.shape[0]
        states = (self.num_codes + 1) ** self.num_positions
        if states > MAX_STATES:
            raise ValueError(f"the world has {states} corrupted states; allowed: {MAX_STATES}")
        self.distribution = (table / table.sum()).flatten()
        self.states = all_states(self.num_codes, self.num_positions)

    def denoiser(self, process: Process) -> Denoise:
        r"""The true denoiser: $p(x_0^i = k \mid x_t)$ for each token i, by Bayes over all x_0.

        An x_t that the process can never reach has no posterior: there each token has its own
        marginal distribution.
        """
        one_hot = functional.one_hot(self.states, self.num_codes).double()  # (states, n, K)

        def denoise(x_t: Tensor, t: Level) -> Tensor:
            per_code = process.log_likelihood(x_t, t, dtype=torch.float64).exp()  # (b, n, K)
            # Tokens are corrupted independently: the likelihood of x_0 is a product over them.
            per_token = einsum(one_hot, per_code, "states n k, b n k -> b states n")
            joint = per_token.prod(dim=-1) * self.distribution  # (b, states): p(x_t, x_0)
            total = joint.sum(dim=-1, keepdim=True)  # (b, 1)
            posterior = torch.where(total > 0, joint / total, self.distribution)
            return einsum(posterior, one_hot, "b states, states n k -> b n k").log()

        return denoise

    def corrupted_distribution(self, process: Process, t: int) -> Float64[Tensor, " states"]:
        """The true distribution of x_t, over `all_states(num_classes, n)` in their order."""
        distribution = torch.zeros(process.num_classes**self.num_positions, dtype=torch.float64)
        for x_0, weight in zip(
            self.states.split(CHUNK), self.distribution.split(CHUNK), strict=True
        ):
            one_token = process.log_marginal(x_0, t, dtype=torch.float64).exp()  # (chunk, n, k)
            distribution += weight @ _joint_distribution(one_token)
        return distribution

    def data_distribution(self, process: Process) -> Float64[Tensor, " states"]:
        """The distribution of the data, written over all states of the process (no MASK occurs)."""
        return self.corrupted_distribution(process, 0)


def all_states(num_classes: int, num_positions: int) -> Int[Tensor, "states n"]:
    """Every sequence of n tokens, in counting order: the last token runs fastest."""
    return torch.tensor(list(product(range(num_classes), repeat=num_positions)))


def point_distribution(process: Process, x_t: Int[Tensor, " n"]) -> Float64[Tensor, " states"]:
    """The distribution that has all its mass on one state, such as the all-MASK start."""
    same = (all_states(process.num_classes, len(x_t)) == x_t).all(dim=-1)
    return same.double()


def prior_distribution(process: Process, num_positions: int) -> Float64[Tensor, " states"]:
    """The distribution of n independent tokens drawn from the process' prior."""
    one_token = repeat(process.log_prior().exp(), "k -> 1 n k", n=num_positions)
    return _joint_distribution(one_token)[0]


def held(
    process: Process, distribution: Float64[Tensor, " states"], given: Given | None
) -> Float64[Tensor, " states"]:
    """The distribution after the given tokens, one sequence of them, are put into every state."""
    if given is None:
        return distribution
    n = given.tokens.shape[1]
    powers = process.num_classes ** torch.arange(n - 1, -1, -1)
    target = (given.keep(all_states(process.num_classes, n)) * powers).sum(dim=-1)
    return torch.zeros_like(distribution).index_add(0, target, distribution)


def sampler_distribution(
    process: Process,
    denoise: Denoise,
    start: Float64[Tensor, " states"],
    levels: Sequence[int],
    *,
    given: Given | None = None,
) -> Float64[Tensor, " states"]:
    """The exact distribution of what `sampler.sample` returns, if its x_t is drawn from `start`.

    The chain is propagated over all states: no randomness, no error but rounding. It begins at
    levels[0] and costs states^2 for each step. The steps are those of `sampler.sample`: given x_t,
    the tokens of one step are drawn independently of each other, so their joint distribution is a
    product. What that costs in long strides is included. Given tokens, one sequence of them, are
    held in the same way.
    """
    num_positions = round(math.log(len(start), process.num_classes))
    states = all_states(process.num_classes, num_positions)
    distribution = held(process, start, given)
    for t, s in pairwise(levels):
        after = torch.zeros_like(distribution)
        reachable = distribution > 0
        for x_t, weight in zip(
            states[reachable].split(CHUNK), distribution[reachable].split(CHUNK), strict=True
        ):
            one_token = process.log_reverse(denoise(x_t, t), x_t, s, t).exp()  # (chunk, n, k)
            after += weight @ _joint_distribution(one_token)  # over all x_s
        distribution = held(process, after, given)
    return distribution


def total_variation(p: Float64[Tensor, " states"], q: Float64[Tensor, " states"]) -> float:
    """Half the sum of absolute differences: 0 for equal, 1 for disjoint distributions."""
    return float((p - q).abs().sum() / 2)


def exact_bound(
    process: Process, denoise: Denoise, x_0: Int[Tensor, "b n"]
) -> Float64[Tensor, " b"]:
    """The negative ELBO of `objective.variational_bound`, with every expectation taken exactly.

    Nats per sequence, prior included. Costs T * states for each sequence.
    """
    states = all_states(process.num_classes, x_0.shape[1])
    nats = prior_term(process, x_0).sum(dim=1)
    for t in range(1, process.num_timesteps + 1):
        one_token = process.log_marginal(x_0, t, dtype=torch.float64).exp()
        weights = _joint_distribution(one_token)  # (b, states)
        # Asked once for every state, and used for every sequence: (states, n, K).
        log_p_x0 = torch.cat([denoise(x_t, t) for x_t in states.split(CHUNK)])
        for row, tokens in enumerate(x_0):
            reachable = weights[row] > 0  # elsewhere there is no posterior to compare with
            x_t = states[reachable]
            clean = repeat(tokens, "n -> states n", states=len(x_t))
            terms = bound_term(process, log_p_x0[reachable], clean, x_t, t).sum(dim=1)
            nats[row] += weights[row, reachable] @ terms
    return nats


def _joint_distribution(one_token: Float64[Tensor, "b n k"]) -> Float64[Tensor, "b states"]:
    """The distribution of n independent tokens over `all_states`, in their order."""
    joint = one_token[:, 0]  # (b, k), then (b, k^2), (b, k^3), …
    for position in range(1, one_token.shape[1]):
        outer = einsum(joint, one_token[:, position], "b states, b k -> b states k")
        joint = rearrange(outer, "b states k -> b (states k)")
    return joint

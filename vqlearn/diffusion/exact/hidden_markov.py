r"""A longer exact world: a Markov chain of tokens, hidden behind its corruption.

`world.ExactWorld` lists all sequences, so it ends at a few tokens. Here $x_0$ is a Markov chain,
and every token of $x_t$ is a noisy look at one token of $x_0$: that is a hidden Markov model, and
the forward-backward algorithm gives the TRUE $p(x_0^i \mid x_t)$ of hundreds of tokens, at n K^2
operations. The distribution of a sampler can no longer be listed; what it draws can be counted, and
compared with what the chain says of pairs of tokens, of code changes, and of its own entropy.

The idea, a sampler that is judged alone because its denoiser is the exact posterior of a hidden
Markov model, is that of Luhan Tang et al. 2026, https://arxiv.org/abs/2602.19619.
"""

import torch
from jaxtyping import Float64, Int
from torch import Tensor

from vqlearn.diffusion.process import Process
from vqlearn.diffusion.sampler import Denoise
from vqlearn.diffusion.transition_products import check_distribution
from vqlearn.probability import Generators, sample_categorical
from vqlearn.probability.checks import Level, check_integer, check_sequences


class MarkovWorld:
    r"""A Markov chain of n tokens of K codes: $p(x_0) = \pi(x^1) \prod_i A(x^i, x^{i+1})$.

    `first` is the distribution $\pi$ of the first token; row j of `step`, the matrix A, is that of
    the token after code j. Numbers are float64. Raises `ValueError` if either is no distribution,
    if their sizes differ, and for fewer than one position.
    """

    def __init__(
        self,
        first: Float64[Tensor, " k"],
        step: Float64[Tensor, "from_k to_k"],
        num_positions: int,
    ) -> None:
        check_integer("num_positions", num_positions, 1)
        self.num_positions, self.num_codes = num_positions, len(first)
        shape = (self.num_codes, self.num_codes)
        if tuple(step.shape) != shape:
            raise ValueError(f"step has the shape {tuple(step.shape)}; allowed: {shape}")
        check_distribution("first", first)
        check_distribution("step", step)
        self.first, self.step = _normalised(first), _normalised(step)

    def sample(self, count: int, *, generator: Generators = None) -> Int[Tensor, "b n"]:
        """Draw sequences of the data, token by token."""
        log_first, log_step = self.first.log(), self.step.log()
        log_p = log_first.expand(count, 1, -1)  # (b, 1, K)
        tokens = [sample_categorical(log_p, generator=generator)]
        for _ in range(1, self.num_positions):
            tokens.append(sample_categorical(log_step[tokens[-1]], generator=generator))
        return torch.cat(tokens, dim=1)

    def log_prob(self, x_0: Int[Tensor, "b n"]) -> Float64[Tensor, " b"]:
        """log p(x_0) in nats for each sequence, -inf for impossible ones.

        Raises `ValueError` for sequences of another length, or tokens that are no codes.
        """
        check_sequences("x_0", x_0, self.num_positions, self.num_codes)
        steps = self.step.log()[x_0[:, :-1], x_0[:, 1:]]  # (b, n - 1)
        return self.first.log()[x_0[:, 0]] + steps.sum(dim=1)

    def denoiser(self, process: Process) -> Denoise:
        r"""The true denoiser: $p(x_0^i = k \mid x_t)$ for each token i, by forward-backward.

        For every process that corrupts tokens independently of each other. An x_t that the process
        can never reach has no posterior: there each token has its own marginal distribution.
        """
        marginals = self.marginals()

        def denoise(x_t: Tensor, t: Level) -> Tensor:
            likelihood = process.log_likelihood(x_t, t, dtype=torch.float64).exp()  # (b, n, K)
            before, after = self._before(likelihood), self._after(likelihood)
            joint = before * likelihood * after  # (b, n, K): p(x_0^i = k, x_t) but for a factor
            possible = (joint.sum(dim=-1, keepdim=True) > 0).all(dim=1, keepdim=True)
            return torch.where(possible, _normalised(joint), marginals).log()

        return denoise

    def _before(self, likelihood: Float64[Tensor, "b n k"]) -> Float64[Tensor, "b n k"]:
        """p(x_0^i = k | x_t^1 … x_t^(i-1)) for each token i: the forward pass."""
        messages = [self.first.expand_as(likelihood[:, 0])]
        for here in likelihood[:, :-1].unbind(dim=1):
            messages.append(_normalised(messages[-1] * here) @ self.step)
        return torch.stack(messages, dim=1)

    def _after(self, likelihood: Float64[Tensor, "b n k"]) -> Float64[Tensor, "b n k"]:
        """p(x_t^(i+1) … x_t^n | x_0^i = k) for each token i, but for a factor: the backward pass.

        Normalised at every token, as is the forward pass: 256 factors of 1e-9 would be 0.
        """
        messages = [torch.ones_like(likelihood[:, 0])]
        for here in reversed(likelihood[:, 1:].unbind(dim=1)):
            messages.append(_normalised(messages[-1] * here) @ self.step.T)
        return torch.stack(messages[::-1], dim=1)

    def marginals(self) -> Float64[Tensor, "n k"]:
        """The distribution of each token alone."""
        rows = [self.first]
        for _ in range(1, self.num_positions):
            rows.append(rows[-1] @ self.step)
        return torch.stack(rows)

    def pair_distribution(self, i: int, j: int) -> Float64[Tensor, "k k"]:
        """The joint distribution of the tokens at two positions i < j: rows are those of i.

        Raises `ValueError` for other positions.
        """
        check_integer("j", j, 1, self.num_positions - 1)
        check_integer("i", i, 0, j - 1)
        return self.marginals()[i][:, None] * torch.linalg.matrix_power(self.step, j - i)

    def changes_distribution(self) -> Float64[Tensor, " n"]:
        """How many of the n - 1 steps lead to another code: the probabilities of 0, …, n - 1."""
        same = torch.diag(self.step.diagonal())  # (K, K): steps that change nothing
        counts = self.first.new_zeros(self.num_positions, self.num_codes)  # (changes, last code)
        counts[0] = self.first
        for _ in range(1, self.num_positions):
            moved = (counts @ (self.step - same)).roll(1, dims=0)  # n - 1 changes never move on
            counts = counts @ same + moved
        return counts.sum(dim=1)

    def entropy(self) -> float:
        """The mean of -log p(x_0) over the data, in nats per sequence."""
        rows = _entropy(self.step)  # (K,): of the next token after each code
        return float(_entropy(self.first) + (self.marginals()[:-1] @ rows).sum())


def _entropy(p: Tensor) -> Tensor:
    return torch.special.entr(p).sum(dim=-1)


def _normalised(p: Tensor) -> Tensor:
    """Rows that sum to 1; a row of zeros stays one."""
    total = p.sum(dim=-1, keepdim=True)
    return p / total.masked_fill(total == 0, 1)

r"""One token after the other: the sampling loop, and what may be done to the next distribution.

Everything here works on one function, `next_token_log_probs(prefix)`. A network's own is
`AutoregressiveModel.decoder`. `without_cache` makes one of any network that gives all conditional
distributions at once, `CachedDecoder` one of a network with a KV cache.
"""

from collections.abc import Callable

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from vqlearn.probability import (
    Conditioning,
    Filter,
    Generators,
    Given,
    Sampling,
    guide,
    log_normalise,
    log_one_hot,
    sample_categorical,
    top_p,
)
from vqlearn.probability.checks import check_number, check_tokens

Conditionals = Callable[[Int[Tensor, "b n"]], Float[Tensor, "b n k"]]
"""conditionals(x): normalised log p(x_i | x_1..x_{i-1}); position i must not depend on x_i..x_n."""

NextTokenLogProbs = Callable[[Int[Tensor, "b i"]], Float[Tensor, "b k"]]
"""next_token_log_probs(prefix): normalised log p(x_{i+1} | x_1..x_i), asked for i = 0, 1, … n - 1
in turn."""


def without_cache(conditionals: Conditionals, num_positions: int) -> NextTokenLogProbs:
    """The next distribution of a network without a KV cache: it reads the whole sequence again.

    What stands after the prefix is 0, and must not matter.
    """

    def next_token_log_probs(prefix: Int[Tensor, "b i"]) -> Float[Tensor, "b k"]:
        x = prefix.new_zeros(len(prefix), num_positions)
        x[:, : prefix.shape[1]] = prefix
        return conditionals(x)[:, prefix.shape[1]]

    return next_token_log_probs


class CachedDecoder:
    """The next distribution of a network with a KV cache: a `NextTokenLogProbs`.

    `network` has `prefill`, `start`, `token_embedding` and `decode`, as `RasterTransformer` has. It
    reads what stands before the tokens, `source` (here l text states), then one input in each call.
    Token i costs O((l + i) d + d²) for each layer; without a cache as much as a whole sequence. One
    decoder serves one sampling run, without gradients.

    Raises `ValueError` for a prefix out of turn (each is one token longer, the first is empty), for
    another batch size, or (on the CPU only) for other tokens than those that were read.
    """

    def __init__(self, network: nn.Module, source: Tensor | None = None) -> None:
        self.network, self.source, self.turn = network, source, 0

    @torch.no_grad()
    def __call__(self, prefix: Int[Tensor, "b i"]) -> Float[Tensor, "b k"]:
        self._check(prefix)
        if self.turn == 0:
            self.caches = self.network.prefill(len(prefix), self.source)
            inputs = self.network.start(len(prefix))
        else:
            inputs = self.network.token_embedding(prefix[:, -1:])
        scores = self.network.decode(inputs, self.caches)  # (b, 1, K)
        self.turn, self.read = self.turn + 1, prefix
        return log_normalise(scores[:, 0])

    def _check(self, prefix: Tensor) -> None:
        (count, length), config = prefix.shape, self.network.config
        if length != self.turn:
            raise ValueError(f"the prefix has {length} tokens; allowed: {self.turn}, in turn")
        if length == config.num_positions:
            raise ValueError(f"the prefix has {length} tokens; allowed: none, it is complete")
        check_tokens("prefix", prefix, config.num_codes)
        read = self.read if length else prefix
        if count != len(read):
            raise ValueError(f"the number of sequences is {count}; allowed: {len(read)}, as before")
        if prefix.device.type == "cpu" and not torch.equal(prefix[:, :-1], read):
            raise ValueError("the prefix has other tokens than before; allowed: one more token")


@torch.no_grad()
def sample(
    next_token_log_probs: NextTokenLogProbs,
    prefix: Int[Tensor, "b i"],
    num_positions: int,
    *,
    filter: Filter | None = None,
    generator: Generators = None,
) -> Int[Tensor, "b n"]:
    """Draw the rest of each sequence, one token at a time; an empty prefix draws all of it.

    Costs one call for each token, the ones of the prefix included, since a network with a cache
    has to read them. The distribution of the result is `exact_distribution`. Raises `ValueError`
    for a prefix that is longer than the sequence.
    """
    if prefix.shape[1] > num_positions:
        raise ValueError(f"the prefix has {prefix.shape[1]} tokens; allowed: 0 to {num_positions}")
    x = prefix
    for i in range(num_positions):
        log_p = next_token_log_probs(x[:, :i])  # (b, K)
        if i >= prefix.shape[1]:
            log_p = log_p if filter is None else filter(log_p)
            drawn = sample_categorical(log_p[:, None], generator=generator)  # (b, 1)
            x = torch.cat([x, drawn], dim=1)
    return x


@torch.no_grad()
def exact_distribution(
    next_token_log_probs: NextTokenLogProbs,
    num_codes: int,
    num_positions: int,
    *,
    filter: Filter | None = None,
) -> Float[Tensor, " states"]:
    """The probability of each sequence to be drawn by `sample`: all K^n, the last token fastest.

    The distribution is asked for all prefixes of one length at once, so it must not hold a KV
    cache: `without_cache`.
    """
    x, log_p = torch.zeros(1, 0, dtype=torch.long), torch.zeros(1, dtype=torch.float64)
    codes = torch.arange(num_codes)
    for _ in range(num_positions):
        distribution = next_token_log_probs(x)  # (K^i, K)
        distribution = distribution if filter is None else filter(distribution)
        # float64: a probability of a sequence is a product of n small numbers.
        log_p = (log_p[:, None] + distribution.double()).flatten()  # (K^i, K) -> (K^(i+1),)
        ends = codes.repeat(len(x))[:, None]
        x = torch.cat([x.repeat_interleave(num_codes, dim=0), ends], dim=1)  # (K^(i+1), i + 1)
    return log_p.exp()


def sequential_log_likelihood(
    next_token_log_probs: NextTokenLogProbs, x: Int[Tensor, "b n"]
) -> Float[Tensor, " b"]:
    """log p(x) of each sequence in nats, token by token, as the sampler would see it: n calls."""
    turns = range(x.shape[1])
    return sum(next_token_log_probs(x[:, :i]).gather(-1, x[:, i, None])[:, 0] for i in turns)


def decoder_for(
    plain_decoder: Callable[[Float[Tensor, "_ l c"] | None], NextTokenLogProbs],
    condition: Conditioning | None,
    sampling: Sampling,
) -> NextTokenLogProbs:
    r"""The next distribution guided (`filters.guide`) and truncated (`filters.top_p`).

    `plain_decoder(text)` is the network's own after the captions `text`. It is asked twice for
    guidance: with the condition, and with the null embedding (once for all sequences, or for each).

    Guidance renormalises $\log u + s\,(\log c - \log u)$ for each token alone: so the distribution
    of the whole sequence is not the guided distribution of sequences. There is no noise level:
    raises `TypeError` for a guidance scale that is a function of it.
    """
    check_number("guidance_scale", sampling.guidance_scale)
    decoder = plain_decoder(None if condition is None else condition.text)
    if sampling.is_guided:
        unconditional = plain_decoder(condition.null.to(condition.text.dtype))

    def next_token_log_probs(prefix: Int[Tensor, "b i"]) -> Float[Tensor, "b k"]:
        log_p = decoder(prefix)
        if sampling.is_guided:
            log_p = guide(log_p, unconditional(prefix), sampling.guidance_scale)
        return top_p(log_p, sampling.truncation_rate)

    return next_token_log_probs


def keep_given(next_token_log_probs: NextTokenLogProbs, given: Given) -> NextTokenLogProbs:
    """The same next distribution, but a given token comes with certainty when it is its turn.

    Tokens are still drawn in raster order: a token given further on changes nothing before it.
    """

    def kept(prefix: Int[Tensor, "b i"]) -> Float[Tensor, "b k"]:
        log_p, i = next_token_log_probs(prefix), prefix.shape[1]
        certain = log_one_hot(given.tokens[:, i], log_p.shape[-1], log_p.dtype)
        return torch.where(given.where[:, i, None], certain, log_p)

    return kept

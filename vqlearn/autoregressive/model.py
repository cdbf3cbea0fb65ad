r"""One token after the other: the exact likelihood, and what every such network can do.

$p(x) = \prod_i p(x_i \mid x_1 \ldots x_{i-1})$. The order is that of reading: row by row from the
top left, and inside a pixel red, green, blue. No bound is needed: the product is the likelihood.

Two functions say all of it. One reads a whole sequence at once and gives all n conditional
distributions (`AutoregressiveModel.log_probs`): for training and for likelihoods. The other gives
the distribution of the next token alone (`AutoregressiveModel.decoder`): for sampling.
"""

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from vqlearn.autoregressive import decoding
from vqlearn.autoregressive.decoding import NextTokenLogProbs
from vqlearn.probability import (
    PLAIN,
    Conditioning,
    Generators,
    Given,
    Sampling,
    check_condition,
    check_request,
    log_normalise,
)


def log_likelihood(log_probs: Float[Tensor, "b n k"], x: Int[Tensor, "b n"]) -> Float[Tensor, " b"]:
    """log p(x) of each sequence in nats: the sum of what each token has under its distribution."""
    return log_probs.gather(-1, x[..., None])[..., 0].sum(dim=1)


class AutoregressiveModel(nn.Module):
    r"""A network whose output at position i depends on earlier tokens alone; a `TokenModel`.

    A subclass has `embed(x)`, which gives the vectors of the tokens, and `from_embedding(h)`, or
    `from_embedding(h, text)`: from the vectors to unnormalised scores of the K codes. They are two
    functions so that `dependence` can differentiate with respect to the vectors. `config` has
    `num_codes` and `num_positions`, and with text a `text_width`.
    """

    exact = True

    def __init__(self, config: Any):
        super().__init__()
        self.config = config
        self.num_codes, self.num_positions = config.num_codes, config.num_positions
        self.reads_text = getattr(config, "text_width", None) is not None

    def forward(
        self, x: Int[Tensor, "b n"], *text: Float[Tensor, "_ l c"] | None
    ) -> Float[Tensor, "b n k"]:
        r"""Scores of $p(x_i \mid x_1 \ldots x_{i-1}, y)$ at every position i, not normalised.

        The text states are those of one caption for each sequence, or of one for all. Raises
        `ValueError` for sequences or text of another size, and on the CPU for tokens outside
        0..K - 1; elsewhere that check would wait for the device.
        """
        return self.from_embedding(self.embed(x), *text)

    def log_probs(
        self, x: Int[Tensor, "b n"], condition: Conditioning | None = None
    ) -> Float[Tensor, "b n k"]:
        r"""$\log p(x_i \mid x_1 \ldots x_{i-1}, y)$ of all K codes at every position: one call.

        Raises `ValueError` for sequences and conditions that the network does not read.
        """
        check_condition(condition, reads_text=self.reads_text)
        return log_normalise(self(x) if condition is None else self(x, condition.text))

    def log_likelihood(
        self, x: Int[Tensor, "b n"], condition: Conditioning | None = None
    ) -> Float[Tensor, " b"]:
        """log p(x | condition) of each sequence in nats, exactly; differentiable."""
        return log_likelihood(self.log_probs(x, condition), x)

    def loss(
        self,
        x: Int[Tensor, "b n"],
        condition: Conditioning | None = None,
        *,
        generator: torch.Generator | None = None,
    ) -> Float[Tensor, " b"]:
        """-log p(x | condition) / n, nats per token; nothing is random.

        Every token is asked for after the true tokens before it, whatever the network would have
        written there ("teacher forcing"): one call gives the loss of all n positions.
        """
        return -self.log_likelihood(x, condition) / self.num_positions

    @torch.no_grad()
    def nll(
        self,
        x: Int[Tensor, "b n"],
        condition: Conditioning | None = None,
        *,
        generator: torch.Generator | None = None,
    ) -> Float[Tensor, " b"]:
        """-log p(x | condition) itself, nats per sequence; nothing is random."""
        return -self.log_likelihood(x, condition)

    def plain_decoder(self, text: Float[Tensor, "_ l c"] | None) -> NextTokenLogProbs:
        """The next distribution for one sampling run, as it is; without a KV cache."""
        condition = None if text is None else Conditioning(text)
        return decoding.without_cache(lambda x: self.log_probs(x, condition), self.num_positions)

    def decoder(
        self, condition: Conditioning | None = None, sampling: Sampling = PLAIN
    ) -> NextTokenLogProbs:
        """What `sample` draws from: the next distribution, guided and truncated.

        It serves one sampling run. Raises `ValueError` for a condition that the network does not
        read, or lacks.
        """
        check_condition(condition, reads_text=self.reads_text, guided=sampling.is_guided)
        return decoding.decoder_for(self.plain_decoder, condition, sampling)

    @torch.no_grad()
    def sample(
        self,
        count: int,
        condition: Conditioning | None = None,
        *,
        given: Given | None = None,
        sampling: Sampling = PLAIN,
        generator: Generators = None,
    ) -> Int[Tensor, "b n"]:
        r"""Draw sequences token by token, in raster order; `num_inference_steps` is ignored.

        **Given tokens** come with certainty when it is their turn. A given *prefix* yields the
        conditional distribution $p(x \mid \text{prefix})$. A token that is given further on
        changes nothing before it, so the result is not $p(x \mid \text{given})$: the earlier tokens
        are drawn as if it were unknown.

        Raises `ValueError` for captions or given tokens that do not fit.
        """
        check_request(self, count, condition, given)
        decoder = self.decoder(condition, sampling)
        decoder = decoder if given is None else decoding.keep_given(decoder, given)
        device = next(self.parameters()).device
        nothing = torch.zeros(count, 0, dtype=torch.long, device=device)
        return decoding.sample(decoder, nothing, self.num_positions, generator=generator)


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

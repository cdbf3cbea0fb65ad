r"""A quantizer that draws its tokens, and learns through a softened draw (Gumbel-softmax).

`VectorQuantizer` takes the nearest code and hands the gradient past it. Here the encoder predicts a
distribution over the K codes, a token is drawn from it, and the draw is made soft, so that the
gradient goes through. It is the quantizer of DALL-E's image tokens (Ramesh et al. 2021, "Zero-Shot
Text-to-Image Generation").
"""

import math
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from vqlearn.probability import at_least_float32
from vqlearn.probability.checks import check_sizes
from vqlearn.tokens.quantizer import Quantizer, perplexity


class GumbelQuantized(NamedTuple):
    """Encoder vectors replaced by drawn codes, or by mixtures of codes.

    `vectors` go to the decoder. `indices` are the tokens: drawn in training, the likeliest in
    evaluation. `weights` say how much of each code is in `vectors`: they sum to 1. `kl` is in
    nats for each token. `perplexity` counts the codes in use, as for `Quantized`.

    There is no commitment loss and no codebook loss: gradients reach the encoder and the codes
    from the decoder. `kl` is added to the loss instead.
    """

    vectors: Float[Tensor, "*batch d"]
    indices: Int[Tensor, "*batch"]
    weights: Float[Tensor, "*batch k"]
    kl: Float[Tensor, ""]
    perplexity: Float[Tensor, ""]


class GumbelQuantizer(Quantizer):
    r"""A distribution over K learned vectors for each encoder vector; tokens are drawn from it.

    $$q(k \mid z) = \mathrm{softmax}(W z + a)_k$$

    W has one row for each code: over a grid of vectors this is a 1x1 convolution. The scores are
    no distances: z and the codes need not be near each other.

    At the start W is a copy of the codes. Then a vector prefers codes of its own direction, and so
    has their mixture: something of z reaches the decoder from the first step on. If W and the codes
    were unrelated, nearly all of the mixture would be noise at first. Both learn on their own.

    Raises `ValueError` for a size below 1.
    """

    def __init__(self, num_codes: int, code_dim: int):
        super().__init__()
        check_sizes({"num_codes": num_codes, "code_dim": code_dim})
        self.to_logits = nn.Linear(code_dim, num_codes)
        self.codebook = nn.Embedding(num_codes, code_dim)
        self.to_logits.weight.data.copy_(self.codebook.weight.data)

    def log_probabilities(self, vectors: Float[Tensor, "*batch d"]) -> Float[Tensor, "*batch k"]:
        r"""$\log q(k \mid z)$ of every code, normalised; float32 or better.

        It is so under mixed precision too, which therefore does not change the tokens.

        Raises `ValueError` when the vectors are not as wide as the codes.
        """
        self.check_width(vectors)
        with torch.autocast(vectors.device.type, enabled=False):
            logits = self.to_logits(vectors.to(self.to_logits.weight))  # (*batch, k)
        return at_least_float32(logits).log_softmax(dim=-1)

    def encode(self, vectors: Float[Tensor, "*batch d"]) -> Int[Tensor, "*batch"]:
        """The most likely token of each vector; nothing is drawn."""
        return self.log_probabilities(vectors).argmax(dim=-1)

    def forward(
        self,
        vectors: Float[Tensor, "*batch d"],
        *,
        temperature: float = 1.0,
        hard: bool = False,
        generator: torch.Generator | None = None,
    ) -> GumbelQuantized:
        r"""Draw tokens, mix their vectors for the decoder, and measure the KL of the choice.

        In training with temperature $\tau$, with $g_k$ drawn by `gumbel_noise`:

        $$y = \mathrm{softmax}\bigl((\log q(\cdot \mid z) + g) / \tau\bigr), \qquad
          \text{vectors} = \sum_k y_k e_k$$

        (Jang et al. 2017, "Categorical Reparameterization with Gumbel-Softmax"; Maddison et al.
        2017, "The Concrete Distribution"). The largest entry of y stands at an exact draw from
        q(. | z), whatever $\tau$ is; those are `indices`. A low $\tau$ brings y near to one
        code, but its gradients are large and rare; so one starts near 1 and goes down slowly,
        in DALL-E to 1/16. With `hard` the decoder sees exactly one code; the gradient to the
        encoder is taken at y all the same ("straight-through": right value, borrowed gradient).

        In evaluation (`module.eval()`) the code is the likeliest one: nothing is drawn or mixed,
        and temperature, `hard` and generator do nothing.

        `kl` is `kl_to_uniform`, the mean over all tokens. With N tokens for an image,
        $N \cdot \mathrm{kl} - \log p(\text{image} \mid \text{tokens})$ is a bound on
        $-\log p(\text{image})$ when the prior of the tokens is uniform and the second term is a
        mean over drawn tokens. With soft y it is not quite one. DALL-E multiplies the
        first term by up to 6.6.

        Cost: one number per vector and code, several times over. Raises `ValueError` for a
        temperature that is not a finite number above 0.
        """
        if not 0 < temperature < math.inf:
            raise ValueError(f"temperature is {temperature}; allowed: finite numbers above 0")
        log_q = self.log_probabilities(vectors)  # (*batch, k)
        scores = log_q + gumbel_noise(log_q, generator=generator) if self.training else log_q
        indices = scores.argmax(dim=-1)
        weights = F.one_hot(indices, log_q.shape[-1]).to(log_q)
        if self.training:
            soft = (scores / temperature).softmax(dim=-1)  # (*batch, k)
            # soft - sg[soft] is zero in value and the gradient of the soft draw.
            weights = weights + (soft - soft.detach()) if hard else soft
        return GumbelQuantized(
            vectors=weights.to(self.codebook.weight) @ self.codebook.weight,
            indices=indices,
            weights=weights,
            kl=kl_to_uniform(log_q).mean(),
            perplexity=perplexity(indices, log_q.shape[-1]),
        )


def gumbel_noise(
    like: Float[Tensor, "*batch k"], *, generator: torch.Generator | None = None
) -> Float[Tensor, "*batch k"]:
    r"""Gumbel noise $g$: the largest of $\log q_k + g_k$ stands at k with probability $q_k$.

    $g = -\log E$, where E is a waiting time with the distribution $e^{-E}$. Then $E_k / q_k$ is a
    waiting time with the rate $q_k$. Of bells with these rates, bell k rings first with probability
    $q_k$, and the first to ring has the largest $\log q_k + g_k$.

    The numbers are drawn on the device of the generator.
    """
    device = like.device if generator is None else generator.device
    times = torch.empty(like.shape, dtype=like.dtype, device=device)
    return -times.exponential_(generator=generator).log().to(like.device)


def kl_to_uniform(log_q: Float[Tensor, "*batch k"]) -> Float[Tensor, "*batch"]:
    r"""KL divergence of the encoder's distribution from the uniform one, in nats for each token.

    $$KL(q \,\|\, \text{uniform}) = \sum_k q_k \log (K q_k)$$

    0 when all codes are equally likely, log K when one is certain.
    """
    return (log_q.exp() * (log_q + math.log(log_q.shape[-1]))).sum(dim=-1)

r"""One scale of ImageBART: an encoder reads a noisy sequence, a decoder writes a cleaner one.

    encoder:   text_1 … text_l   x_t^1 … x_t^n        every position attends to every other
                          |  all l + n
    decoder:   start   x^1   x^2   …   x^{n-1}        a position attends to itself and to the left
                 |      |     |           |
                x^1    x^2   x^3         x^n          x is x_{t-1}

Source: Esser et al. 2021, "ImageBART: Bidirectional Context with Multinomial Diffusion for
Autoregressive Image Synthesis".
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from einops import repeat
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from vqlearn.autoregressive.raster_transformer import (
    CachedAttention,
    KVCache,
    Text,
    causal_mask,
    check_config,
    check_text,
)
from vqlearn.probability.checks import check_sequences
from vqlearn.transformer import Attention, FeedForward, initialise


@dataclass(frozen=True)
class ImageBARTConfig:
    """How many scales, how large is the network of each, and does it read a caption?

    - `num_codes`: K, the codes of one token; noise is made of the same codes.
    - `num_positions`: n, the tokens of one sequence.
    - `num_scales`: T, from 2 to 5. With one scale $x_1$ would be noise that tells nothing.
    - `width`, `num_layers`, `num_heads`: the size; encoder and decoder have `num_layers` blocks.
    - `text_width`, `text_length`: c and l of the text states; None and 0 without text.

    Raises `ValueError` for a size that no network can have.
    """

    num_codes: int
    num_positions: int
    num_scales: int
    width: int
    num_layers: int
    num_heads: int
    text_width: int | None = None
    text_length: int = 0

    def __post_init__(self) -> None:
        check_config(self)
        if not 2 <= self.num_scales <= 5:
            raise ValueError(f"num_scales is {self.num_scales}; allowed: 2 to 5")


class EncoderBlock(nn.Module):
    """One round of attention to all positions and feed-forward: (b, m, d) in and out."""

    def __init__(self, config: ImageBARTConfig):
        super().__init__()
        width, heads = config.width, config.num_heads
        self.self_attention_norm = nn.LayerNorm(width)
        self.self_attention = Attention(heads, width // heads, width, bias=True)
        self.feed_forward_norm = nn.LayerNorm(width)
        self.feed_forward = FeedForward(width)

    def forward(self, x: Float[Tensor, "b m d"]) -> Float[Tensor, "b m d"]:
        normed = self.self_attention_norm(x)
        x = x + self.self_attention(normed, normed)
        return x + self.feed_forward(self.feed_forward_norm(x))


class LayerCache(NamedTuple):
    """What one layer of the decoder attends to: its own sequence, and all that was encoded."""

    own: KVCache
    encoded: KVCache


class DecoderBlock(EncoderBlock):
    """Attention to the tokens written so far, attention to all that was encoded, feed-forward.

    `cache.own` grows by n positions, `cache.encoded` stays.
    """

    def __init__(self, config: ImageBARTConfig):
        super().__init__(config)
        width, heads = config.width, config.num_heads
        self.self_attention = CachedAttention(heads, width // heads, width, bias=True)
        self.cross_attention_norm = nn.LayerNorm(width)
        self.cross_attention = CachedAttention(heads, width // heads, width, bias=True)

    def forward(
        self, x: Float[Tensor, "b n d"], cache: LayerCache, visible: Bool[Tensor, "n m"]
    ) -> Float[Tensor, "b n d"]:
        normed = self.self_attention_norm(x)
        self.self_attention.append(normed, cache.own)
        x = x + self.self_attention(normed, cache.own, visible)
        x = x + self.cross_attention(self.cross_attention_norm(x), cache.encoded)
        return x + self.feed_forward(self.feed_forward_norm(x))


class Scale(nn.Module):
    r"""One reverse step: which sequence $x_{t-1}$ was there, before it became the noisy $x_t$?

    The encoder reads the caption, if there is one, and $x_t$: every position attends to every
    other, words to tokens too. The decoder writes $x_{t-1}$: position i reads the token of position
    i - 1 (the first one a start vector), and attends to earlier positions only, and to all that was
    encoded. Both use the same vectors for codes and positions; the words have vectors of their own.

    Fresh weights are those of `Denoiser`. Cost: O((l + n)² d + (l + n) d²) for each layer.
    """

    def __init__(self, config: ImageBARTConfig):
        super().__init__()
        self.config = config
        self.token_embedding = nn.Embedding(config.num_codes, config.width)
        self.position_embedding = nn.Embedding(config.num_positions, config.width)
        self.start_embedding = nn.Embedding(1, config.width)
        if config.text_width is not None:
            self.text_to_width = nn.Linear(config.text_width, config.width)
            self.text_position_embedding = nn.Embedding(config.text_length, config.width)
        self.encoder = nn.ModuleList(EncoderBlock(config) for _ in range(config.num_layers))
        self.encoder_norm = nn.LayerNorm(config.width)
        self.decoder = nn.ModuleList(DecoderBlock(config) for _ in range(config.num_layers))
        self.decoder_norm = nn.LayerNorm(config.width)
        self.to_logits = nn.Linear(config.width, config.num_codes)
        self.apply(initialise)

    def forward(
        self, x: Int[Tensor, "b n"], x_t: Int[Tensor, "b n"], text: Text = None
    ) -> Float[Tensor, "b n k"]:
        r"""Scores of $p_t(x_{t-1}^i \mid x_{t-1}^{<i}, x_t)$ at every position i; x is
        $x_{t-1}$."""
        return self.from_embedding(self.embed(x), self.encode(self.embed(x_t), text))

    def embed(self, x: Int[Tensor, "b n"]) -> Float[Tensor, "b n d"]:
        """The vectors of the tokens, without their positions.

        Raises `ValueError` for sequences of another length, and (on the CPU only) for tokens
        outside 0..K - 1.
        """
        check_sequences("x", x, self.config.num_positions, self.config.num_codes)
        return self.token_embedding(x)

    def encode(self, h_t: Float[Tensor, "b n d"], text: Text = None) -> Float[Tensor, "b m d"]:
        """From the embedded $x_t$ and the text to all that the decoder may know: m = l + n states.

        The l states of the text come first. Raises `ValueError` for text of another size, missing,
        or not wanted.
        """
        count = len(h_t)
        check_text(text, count, self.config)
        x = h_t + self.position_embedding.weight  # (b, n, d) + (n, d)
        if text is not None:
            words = self.text_to_width(text) + self.text_position_embedding.weight  # (_, l, d)
            x = torch.cat([words.expand(count, -1, -1), x], dim=1)  # (b, l + n, d)
        for block in self.encoder:
            x = block(x)
        return self.encoder_norm(x)

    def start(self, count: int) -> Float[Tensor, "count 1 d"]:
        """What stands before the first token, once for each sequence."""
        return repeat(self.start_embedding.weight, "1 d -> count 1 d", count=count)

    def from_embedding(
        self, h: Float[Tensor, "b n d"], encoded: Float[Tensor, "_ m d"]
    ) -> Float[Tensor, "b n k"]:
        """From the vectors of all tokens to scores; position i does not depend on h[:, i:]."""
        inputs = torch.cat([self.start(len(h)), h[:, :-1]], dim=1)  # one position to the right
        return self.decode(inputs, self.prefill(len(h), encoded))

    def prefill(self, count: int, encoded: Float[Tensor, "_ m d"]) -> list[LayerCache]:
        """For each layer an empty cache of its own sequence, and one with all that was encoded.

        One encoded sequence serves any number of sequences $x_{t-1}$.
        """
        caches = []
        for block in self.decoder:
            cache = LayerCache(KVCache(), KVCache())
            block.cross_attention.append(encoded, cache.encoded)
            cache.encoded.expand(count)
            caches.append(cache)
        return caches

    def decode(
        self, inputs: Float[Tensor, "b n d"], caches: list[LayerCache]
    ) -> Float[Tensor, "b n k"]:
        """Scores of the n positions that follow those in the caches, which grow by n."""
        n, first = inputs.shape[1], len(caches[0].own)
        x = inputs + self.position_embedding.weight[first : first + n]  # (b, n, d) + (n, d)
        visible = causal_mask(n, first, x.device)
        for block, cache in zip(self.decoder, caches, strict=True):
            x = block(x, cache, visible)
        return self.to_logits(self.decoder_norm(x))  # (b, n, d) -> (b, n, K)

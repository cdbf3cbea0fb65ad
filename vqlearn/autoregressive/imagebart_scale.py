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
from jaxtyping import Float, Int
from torch import Tensor, nn

from vqlearn.autoregressive.raster_transformer import (
    CachedAttention,
    CachedNetwork,
    KVCache,
    Text,
    check_config,
)
from vqlearn.probability.checks import check_choice
from vqlearn.transformer import Attention, SequenceBlock, initialise


@dataclass(frozen=True)
class ImageBARTConfig:
    """The number of scales, the sizes of the network of each, and of the text that they read.

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
        check_choice("num_scales", self.num_scales, (2, 3, 4, 5))


class LayerCache(NamedTuple):
    """What one layer of the decoder attends to: its own sequence, and all that was encoded."""

    own: KVCache
    encoded: tuple[Tensor, Tensor]
    """Keys and values, each (b, heads, l + n, d_head)."""


class DecoderBlock(SequenceBlock):
    """Attention to the tokens written so far, attention to all that was encoded, feed-forward.

    `cache.own` grows by n positions, `cache.encoded` stays.
    """

    def __init__(self, width: int, num_heads: int):
        super().__init__(nn.LayerNorm(width), width, num_heads)
        sizes = (num_heads, width // num_heads, width)
        self.self_attention = CachedAttention(*sizes, bias=True)
        self.cross_attention_norm = nn.LayerNorm(width)
        self.cross_attention = Attention(*sizes, bias=True)

    def forward(self, x: Float[Tensor, "b n d"], cache: LayerCache) -> Float[Tensor, "b n d"]:
        x = x + self.self_attention(self.self_attention_norm(x), cache.own)
        cross = self.cross_attention  # keys and values are there already
        query = cross.split_heads(cross.query(self.cross_attention_norm(x)))
        x = x + cross.mix(query, *cache.encoded)
        return x + self.feed_forward(self.feed_forward_norm(x))


class Scale(CachedNetwork):
    r"""One reverse step: the distribution of $x_{t-1}$, given the noisy $x_t$.

    The encoder reads the caption, if there is one, and $x_t$: every position attends to every
    other, words to tokens too. The decoder writes $x_{t-1}$: position i reads the token of position
    i - 1 (the first one a start vector), and attends to earlier positions only, and to all that was
    encoded. Both use the same vectors for codes and positions; the words have vectors of their own.

    Fresh weights are those of `Denoiser`. Cost: O((l + n)² d + (l + n) d²) for each layer.
    """

    def __init__(self, config: ImageBARTConfig):
        super().__init__()
        self.config = config
        d, heads = config.width, config.num_heads
        self.token_embedding = nn.Embedding(config.num_codes, d)
        self.position_embedding = nn.Embedding(config.num_positions, d)
        self.start_embedding = nn.Embedding(1, d)
        if config.text_width is not None:
            self.text_to_width = nn.Linear(config.text_width, d)
            self.text_position_embedding = nn.Embedding(config.text_length, d)
        layers = range(config.num_layers)
        self.encoder = nn.ModuleList(SequenceBlock(nn.LayerNorm(d), d, heads) for _ in layers)
        self.encoder_norm = nn.LayerNorm(d)
        self.decoder = nn.ModuleList(DecoderBlock(d, heads) for _ in layers)
        self.decoder_norm = nn.LayerNorm(d)
        self.to_logits = nn.Linear(d, config.num_codes)
        self.apply(initialise)

    def forward(
        self, x: Int[Tensor, "b n"], x_t: Int[Tensor, "_ n"], text: Text = None
    ) -> Float[Tensor, "b n k"]:
        r"""Scores of $p_t(x^i \mid x^{<i}, x_t)$ at every position i, where x is $x_{t-1}$.

        One $x_t$ and one caption for each sequence, or one for all.
        """
        return self.from_embedding(self.embed(x), self.encode(self.embed(x_t), text))

    def encode(self, h_t: Float[Tensor, "b n d"], text: Text = None) -> Float[Tensor, "b m d"]:
        """From the embedded $x_t$ and the text to all that the decoder may know: m = l + n states.

        The l states of the text come first. Raises `ValueError` for text of another size, missing,
        or not wanted.
        """
        x, words = h_t + self.position_embedding.weight, self.embed_text(text, len(h_t))
        if words is not None:
            x = torch.cat([words, x], dim=1)  # (b, l + n, d)
        for block in self.encoder:
            x = block(x)
        return self.encoder_norm(x)

    def prefill(self, count: int, encoded: Float[Tensor, "_ m d"]) -> list[LayerCache]:
        """For each layer an empty cache of its own sequence, and keys and values of all encoded.

        One encoded sequence serves any number of sequences $x_{t-1}$.
        """
        caches = []
        for block in self.decoder:
            keys, values = block.cross_attention.keys_values(encoded)  # (_, heads, m, d_head)
            both = keys.expand(count, -1, -1, -1), values.expand(count, -1, -1, -1)
            caches.append(LayerCache(KVCache(), both))
        return caches

    def decode(
        self, inputs: Float[Tensor, "b n d"], caches: list[LayerCache]
    ) -> Float[Tensor, "b n k"]:
        """Scores of the n positions that follow those in the caches, which grow by n."""
        first = len(caches[0].own)
        positions = self.position_embedding.weight[first : first + inputs.shape[1]]
        x = inputs + positions  # (b, n, d) + (n, d)
        for block, cache in zip(self.decoder, caches, strict=True):
            x = block(x, cache)
        return self.to_logits(self.decoder_norm(x))  # (b, n, d) -> (b, n, K)

r"""One scale of ImageBART: an encoder that reads a noisy row, a decoder that writes a cleaner one.

    encoder:   text_1 … text_l   x_t^1 … x_t^n        every position looks at every other
                          |  all l + n
    decoder:   start   x^1   x^2   …   x^{n-1}        a position looks at itself and to the left
                 |      |     |           |
                x^1    x^2   x^3         x^n          x is x_{t-1}

Source: Esser et al. 2021, "ImageBART: Bidirectional Context with Multinomial Diffusion for
Autoregressive Image Synthesis".
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from vqlearn.autoregressive.cache import CachedAttention, KVCache, looking_back
from vqlearn.autoregressive.writer import Scores, Text, TokenWriter, check_config
from vqlearn.transformer.denoiser import initialise
from vqlearn.transformer.layers import Attention, FeedForward


@dataclass(frozen=True)
class ImageBARTConfig:
    """How many scales, how large is the network of each, and does it read a caption?

    - `num_codes`: K, the codes of one token; noise is made of the same codes.
    - `num_positions`: n, the tokens of one row.
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
    """One round of looking at all positions of the noisy row, and thinking: (b, m, d) in and
    out."""

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


class DecoderBlock(EncoderBlock):
    """Look at what is written so far, look at all that was encoded, and think.

    `own` is the past of its own row, and grows; `encoded` is that of the encoder's answer.
    """

    def __init__(self, config: ImageBARTConfig):
        super().__init__(config)
        width, heads = config.width, config.num_heads
        self.self_attention = CachedAttention(heads, width // heads, width, bias=True)
        self.cross_attention_norm = nn.LayerNorm(width)
        self.cross_attention = CachedAttention(heads, width // heads, width, bias=True)

    def forward(
        self,
        x: Float[Tensor, "b n d"],
        own: KVCache,
        encoded: KVCache,
        visible: Bool[Tensor, "n m"],
    ) -> Float[Tensor, "b n d"]:
        normed = self.self_attention_norm(x)
        self.self_attention.read(normed, own)
        x = x + self.self_attention(normed, own, visible)
        x = x + self.cross_attention(self.cross_attention_norm(x), encoded)
        return x + self.feed_forward(self.feed_forward_norm(x))


class Scale(TokenWriter):
    r"""One step back: which row $x_{t-1}$ was there, before it became the noisy row $x_t$?

    The encoder reads the caption, if there is one, and $x_t$: every position looks at every other,
    words at tokens too. The decoder writes $x_{t-1}$: position i reads the token of position i - 1
    (the first one a start vector), looks at earlier positions only, and at all that the encoder
    found. Both use the same vectors for codes and positions; the words have vectors of their own.

    Fresh weights are those of `Denoiser`. Cost: O((l + n)² d + (l + n) d²) for each layer.
    """

    def __init__(self, config: ImageBARTConfig):
        super().__init__()
        self.config = config
        self.token_embedding = nn.Embedding(config.num_codes, config.width)
        self.position_embedding = nn.Embedding(config.num_positions, config.width)
        self.start_embedding = nn.Embedding(1, config.width)
        self.make_text_embedding()
        self.encoder = nn.ModuleList(EncoderBlock(config) for _ in range(config.num_layers))
        self.encoder_norm = nn.LayerNorm(config.width)
        self.decoder = nn.ModuleList(DecoderBlock(config) for _ in range(config.num_layers))
        self.decoder_norm = nn.LayerNorm(config.width)
        self.to_logits = nn.Linear(config.width, config.num_codes)
        self.apply(initialise)

    def encode(self, h_t: Float[Tensor, "b n d"], text: Text = None) -> Float[Tensor, "b m d"]:
        """From the embedded $x_t$ and the text to all that the decoder may know: m = l + n states.

        The l states of the text come first. Raises as `embed_text` does.
        """
        positions = h_t + self.position_embedding.weight  # (b, n, d) + (n, d)
        x = torch.cat([self.embed_text(len(h_t), text), positions], dim=1)  # (b, l + n, d)
        for block in self.encoder:
            x = block(x)
        return self.encoder_norm(x)

    def begin(self, count: int, given: Float[Tensor, "#b m d"]) -> list[tuple[KVCache, KVCache]]:
        """For each layer an empty past of its own row, and one that holds all that was encoded.

        One encoded row serves any number of rows $x_{t-1}$.
        """
        memory = []
        for block in self.decoder:
            encoded = []
            block.cross_attention.read(given, encoded)
            memory.append(([], [each.expand(count, -1, -1, -1) for each in encoded]))
        return memory

    def read(
        self, inputs: Float[Tensor, "b n d"], first: int, memory: list[tuple[KVCache, KVCache]]
    ) -> Scores:
        """The scores of n positions, from `first` on; the memory holds what was read, and grows."""
        n = inputs.shape[1]
        visible = looking_back(n, first, inputs.device)
        x = inputs + self.position_embedding.weight[first : first + n]  # (b, n, d) + (n, d)
        for block, (own, encoded) in zip(self.decoder, memory, strict=True):
            x = block(x, own, encoded, visible)
        return self.to_logits(self.decoder_norm(x))  # (b, n, d) -> (b, n, K)

    def forward(self, x: Int[Tensor, "b n"], x_t: Int[Tensor, "b n"], text: Text = None) -> Scores:
        r"""Scores of $p_t(x_{t-1}^i \mid x_{t-1}^{<i}, x_t)$ at every position i; x is
        $x_{t-1}$."""
        return self.from_embedding(self.embed(x), self.encode(self.embed(x_t), text))

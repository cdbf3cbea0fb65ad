r"""A transformer that reads tokens in raster order, after a caption: DALL-E at any size.

    network = RasterTransformer(RasterTransformerConfig(num_codes=384, num_positions=64, ...))
    network.log_probs(x, Conditioning(text))     # all positions at once
    network.sample(8, Conditioning(text))        # one token after the other, with a KV cache

It reads the l text states, a start vector, then the tokens. After each it gives the next
distribution:

    text_1 … text_l   start   x_1   x_2   …   x_{n-1}
                        |      |     |           |
                       x_1    x_2   x_3         x_n

Sources: Esser et al. 2021, "Taming Transformers for High-Resolution Image Synthesis"; Ramesh et al.
2021, "Zero-Shot Text-to-Image Generation".
"""

import math
from dataclasses import asdict, dataclass
from typing import Any

import torch
from einops import rearrange, repeat
from jaxtyping import Float, Int
from torch import Tensor, nn

from vqlearn.autoregressive.decoding import CachedDecoder
from vqlearn.autoregressive.model import AutoregressiveModel
from vqlearn.probability.checks import (
    check_choice,
    check_multiple,
    check_sequences,
    check_sizes,
)
from vqlearn.transformer import Attention, PreNormBlock, causal_mask, initialise

Text = Float[Tensor, "_ l c"] | None
"""Text states: one caption for each sequence, or one for all; None without text."""


@dataclass(frozen=True)
class RasterTransformerConfig:
    """The sizes of the network, and of the text that it reads.

    - `num_codes`: K, the codes of one token.
    - `num_positions`: n, the tokens of one sequence. A square number is a grid of s x s positions.
    - `text_width`, `text_length`: c and l of the text states; None and 0 without text.
    - `width`, `num_layers`, `num_heads`: the size; every head is `width / num_heads` wide.

    Raises `ValueError` for a size that no network can have.
    """

    num_codes: int
    num_positions: int
    text_width: int | None
    text_length: int
    width: int
    num_layers: int
    num_heads: int

    def __post_init__(self) -> None:
        check_config(self)

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns: s and s if n is a square number, otherwise one row of n."""
        side = math.isqrt(self.num_positions)
        return (side, side) if side**2 == self.num_positions else (1, self.num_positions)


class KVCache:
    """Keys and values of all m positions that one layer has read, each (b, heads, m, d_head).

    What comes later cannot change a key or a value, so none is ever computed again.
    """

    def __init__(self) -> None:
        self.keys: Tensor | None = None
        self.values: Tensor | None = None

    def __len__(self) -> int:
        """m, the positions read so far."""
        return 0 if self.keys is None else self.keys.shape[2]

    def append(
        self, keys: Float[Tensor, "b heads n d_head"], values: Float[Tensor, "b heads n d_head"]
    ) -> None:
        """Put n more positions behind those that are there."""
        if self.keys is not None:
            keys = torch.cat([self.keys, keys], dim=2)  # (b, heads, m + n, d_head)
            values = torch.cat([self.values, values], dim=2)
        self.keys, self.values = keys, values


class CachedAttention(Attention):
    """Self-attention of n new positions, which also attend to all that the cache holds.

    The cache grows by the new positions. If `causal`, each attends to itself and to earlier
    positions only, otherwise to all.
    """

    def forward(
        self, x: Float[Tensor, "b n d"], cache: KVCache, *, causal: bool = True
    ) -> Float[Tensor, "b n d"]:
        visible = causal_mask(x.shape[1], len(cache), x.device) if causal else None  # (n, m + n)
        cache.append(*self.keys_values(x))
        return self.mix(self.split_heads(self.query(x)), cache.keys, cache.values, visible)


class CachedNetwork(nn.Module):
    """The part of a network with a KV cache that reads tokens and captions: (b, n) to (b, n, d).

    `RasterTransformer` and a scale of ImageBART share it. A subclass has the embeddings and the
    config that are named here, `prefill(count, source)` for what stands before the tokens, and
    `decode(inputs, caches)` for the tokens.
    """

    def embed(self, x: Int[Tensor, "b n"]) -> Float[Tensor, "b n d"]:
        """The vectors of the tokens, without their positions.

        Raises `ValueError` for sequences of another length, and (on the CPU only: a GPU would have
        to wait) for tokens outside 0..K - 1.
        """
        check_sequences("x", x, self.config.num_positions, self.config.num_codes)
        return self.token_embedding(x)

    def embed_text(self, text: Text, count: int) -> Float[Tensor, "count l d"] | None:
        """The vectors of the text states of `count` sequences, with their positions.

        Raises `ValueError` for text of another size, missing, or not wanted.
        """
        size = (self.config.text_length, self.config.text_width)
        allowed = (None,) if size[1] is None else ((count, *size), (1, *size))
        check_choice("text", None if text is None else tuple(text.shape), allowed)
        if text is None:
            return None
        words = self.text_to_width(text) + self.text_position_embedding.weight  # (_, l, d) + (l, d)
        return words.expand(count, -1, -1)

    def start(self, count: int) -> Float[Tensor, "count 1 d"]:
        """What stands before the first token, once for each sequence."""
        return repeat(self.start_embedding.weight, "1 d -> count 1 d", count=count)

    def from_embedding(
        self, h: Float[Tensor, "b n d"], source: Tensor | None = None
    ) -> Float[Tensor, "b n k"]:
        """From the vectors of all tokens to scores; position i does not depend on h[:, i:]."""
        inputs = torch.cat([self.start(len(h)), h[:, :-1]], dim=1)  # one position to the right
        return self.decode(inputs, self.prefill(len(h), source))


class RasterTransformer(CachedNetwork, AutoregressiveModel):
    r"""The distribution of the next token, after a caption and all tokens before.

    $$ h = \text{blocks}(\text{token}[x_{i-1}] + \text{row}[r_i] + \text{column}[c_i]), \qquad
       \text{scores of } x_i = W\,\mathrm{LayerNorm}(h) + a $$

    The input for position i is the token before it, or the start vector, with row and column of
    position i itself. Text states are mapped linearly to the width, and get a vector for their
    position.

    **Who attends to whom?** A token attends to the whole text and to itself and earlier tokens. The
    text attends to the whole text, to both sides, and to no token: it is given and never predicted,
    so its later words give nothing away. `prefill` reads it, then `decode` reads a whole sequence
    or one token.

    Fresh weights are those of `Denoiser`. Cost: O((l + n)² d + (l + n) d²) for each layer.
    """

    def __init__(self, config: RasterTransformerConfig):
        super().__init__(config)
        d, heads = config.width, config.num_heads
        rows, columns = config.grid
        self.token_embedding = nn.Embedding(config.num_codes, d)
        self.start_embedding = nn.Embedding(1, d)
        self.row_embedding = nn.Embedding(rows, d)
        self.column_embedding = nn.Embedding(columns, d)
        if self.reads_text:
            self.text_to_width = nn.Linear(config.text_width, d)
            self.text_position_embedding = nn.Embedding(config.text_length, d)
        self.blocks = nn.ModuleList(
            PreNormBlock(CachedAttention(heads, d // heads, d, bias=True), d)
            for _ in range(config.num_layers)
        )
        self.output_norm = nn.LayerNorm(d)
        self.to_logits = nn.Linear(d, config.num_codes)
        self.apply(initialise)

    def prefill(self, count: int, text: Text = None) -> list[KVCache]:
        """Read the text for `count` sequences: a KV cache for each layer, empty without text."""
        x, caches = self.embed_text(text, count), [KVCache() for _ in self.blocks]
        if x is not None:
            for block, cache in zip(self.blocks, caches, strict=True):
                x = block(x, cache, causal=False)  # (b, l, d): words attend to both sides
        return caches

    def decode(
        self, inputs: Float[Tensor, "b n d"], caches: list[KVCache]
    ) -> Float[Tensor, "b n k"]:
        """Scores of the n positions that follow those in the caches, which grow by n."""
        rows, columns = self.row_embedding.weight, self.column_embedding.weight
        positions = rearrange(rows[:, None] + columns[None], "r c d -> (r c) d")
        first = len(caches[0]) - self.config.text_length  # the text has no place on the grid
        x = inputs + positions[first : first + inputs.shape[1]]  # (b, n, d) + (n, d)
        for block, cache in zip(self.blocks, caches, strict=True):
            x = block(x, cache)
        return self.to_logits(self.output_norm(x))  # (b, n, d) -> (b, n, K)

    def plain_decoder(self, text: Text) -> CachedDecoder:
        return CachedDecoder(self, text)


def check_config(config: Any) -> None:
    """Refuse sizes that no network can have; without text its width is None and its length 0.

    Raises `ValueError` with the name and the value of the first that is wrong.
    """
    of_text = ("text_width", "text_length") if config.text_width is None else ()
    sizes = {name: value for name, value in asdict(config).items() if name not in of_text}
    check_sizes(sizes, num_codes=2)
    if config.text_width is None and config.text_length != 0:
        raise ValueError(f"text_length is {config.text_length!r}; allowed: 0 without text_width")
    check_multiple(config, "width", "num_heads")

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
from dataclasses import dataclass

from einops import rearrange
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from vqlearn.autoregressive.cache import (
    CachedAttention,
    CachedDecoder,
    KVCache,
    looking_back,
)
from vqlearn.autoregressive.model import AutoregressiveModel
from vqlearn.autoregressive.writer import Scores, Text, TokenWriter, check_config
from vqlearn.transformer.denoiser import initialise
from vqlearn.transformer.layers import FeedForward


@dataclass(frozen=True)
class RasterTransformerConfig:
    """How large is the network, and does it read a caption?

    - `num_codes`: K, the codes of one token.
    - `num_positions`: n, the tokens of one row. A square number is a grid of s x s positions.
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


class RasterBlock(nn.Module):
    """One round of looking back, and thinking: (b, n, d) in and out."""

    def __init__(self, config: RasterTransformerConfig):
        super().__init__()
        head_dim = config.width // config.num_heads
        self.attention_norm = nn.LayerNorm(config.width)
        self.attention = CachedAttention(config.num_heads, head_dim, config.width, bias=True)
        self.feed_forward_norm = nn.LayerNorm(config.width)
        self.feed_forward = FeedForward(config.width)

    def forward(
        self, x: Float[Tensor, "b n d"], past: KVCache, visible: Bool[Tensor, "n m"] | None
    ) -> Float[Tensor, "b n d"]:
        normed = self.attention_norm(x)
        self.attention.read(normed, past)
        x = x + self.attention(normed, past, visible)
        return x + self.feed_forward(self.feed_forward_norm(x))


class RasterTransformer(TokenWriter, AutoregressiveModel):
    r"""Which token comes next, after a caption and all tokens before?

    $$ h = \text{blocks}(\text{token}[x_{i-1}] + \text{row}[r_i] + \text{column}[c_i]), \qquad
       \text{scores of } x_i = W\,\mathrm{LayerNorm}(h) + a $$

    The input for position i is the token before it, or the start vector, with row and column of
    position i itself. Text states are mapped linearly to the width, and get a vector for their
    position.

    **Who looks at whom?** A token looks at the whole text and at itself and earlier tokens. The
    text looks at the whole text, to both sides, and at no token: it is given and never predicted,
    so its later words give nothing away. `begin` reads it, then `read` a whole row or one token.

    Fresh weights are those of `Denoiser`. Cost: O((l + n)² d + (l + n) d²) for each layer.
    """

    def __init__(self, config: RasterTransformerConfig):
        super().__init__()
        self.config = config
        rows, columns = config.grid
        self.token_embedding = nn.Embedding(config.num_codes, config.width)
        self.start_embedding = nn.Embedding(1, config.width)
        self.row_embedding = nn.Embedding(rows, config.width)
        self.column_embedding = nn.Embedding(columns, config.width)
        self.make_text_embedding()
        self.blocks = nn.ModuleList(RasterBlock(config) for _ in range(config.num_layers))
        self.output_norm = nn.LayerNorm(config.width)
        self.to_logits = nn.Linear(config.width, config.num_codes)
        self.apply(initialise)

    def forward(self, x: Int[Tensor, "b n"], text: Text = None) -> Scores:
        """Scores of p(x_i | text, x_1..x_{i-1}) at every position i.

        `text` holds one caption for each row, or one for all. Raises as `embed` and `embed_text`.
        """
        return self.from_embedding(self.embed(x), text)

    @property
    def reads_text(self) -> bool:
        return self.config.text_width is not None

    def plain_decoder(self, text: Text) -> CachedDecoder:
        return CachedDecoder(self, text)

    def begin(self, count: int, given: Text) -> list[KVCache]:
        """Read the text for `count` rows. Raises as `embed_text` does."""
        x, pasts = self.embed_text(count, given), [[] for _ in self.blocks]
        if given is not None:
            self._through_blocks(x, pasts, visible=None)
        return pasts

    def read(self, inputs: Float[Tensor, "b n d"], first: int, memory: list[KVCache]) -> Scores:
        """The scores of n positions, from `first` on; the memory holds what was read, and grows."""
        rows, columns = self.row_embedding.weight, self.column_embedding.weight
        positions = rearrange(rows[:, None] + columns[None], "r c d -> (r c) d")
        n = inputs.shape[1]
        visible = looking_back(n, self.config.text_length + first, inputs.device)
        x = self._through_blocks(inputs + positions[first : first + n], memory, visible)
        return self.to_logits(self.output_norm(x))  # (b, n, d) -> (b, n, K)

    def _through_blocks(self, x: Tensor, pasts: list[KVCache], visible: Tensor | None) -> Tensor:
        for block, past in zip(self.blocks, pasts, strict=True):
            x = block(x, past, visible)
        return x

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
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from vqlearn.autoregressive.decoding import CachedDecoder
from vqlearn.autoregressive.model import AutoregressiveModel
from vqlearn.probability.checks import check_multiple, check_sequences, check_sizes
from vqlearn.transformer import Attention, FeedForward, initialise
from vqlearn.transformer.layers import attend

Text = Float[Tensor, "_ l c"] | None
"""Text states: one caption for each sequence, or one for all; None without text."""


@dataclass(frozen=True)
class RasterTransformerConfig:
    """How large is the network, and does it read a caption?

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

    def expand(self, count: int) -> None:
        """The same for `count` sequences, if there was one."""
        self.keys = self.keys.expand(count, -1, -1, -1)
        self.values = self.values.expand(count, -1, -1, -1)


class CachedAttention(Attention):
    """Attention whose keys and values come from a KV cache.

    Self-attention appends its own positions before it attends to them. Cross-attention
    appends the other sequence once.
    """

    def append(self, source: Float[Tensor, "b n c"], cache: KVCache) -> None:
        """Put the keys and the values of n positions into the cache."""
        cache.append(self._split_heads(self.key(source)), self._split_heads(self.value(source)))

    def forward(
        self, x: Float[Tensor, "b n d"], cache: KVCache, visible: Bool[Tensor, "n m"] | None = None
    ) -> Float[Tensor, "b n d"]:
        """`visible[i, j]`: may position i attend to position j of the cache? None: to all."""
        query = self._split_heads(self.query(x))  # (b, n, d) -> (b, heads, n, d_head)
        mixed = attend(query, cache.keys, cache.values, visible)
        return self.output(rearrange(mixed, "b heads n d_head -> b n (heads d_head)"))


def causal_mask(new: int, before: int, device: torch.device) -> Bool[Tensor, "new m"]:
    """Each new position sees itself, the new ones left of it, and all `before` of them."""
    return torch.ones(new, before + new, dtype=torch.bool, device=device).tril(before)


class RasterBlock(nn.Module):
    """One round of attention to earlier positions and feed-forward: (b, n, d) in and out."""

    def __init__(self, config: RasterTransformerConfig):
        super().__init__()
        head_dim = config.width // config.num_heads
        self.attention_norm = nn.LayerNorm(config.width)
        self.attention = CachedAttention(config.num_heads, head_dim, config.width, bias=True)
        self.feed_forward_norm = nn.LayerNorm(config.width)
        self.feed_forward = FeedForward(config.width)

    def forward(
        self, x: Float[Tensor, "b n d"], cache: KVCache, visible: Bool[Tensor, "n m"] | None
    ) -> Float[Tensor, "b n d"]:
        normed = self.attention_norm(x)
        self.attention.append(normed, cache)
        x = x + self.attention(normed, cache, visible)
        return x + self.feed_forward(self.feed_forward_norm(x))


class RasterTransformer(AutoregressiveModel):
    r"""Which token comes next, after a caption and all tokens before?

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
        super().__init__()
        self.config = config
        rows, columns = config.grid
        self.token_embedding = nn.Embedding(config.num_codes, config.width)
        self.start_embedding = nn.Embedding(1, config.width)
        self.row_embedding = nn.Embedding(rows, config.width)
        self.column_embedding = nn.Embedding(columns, config.width)
        if self.reads_text:
            self.text_to_width = nn.Linear(config.text_width, config.width)
            self.text_position_embedding = nn.Embedding(config.text_length, config.width)
        self.blocks = nn.ModuleList(RasterBlock(config) for _ in range(config.num_layers))
        self.output_norm = nn.LayerNorm(config.width)
        self.to_logits = nn.Linear(config.width, config.num_codes)
        self.apply(initialise)

    @property
    def reads_text(self) -> bool:
        return self.config.text_width is not None

    def forward(self, x: Int[Tensor, "b n"], text: Text = None) -> Float[Tensor, "b n k"]:
        """Scores of p(x_i | text, x_1..x_{i-1}) at every position i.

        `text` holds one caption for each sequence, or one for all. Raises `ValueError` for
        sequences or text of another size, and (on the CPU only: a GPU would have to wait) for
        tokens outside 0..K - 1.
        """
        return self.from_embedding(self.embed(x), text)

    def embed(self, x: Int[Tensor, "b n"]) -> Float[Tensor, "b n d"]:
        """The vectors of the tokens, without their positions."""
        check_sequences("x", x, self.num_positions, self.num_codes)
        return self.token_embedding(x)

    def start(self, count: int) -> Float[Tensor, "count 1 d"]:
        """What stands before the first token, once for each sequence."""
        return repeat(self.start_embedding.weight, "1 d -> count 1 d", count=count)

    def from_embedding(
        self, h: Float[Tensor, "b n d"], text: Text = None
    ) -> Float[Tensor, "b n k"]:
        """From the vectors of all tokens to scores; position i does not depend on h[:, i:]."""
        inputs = torch.cat([self.start(len(h)), h[:, :-1]], dim=1)  # one position to the right
        return self.decode(inputs, self.prefill(len(h), text))

    def prefill(self, count: int, text: Text = None) -> list[KVCache]:
        """Read the text for `count` sequences: a KV cache for each layer, empty without text."""
        check_text(text, count, self.config)
        caches = [KVCache() for _ in self.blocks]
        if text is not None:
            x = self.text_to_width(text) + self.text_position_embedding.weight  # (_, l, d) + (l, d)
            x = x.expand(count, -1, -1)
            for block, cache in zip(self.blocks, caches, strict=True):
                x = block(x, cache, visible=None)
        return caches

    def decode(
        self, inputs: Float[Tensor, "b n d"], caches: list[KVCache]
    ) -> Float[Tensor, "b n k"]:
        """Scores of the n positions that follow those in the caches, which grow by n."""
        n, before = inputs.shape[1], len(caches[0])
        first = before - self.config.text_length
        rows, columns = self.row_embedding.weight, self.column_embedding.weight
        positions = rearrange(rows[:, None] + columns[None], "r c d -> (r c) d")
        x = inputs + positions[first : first + n]  # (b, n, d) + (n, d)
        visible = causal_mask(n, before, x.device)
        for block, cache in zip(self.blocks, caches, strict=True):
            x = block(x, cache, visible)
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


def check_text(text: Text, count: int, config: Any) -> None:
    """Raise `ValueError` for text of another size, missing, or not wanted."""
    size = (config.text_length, config.text_width)
    allowed = (None,) if config.text_width is None else ((count, *size), (1, *size))
    seen = None if text is None else tuple(text.shape)
    if seen not in allowed:
        raise ValueError(f"text is {seen}; allowed: {allowed}")

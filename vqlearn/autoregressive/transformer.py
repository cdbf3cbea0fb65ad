r"""A transformer that reads tokens in raster order, after a sentence: DALL-E at any size.

    network = RasterTransformer(RasterTransformerConfig(num_codes=384, num_positions=64, ...))
    log_likelihood(conditionals(network, text), x)      # all places at once
    sample(CachedReader(network, text), x[:, :0], 64)   # one token after the other

It reads the l text states, a start vector, then the tokens. After each it gives the next law:

    text_1 … text_l   start   x_1   x_2   …   x_{n-1}
                        |      |     |           |
                       x_1    x_2   x_3         x_n

Sources: Esser et al. 2021, "Taming Transformers for High-Resolution Image Synthesis"; Ramesh et al.
2021, "Zero-Shot Text-to-Image Generation". Tests: tests/test_raster_transformer.py.
"""

import math
from dataclasses import asdict, dataclass

import torch
import torch.nn.functional as F
from einops import rearrange, repeat
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from vqlearn.autoregressive.raster import Conditionals
from vqlearn.diffusion.logmath import log_normalise
from vqlearn.transformer.checks import check_multiple, check_range, check_rows, check_sizes
from vqlearn.transformer.denoiser import initialise
from vqlearn.transformer.layers import Attention, FeedForward

Text = Float[Tensor, "_ l c"] | None
Scores = Float[Tensor, "b n k"]
Past = list[Tensor]
"""The KV cache of one layer: empty, or keys and values of all places read, (b, heads, m, d_head).

What comes later cannot change a key or a value, so none is ever computed again.
"""


@dataclass(frozen=True)
class RasterTransformerConfig:
    """How large is the network, and does it read a sentence?

    - `num_codes`: K, the codes of one token.
    - `num_positions`: n, the tokens of one row. A square number is a grid of s x s places.
    - `text_width`, `text_length`: c and l of the text states; None and 0 without text.
    - `width`, `num_layers`, `num_heads`: the size; every head is `width / num_heads` wide.

    Raises `ValueError` for a size that no network can have. Test: `test_config_is_validated`.
    """

    num_codes: int
    num_positions: int
    text_width: int | None
    text_length: int
    width: int
    num_layers: int
    num_heads: int

    def __post_init__(self) -> None:
        of_text = ("text_width", "text_length") if self.text_width is None else ()
        sizes = {name: value for name, value in asdict(self).items() if name not in of_text}
        check_sizes(sizes, num_codes=2)
        if self.text_width is None and self.text_length != 0:
            raise ValueError(f"text_length is {self.text_length!r}; without text it must be 0")
        check_multiple(self, "width", "num_heads")

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns: s and s if n is a square number, otherwise one row of n."""
        side = math.isqrt(self.num_positions)
        return (side, side) if side**2 == self.num_positions else (1, self.num_positions)


class CachedAttention(Attention):
    """Attention of new places to themselves and to the past, which then holds them too."""

    def forward(
        self, x: Float[Tensor, "b n d"], past: Past, visible: Bool[Tensor, "n m"] | None
    ) -> Float[Tensor, "b n d"]:
        """`visible[i, j]`: may new place i look at place j of all m? None: at all."""
        maps = (self.query, self.key, self.value)
        query, key, value = (self._split_heads(linear(x)) for linear in maps)
        if past:  # (b, heads, n, d_head) -> (b, heads, m, d_head)
            key, value = torch.cat([past[0], key], dim=2), torch.cat([past[1], value], dim=2)
        past[:] = key, value
        mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=visible)
        return self.output(rearrange(mixed, "b heads n d_head -> b n (heads d_head)"))


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
        self, x: Float[Tensor, "b n d"], past: Past, visible: Bool[Tensor, "n m"] | None
    ) -> Float[Tensor, "b n d"]:
        x = x + self.attention(self.attention_norm(x), past, visible)
        return x + self.feed_forward(self.feed_forward_norm(x))


class RasterTransformer(nn.Module):
    r"""Which token comes next, after a sentence and all tokens before?

    $$ h = \text{blocks}(\text{token}[x_{i-1}] + \text{row}[r_i] + \text{column}[c_i]), \qquad
       \text{scores of } x_i = W\,\mathrm{LayerNorm}(h) + a $$

    The input for place i is the token before it, or the start vector, with row and column of place
    i itself. Text states are mapped linearly to the width, and get a vector for their position.

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
        if config.text_width is not None:
            self.text_to_width = nn.Linear(config.text_width, config.width)
            self.text_position_embedding = nn.Embedding(config.text_length, config.width)
        self.blocks = nn.ModuleList(RasterBlock(config) for _ in range(config.num_layers))
        self.output_norm = nn.LayerNorm(config.width)
        self.to_logits = nn.Linear(config.width, config.num_codes)
        self.apply(initialise)

    def embed(self, x: Int[Tensor, "b n"]) -> Float[Tensor, "b n d"]:
        """The vectors of the tokens of a row, without their places.

        Raises `ValueError` for rows of another length, and (on the CPU only: a GPU would have to
        wait) for tokens outside 0..K - 1. Test: `test_bad_rows_raise`.
        """
        check_rows("x", x, self.config.num_positions, self.config.num_codes)
        return self.token_embedding(x)

    def embed_tokens(self, x: Int[Tensor, "b m"]) -> Float[Tensor, "b m d"]:
        """The same for a part of a row."""
        if x.device.type == "cpu" and x.numel() > 0:
            check_range("tokens", x, 0, self.config.num_codes - 1)
        return self.token_embedding(x)

    def from_embedding(self, h: Float[Tensor, "b n d"], text: Text = None) -> Scores:
        """From the vectors of all tokens to scores; place i does not depend on h[:, i:].

        `text` holds one sentence for each row, or one for all. Raises `ValueError` for text of
        another size, missing, or not wanted. Test: `test_bad_text_raises`.
        """
        inputs = torch.cat([self.start(len(h)), h[:, :-1]], dim=1)  # one place to the right
        return self.read(inputs, 0, self.begin(len(h), text))

    def forward(self, x: Int[Tensor, "b n"], text: Text = None) -> Scores:
        """Scores of p(x_i | text, x_1..x_{i-1}) at every place i. Raises as both parts do."""
        return self.from_embedding(self.embed(x), text)

    def start(self, count: int) -> Float[Tensor, "count 1 d"]:
        """What stands before the first token, once for each row."""
        return repeat(self.start_embedding.weight, "1 d -> count 1 d", count=count)

    def begin(self, count: int, text: Text) -> list[Past]:
        """Read the text for `count` rows. Raises as `from_embedding` does."""
        self._check_text(count, text)
        pasts = [[] for _ in self.blocks]
        if text is not None:
            x = self.text_to_width(text) + self.text_position_embedding.weight  # (b, l, d)
            self._through_blocks(x.expand(count, -1, -1), pasts, visible=None)
        return pasts

    def read(self, inputs: Float[Tensor, "b n d"], first: int, pasts: list[Past]) -> Scores:
        """The scores of n places, from `first` on; `pasts` holds what was read, and grows."""
        rows, columns = self.row_embedding.weight, self.column_embedding.weight
        places = rearrange(rows[:, None] + columns[None], "r c d -> (r c) d")
        n, before = inputs.shape[1], self.config.text_length + first
        visible = torch.ones(n, before + n, dtype=torch.bool, device=inputs.device).tril(before)
        x = self._through_blocks(inputs + places[first : first + n], pasts, visible)
        return self.to_logits(self.output_norm(x))  # (b, n, d) -> (b, n, K)

    def _through_blocks(self, x: Tensor, pasts: list[Past], visible: Tensor | None) -> Tensor:
        for block, past in zip(self.blocks, pasts, strict=True):
            x = block(x, past, visible)
        return x

    def _check_text(self, count: int, text: Tensor | None) -> None:
        size = (self.config.text_length, self.config.text_width)
        allowed = (None,) if size[1] is None else ((count, *size), (1, *size))
        seen = None if text is None else tuple(text.shape)
        if seen not in allowed:
            raise ValueError(f"text is {seen}; allowed: {allowed}")


def conditionals(network: RasterTransformer, text: Text = None) -> Conditionals:
    """log p(x_i | text, x_1..x_{i-1}), normalised: what `raster.log_likelihood` asks for."""
    return lambda x: log_normalise(network(x, text))


class CachedReader:
    """The next law of a network that remembers what it has read: a `NextLaw` for `raster.sample`.

    It reads the text, then one input in each call. Token i costs O((l + i) d + d²) for each layer,
    with `raster.reread` as much as a whole row. One reader serves one drawing, without gradients.

    Raises `ValueError` for a prefix out of turn (each is one token longer, the first is empty), for
    another batch size, or (on the CPU only) for other tokens than those that were read. Test:
    `test_the_reader_wants_its_turn`.
    """

    def __init__(self, network: RasterTransformer, text: Text = None) -> None:
        self.network, self.text, self.turn = network, text, 0

    @torch.no_grad()
    def __call__(self, prefix: Int[Tensor, "b i"]) -> Float[Tensor, "b k"]:
        self._check(prefix)
        if self.turn == 0:
            self.pasts = self.network.begin(len(prefix), self.text)
            inputs = self.network.start(len(prefix))
        else:
            inputs = self.network.embed_tokens(prefix[:, -1:])
        scores = self.network.read(inputs, self.turn, self.pasts)  # (b, 1, K)
        self.turn, self.read = self.turn + 1, prefix
        return log_normalise(scores[:, 0])

    def _check(self, prefix: Tensor) -> None:
        count, length = prefix.shape
        if length != self.turn:
            raise ValueError(f"a prefix of {length} tokens; allowed: {self.turn}, as in its turn")
        if length == self.network.config.num_positions:
            raise ValueError(f"a prefix of {length} tokens; allowed: none, the row is complete")
        read = self.read if length else prefix
        if count != len(read):
            raise ValueError(f"a batch of {count} rows; allowed: {len(read)}, as before")
        if prefix.device.type == "cpu" and not torch.equal(prefix[:, :-1], read):
            raise ValueError("the prefix has other tokens than before; allowed: one more token")

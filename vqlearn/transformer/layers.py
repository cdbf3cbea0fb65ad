"""The pieces of one transformer block: normalise, attend, feed forward.

Every block computes three corrections and adds each to its input:

    x = x + self_attention(norm(x, t))       tokens attend to tokens
    x = x + cross_attention(norm(x, t))      tokens attend to the caption
    x = x + feed_forward(norm(x))            each token alone

The level t enters in one place only: it sets the scale and the shift of the first two norms.
"""

from typing import Any

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

FEED_FORWARD_EXPANSION = 4
GELU_SLOPE = 1.702


class TokenEmbedding(nn.Module):
    r"""The vector of token $x$ in row $r$ and column $c$ of the grid.

    $$ e(x, r, c) = \text{token}[x] + \text{row}[r] + \text{column}[c] $$

    A grid of s x s positions needs 2s position vectors, not s². Positions are counted row by row,
    as an image is read. MASK is a token like the others and has its own vector.
    """

    def __init__(self, num_tokens: int, rows: int, columns: int, width: int):
        super().__init__()
        self.token = nn.Embedding(num_tokens, width)
        self.row = nn.Embedding(rows, width)
        self.column = nn.Embedding(columns, width)

    def forward(self, tokens: Int[Tensor, "b n"]) -> Float[Tensor, "b n d"]:
        rows = rearrange(self.row.weight, "r d -> r 1 d")
        columns = rearrange(self.column.weight, "c d -> 1 c d")
        positions = rearrange(rows + columns, "r c d -> (r c) d")  # (n, d)
        return self.token(tokens) + positions  # (b, n, d) + (n, d)


class AdaptiveLayerNorm(nn.Module):
    r"""A layer norm whose scale and shift say how noisy the input is.

    Each level has a vector $e_t$. A linear map turns it into one scale and one shift per channel:

    $$ (s, h) = W\,\mathrm{SiLU}(e_t) + a, \qquad y = \mathrm{LayerNorm}(x)\,(1 + s) + h $$

    The scale is the first half of the linear map's output, the shift the second half. The norm has
    no weights of its own: scale and shift take their place. Every sequence has its own level, so
    one training batch can mix levels.
    """

    def __init__(self, num_timesteps: int, width: int):
        super().__init__()
        self.timestep_embedding = nn.Embedding(num_timesteps, width)
        self.to_scale_shift = nn.Linear(width, 2 * width)

    def forward(
        self, x: Float[Tensor, "b n d"], level_index: Int[Tensor, " b"]
    ) -> Float[Tensor, "b n d"]:
        scale_shift = self.scale_shift(self.timestep_embedding(level_index))  # (b, 2d)
        scale, shift = rearrange(scale_shift, "b (two d) -> two b 1 d", two=2)
        return F.layer_norm(x, x.shape[-1:]) * (1 + scale) + shift

    def scale_shift(self, level: Float[Tensor, "rows d"]) -> Float[Tensor, "rows d2"]:
        """Scale and shift, side by side, for the vectors of some levels."""
        return self.to_scale_shift(F.silu(level))

    def table(self) -> Float[Tensor, "levels d2"]:
        """Scale and shift of every level, a row for each."""
        return self.scale_shift(self.timestep_embedding.weight)


def attend(
    query: Float[Tensor, "b heads n d_head"],
    key: Float[Tensor, "b heads l d_head"],
    value: Float[Tensor, "b heads l d_head"],
    visible: Bool[Tensor, "n l"] | None = None,
) -> Float[Tensor, "b heads n d_head"]:
    r"""$\mathrm{softmax}(Q K^\top / \sqrt{d_\text{head}})\, V$ for every head.

    `visible[i, j]`: may position i attend to position j? None: every position to all of them.
    PyTorch's own kernel, but for training in bfloat16 on a CPU: there its backward pass is many
    times slower than these lines.
    """
    if query.device.type == "cpu" and query.dtype == torch.bfloat16 and torch.is_grad_enabled():
        scores = query @ rearrange(key, "b heads l d_head -> b heads d_head l")  # (b, heads, n, l)
        if visible is not None:
            scores = scores.masked_fill(~visible, -torch.inf)
        # A dot product of d_head numbers has a spread of sqrt(d_head). Without the division one
        # weight would be near 1 and the gradients of the others near 0.
        weights = (scores * query.shape[-1] ** -0.5).softmax(dim=-1, dtype=torch.float32)
        return weights.to(value.dtype) @ value
    return F.scaled_dot_product_attention(query, key, value, attn_mask=visible)


def causal_mask(new: int, before: int, device: torch.device) -> Bool[Tensor, "new m"]:
    """Each of the last `new` of m positions may attend to itself and to all positions before it."""
    return torch.ones(new, before + new, dtype=torch.bool, device=device).tril(before)


class Attention(nn.Module):
    r"""Multi-head attention: each position of `x` reads from the positions of `source`.

    $$ \mathrm{softmax}\!\left(\frac{Q K^\top}{\sqrt{d_\text{head}}}\right) V, \qquad
       Q = x W_Q,\; K = \text{source}\, W_K,\; V = \text{source}\, W_V $$

    once per head; the heads are then mixed by a linear map. With `source = x` this is
    self-attention, with the text states it is cross-attention. No position is masked unless
    `visible` says so (see `attend`): a token attends to every other token and to every text
    position. `bias` concerns query, key and value; the output map always has a bias. Cost: O(n l d)
    for n positions that attend to l positions.
    """

    muon = True  # see `training.optimizers.muon_weights`

    def __init__(self, num_heads: int, head_dim: int, source_width: int, *, bias: bool):
        super().__init__()
        width = num_heads * head_dim
        self.num_heads = num_heads
        self.query = nn.Linear(width, width, bias=bias)
        self.key = nn.Linear(source_width, width, bias=bias)
        self.value = nn.Linear(source_width, width, bias=bias)
        self.output = nn.Linear(width, width)

    def forward(
        self,
        x: Float[Tensor, "b n d"],
        source: Float[Tensor, "b l c"],
        visible: Bool[Tensor, "n l"] | None = None,
    ) -> Float[Tensor, "b n d"]:
        query = self.split_heads(self.query(x))  # (b, n, d) -> (b, heads, n, d_head)
        return self.mix(query, *self.keys_values(source), visible)

    def keys_values(self, source: Float[Tensor, "b l c"]) -> tuple[Tensor, Tensor]:
        """What the positions of `source` offer, each (b, heads, l, d_head); no query changes it."""
        return self.split_heads(self.key(source)), self.split_heads(self.value(source))

    def mix(
        self, query: Tensor, key: Tensor, value: Tensor, visible: Tensor | None = None
    ) -> Float[Tensor, "b n d"]:
        """Attend with every head (see `attend`), then mix the heads."""
        heads = attend(query, key, value, visible)  # (b, heads, n, d_head)
        return self.output(rearrange(heads, "b heads n d_head -> b n (heads d_head)"))

    def split_heads(self, x: Float[Tensor, "*b l d"]) -> Float[Tensor, "*b heads l d_head"]:
        return rearrange(x, "... l (heads d_head) -> ... heads l d_head", heads=self.num_heads)


class FeedForward(nn.Module):
    r"""Two linear maps with a non-linearity between them, for each token alone.

    $$ y = W_2\, \phi(W_1 x), \qquad \phi(u) = u\,\sigma(1.702\,u) $$

    with a hidden layer four times as wide. $\phi$ is a close approximation of the GELU. Configs of
    released checkpoints call it "geglu-approximate", although nothing is gated.
    """

    muon = True

    def __init__(self, width: int):
        super().__init__()
        self.expand = nn.Linear(width, FEED_FORWARD_EXPANSION * width)
        self.contract = nn.Linear(FEED_FORWARD_EXPANSION * width, width)

    def forward(self, x: Float[Tensor, "b n d"]) -> Float[Tensor, "b n d"]:
        hidden = self.expand(x)  # (b, n, 4d)
        return self.contract(hidden * torch.sigmoid(GELU_SLOPE * hidden))


class PreNormBlock(nn.Module):
    """Attention and feed-forward, each of a normalised copy and added to x itself: (b, n, d).

    x = x + attention(norm(x), …)
    x = x + feed_forward(norm(x))

    Whatever else the attention needs, such as a KV cache, is handed on to it.
    """

    def __init__(self, attention: nn.Module, width: int):
        super().__init__()
        self.attention_norm = nn.LayerNorm(width)
        self.attention = attention
        self.feed_forward_norm = nn.LayerNorm(width)
        self.feed_forward = FeedForward(width)

    def forward(
        self, x: Float[Tensor, "b n d"], *cache: Any, **options: Any
    ) -> Float[Tensor, "b n d"]:
        x = x + self.attention(self.attention_norm(x), *cache, **options)
        return x + self.feed_forward(self.feed_forward_norm(x))

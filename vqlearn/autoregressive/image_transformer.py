r"""The distribution of each token by attention to the nearest tokens before it: the Image
Transformer.

    config = ImageTransformerConfig(8, 1, 17, 64, 3, num_heads=4, block_length=8, memory_length=16)
    ImageTransformer(config).log_probs(x)  # log p(x_i | x_1..x_{i-1}), (b, 64, 17)

Attention of n positions to n positions costs O(n²). Here the sequence is cut into **query blocks**
of B = `block_length` positions. All positions of a block attend to the same **memory block**: the
block itself (no further than their own position) and the M = `memory_length` positions before it.
This is the paper's 1-D local attention. Its 2-D blocks are rectangles of pixels, and the image is
made rectangle by rectangle. That is another order than the reading order of this room, so they are
left out.

The input is shifted by one position: position i starts from token i - 1.

**Which tokens does a position see?** Count positions and tokens from 0. In one layer position i
attends to the positions $B \lfloor i/B \rfloor - M$ to i. Each of them has attended to earlier ones
too, so after L layers position i sees the tokens j with

$$ a_L(i) - 1 \le j \le i - 1, \qquad
   a_L(i) = B \left( \left\lfloor \frac{i}{B} \right\rfloor
            - (L - 1) \left\lceil \frac{M}{B} \right\rceil \right) - M $$

So every layer adds $\lceil M/B \rceil$ blocks. With M = 0 it adds none.

Source: Parmar et al. 2018, "Image Transformer". There the norm comes after each sum and dropout
is used; here it is the block of `transformer/layers.py`: the norm first, and no dropout.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from vqlearn.autoregressive.model import AutoregressiveModel
from vqlearn.autoregressive.pixel_config import PixelConfig
from vqlearn.probability.checks import check_multiple, check_sequences
from vqlearn.transformer import Attention, PreNormBlock, initialise


@dataclass(frozen=True)
class ImageTransformerConfig(PixelConfig):
    """The sizes of the network, and how far back a layer attends; the images: see `PixelConfig`.

    - `width`, `num_layers`, `num_heads`: the size; every head is `width / num_heads` wide.
    - `block_length`: B, the positions of a query block; the n positions must be a whole number of
      blocks.
    - `memory_length`: M, the positions before the block that it attends to as well; may be 0.

    Raises `ValueError` for other sizes.
    """

    width: int
    num_layers: int
    num_heads: int
    block_length: int
    memory_length: int
    smallest: ClassVar[dict[str, int]] = {"num_codes": 2, "memory_length": 0}

    def __post_init__(self) -> None:
        super().__post_init__()
        check_multiple(self, "width", "num_heads")
        check_multiple(self, "num_positions", "block_length")


def local_mask(
    num_positions: int, block_length: int, memory_length: int
) -> Bool[Tensor, "blocks query memory"]:
    """The positions of its memory block that each position of a query block may attend to.

    Block k is the positions kB to kB + B - 1; its memory block begins at kB - M. True: the position
    is in the image, and it is not after the one that attends. n (B + M) entries, not n².
    """
    start = rearrange(torch.arange(0, num_positions, block_length), "k -> k 1 1")
    query = start + rearrange(torch.arange(block_length), "q -> q 1")
    memory = start - memory_length + torch.arange(block_length + memory_length)
    return (memory >= 0) & (memory <= query)


class LocalAttention(Attention):
    r"""Attention of each position to its memory block.

    $$ \mathrm{softmax}\!\left(\frac{Q K^\top}{\sqrt{d_\text{head}}}\right) V $$

    once per head and query block, over the positions that `local_mask` allows; the heads are then
    mixed by a linear map. Cost: O(n (B + M) d + n d²), where full attention costs O(n² d + n d²).
    """

    def __init__(self, config: ImageTransformerConfig):
        d, heads = config.width, config.num_heads
        super().__init__(heads, d // heads, d, bias=True)
        self.block_length, self.memory_length = config.block_length, config.memory_length
        mask = local_mask(config.num_positions, config.block_length, config.memory_length)
        self.register_buffer("mask", rearrange(mask, "k q m -> k 1 q m"), persistent=False)

    def forward(self, x: Float[Tensor, "b n d"]) -> Float[Tensor, "b n d"]:
        query = rearrange(self.query(x), "b (k q) d -> b k q d", q=self.block_length)
        key, value = self._memory_blocks(self.key(x)), self._memory_blocks(self.value(x))
        heads = map(self.split_heads, (query, key, value))  # each (b, k, heads, q or m, d_head)
        mixed = F.scaled_dot_product_attention(*heads, attn_mask=self.mask)
        return self.output(rearrange(mixed, "b k heads q d_head -> b (k q) (heads d_head)"))

    def _memory_blocks(self, x: Float[Tensor, "b n d"]) -> Float[Tensor, "b blocks memory d"]:
        """The B + M positions that end with each block; 0, and masked, before the first
        position."""
        padded = F.pad(x, (0, 0, self.memory_length, 0))  # (b, M + n, d)
        blocks = padded.unfold(1, self.memory_length + self.block_length, self.block_length)
        return rearrange(blocks, "b k d m -> b k m d")


class ImageTransformer(AutoregressiveModel):
    r"""The distribution of each token, from the tokens shortly before it.

    $$ h_i = \text{value}[\text{colour}_{i-1},\, x_{i-1}] + \text{row}[r_i] + \text{column}[c_i]
             + \text{colour}[k_i], \qquad
       \text{scores} = W\,\mathrm{LayerNorm}(\text{blocks}(h)) + a $$

    Position i stands in row $r_i$ and column $c_i$ and has the colour $k_i$; the token before
    position 0 counts as 0. As in the paper, each colour has K vectors of its own. The scores are
    unnormalised. Fresh weights are those of `Denoiser`.

    Cost: O(n (B + M) d + n d²) for each layer; a sequence is drawn with n such calls
    (`decoding.without_cache`).
    """

    def __init__(self, config: ImageTransformerConfig):
        super().__init__(config)
        d, c = config.width, config.channels
        self.value_embedding = nn.Embedding(c * config.num_codes, d)
        self.row_embedding = nn.Embedding(config.side, d)
        self.column_embedding = nn.Embedding(config.side, d)
        self.colour_embedding = nn.Embedding(c, d)
        self.blocks = nn.Sequential(
            *(PreNormBlock(LocalAttention(config), d) for _ in range(config.num_layers))
        )
        self.output_norm = nn.LayerNorm(d)
        self.to_logits = nn.Linear(d, config.num_codes)
        self.apply(initialise)

    def embed(self, x: Int[Tensor, "b n"]) -> Float[Tensor, "b n d"]:
        """The vector of each token: that of its value, from the K vectors of its colour.

        Raises `ValueError` for sequences of a wrong length, and on the CPU for tokens outside
        0..K - 1; elsewhere that check would wait for the device.
        """
        check_sequences("x", x, self.num_positions, self.num_codes)
        colour = torch.arange(self.num_positions, device=x.device) % self.config.channels
        return self.value_embedding(colour * self.num_codes + x)  # (b, n) -> (b, n, d)

    def from_embedding(self, h: Float[Tensor, "b n d"]) -> Float[Tensor, "b n k"]:
        """Scores of the K codes at every position; position i does not depend on h[:, i:]."""
        rows = rearrange(self.row_embedding.weight, "r d -> r 1 1 d")
        columns = rearrange(self.column_embedding.weight, "c d -> c 1 d")
        positions = rows + columns + self.colour_embedding.weight  # (r, c, k, d)
        before = F.pad(h, (0, 0, 1, -1))  # position i gets token i - 1, position 0 gets 0
        x = before + rearrange(positions, "r c k d -> (r c k) d")  # (b, n, d) + (n, d)
        return self.to_logits(self.output_norm(self.blocks(x)))  # (b, n, d) -> (b, n, K)

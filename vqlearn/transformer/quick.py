"""The denoiser in fewer operations, for many steps with one text and without gradients.

The numbers are those of `Denoiser.forward` but for rounding. What changes:

- what no step changes is computed once: the keys and values of the text, and the scale and shift
  of every level;
- where all sequences are at one level, scale and shift are the weights of the layer norm itself;
- the hidden layer of the feed-forward is overwritten by what follows from it;
- scores are computed at the positions that are asked for alone.
"""

from dataclasses import dataclass

import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor, nn

from vqlearn.transformer.layers import GELU_SLOPE, Attention, FeedForward


@dataclass(frozen=True, eq=False)
class PreparedBlock:
    """What a block computes once for all steps: two tables with a row for each level, the text."""

    self_attention_table: Float[Tensor, "levels d2"]
    cross_attention_table: Float[Tensor, "levels d2"]
    keys: Float[Tensor, "b heads l d_head"]
    values: Float[Tensor, "b heads l d_head"]


@dataclass(frozen=True, eq=False)
class PreparedText:
    """What `Denoiser.quick_scores` takes in the place of the text states.

    It is made by `Denoiser.prepared` from the weights as they are: once they, their dtype or their
    device change, it is wrong.
    """

    blocks: tuple[PreparedBlock, ...]

    def __len__(self) -> int:
        """The number of captions."""
        return len(self.blocks[0].keys)


def prepare(blocks: nn.ModuleList, text: Float[Tensor, "b l c"]) -> PreparedText:
    """The tables and the keys and values of every block."""
    return PreparedText(
        tuple(
            PreparedBlock(
                block.self_attention_norm.table(),
                block.cross_attention_norm.table(),
                *block.cross_attention.keys_values(text),
            )
            for block in blocks
        )
    )


def run_block(
    block: nn.Module,
    x: Float[Tensor, "b n d"],
    row: int | Int[Tensor, " b"],
    prepared: PreparedBlock,
) -> Float[Tensor, "b n d"]:
    """`Block.forward` with what is prepared, one level for all sequences or one for each."""
    normed = normalise(x, prepared.self_attention_table[row])
    x = x + block.self_attention(normed, normed)  # a new tensor: the sums below may overwrite it
    normed = normalise(x, prepared.cross_attention_table[row])
    x += attend_to_text(block.cross_attention, normed, prepared)
    x += feed_forward(block.feed_forward, block.feed_forward_norm(x))
    return x


def normalise(
    x: Float[Tensor, "b n d"], scale_shift: Float[Tensor, "*b d2"]
) -> Float[Tensor, "b n d"]:
    """The adaptive layer norm, from a row of its table: one for all sequences, or one for each."""
    if scale_shift.ndim == 1:
        scale, shift = scale_shift.chunk(2)
        return F.layer_norm(x, x.shape[-1:], 1 + scale, shift)
    scale, shift = rearrange(scale_shift, "b (two d) -> two b 1 d", two=2)
    return F.layer_norm(x, x.shape[-1:]) * (1 + scale) + shift


def attend_to_text(
    attention: Attention, x: Float[Tensor, "b n d"], prepared: PreparedBlock
) -> Float[Tensor, "b n d"]:
    """Only the queries depend on x."""
    query = attention.split_heads(attention.query(x))
    return attention.mix(query, prepared.keys, prepared.values)


def feed_forward(layer: FeedForward, x: Float[Tensor, "b n d"]) -> Float[Tensor, "b n d"]:
    """The same function with two tensors of the hidden layer's size in place of four."""
    hidden = layer.expand(x)  # (b, n, 4d)
    gate = (GELU_SLOPE * hidden).sigmoid_()
    return layer.contract(hidden.mul_(gate))

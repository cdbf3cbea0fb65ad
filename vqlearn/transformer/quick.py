"""The denoiser in fewer operations, for many steps with one text and without gradients.

The numbers are those of `Denoiser.forward` but for rounding. What changes:

- what no step changes is computed once: the keys and values of the text, and the scale and shift
  of every level;
- where all sequences are at one level, scale and shift are the weights of the layer norm itself,
  one pass over memory instead of three;
- the feed-forward works in place: with u' = 1.702 u its non-linearity is SiLU(u') / 1.702;
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
    """What `Denoiser.forward` takes in the place of the text states: see `Denoiser.prepared`."""

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
    level_index: int | Int[Tensor, " b"],
    prepared: PreparedBlock,
) -> Float[Tensor, "b n d"]:
    """`Block.forward` with what is prepared; x may be overwritten."""
    normed = normalise(x, prepared.self_attention_table[level_index])
    x = x + block.self_attention(normed, normed)
    normed = normalise(x, prepared.cross_attention_table[level_index])
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
    """The same function; the hidden layer, the largest tensor of all, is there once."""
    hidden = layer.expand(x).mul_(GELU_SLOPE)  # (b, n, 4d)
    return layer.contract(F.silu(hidden, inplace=True).div_(GELU_SLOPE))

"""The denoiser in fewer operations, for many steps with one text and without gradients.

The numbers are those of `Denoiser.forward` but for rounding. What changes:

- what no step changes is computed once: the keys and values of the text, and the scale and shift
  of every level;
- where all sequences are at one level, scale and shift are the weights of the layer norm itself;
- the hidden layer of the feed-forward is overwritten by what follows from it;
- with guidance each sequence has two captions: up to the first look at the text, both are one;
- after the last look at the image, all is computed at the positions that are asked for alone.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from einops import rearrange, repeat
from jaxtyping import Float, Int
from torch import Tensor, nn

from vqlearn.probability.checks import shown
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


def run_blocks(
    blocks: nn.ModuleList,
    x: Float[Tensor, "b n d"],
    row: int | Int[Tensor, " b"],
    text: PreparedText,
    places: Int[Tensor, "b m"] | None,
    halves: tuple[Callable, Callable],
) -> Float[Tensor, "rb m d"]:
    """All blocks, with r captions for each of b sequences: first one for each, then the next.

    `row` says the level: one for all sequences, or one for each. Out come all positions, or those
    places of each sequence. `halves`: the two functions below, or what a compiler made of them.
    """
    with_image, with_text = halves
    captions = len(text) // len(x)
    for number, (block, prepared) in enumerate(zip(blocks, text.blocks, strict=True)):
        is_last = number == len(blocks) - 1
        x = with_image(block, x, row, prepared, places if is_last else None)
        if number == 0:  # up to here no caption was looked at
            x = repeat(x, "b m d -> (r b) m d", r=captions).contiguous()
            row = row if isinstance(row, int) else row.repeat(captions)
        x = with_text(block, x, row, prepared)
    return x


def attend_to_image(
    block: nn.Module,
    x: Float[Tensor, "rb n d"],
    row: int | Int[Tensor, " rb"],
    prepared: PreparedBlock,
    places: Int[Tensor, "b m"] | None = None,
) -> Float[Tensor, "rb m d"]:
    """The first third of `Block.forward`, for all positions or for some places of each sequence.

    Nobody asks what becomes of the others, but their keys and values are still looked at.
    """
    normed = normalise(x, prepared.self_attention_table[row])
    asked = normed
    if places is not None:
        asked, x = at_places(normed, places), at_places(x, places)
    return x + block.self_attention(asked, normed)


def add_text(
    block: nn.Module,
    x: Float[Tensor, "b m d"],
    row: int | Int[Tensor, " b"],
    prepared: PreparedBlock,
) -> Float[Tensor, "b m d"]:
    """The rest of the block: attention to the caption, feed-forward. It overwrites x."""
    normed = normalise(x, prepared.cross_attention_table[row])
    x += attend_to_text(block.cross_attention, normed, prepared)
    x += feed_forward(block.feed_forward, block.feed_forward_norm(x))
    return x


HALVES = (attend_to_image, add_text)


def at_places(x: Float[Tensor, "rb n d"], places: Int[Tensor, "b m"]) -> Float[Tensor, "rb m d"]:
    """Each sequence at its own places."""
    places = repeat(places, "b m -> (r b) m d", r=len(x) // len(places), d=x.shape[-1])
    return x.gather(1, places)


def places_of(
    positions: Int[Tensor, " m"], batch: int, num_positions: int
) -> tuple[Int[Tensor, "b most"], Int[Tensor, " m"]]:
    """Positions of the flattened batch as places of each sequence, and where they stand there.

    Some sequences are asked at fewer places than others: their rows end with place 0, unused.
    Raises `ValueError` unless the positions ascend.
    """
    if (positions.diff() < 0).any():
        raise ValueError(f"positions is {shown(positions.tolist())}; allowed: ascending")
    sequence = positions // num_positions
    column = torch.arange(len(positions)) - torch.searchsorted(sequence, sequence)
    most = int(column.max()) + 1
    places = torch.zeros(batch, most, dtype=torch.long)
    places[sequence, column] = positions % num_positions
    return places, sequence * most + column


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


def feed_forward(layer: nn.Module, x: Float[Tensor, "b n d"]) -> Float[Tensor, "b n d"]:
    r"""The same function in one tensor of the hidden layer's size, if it is a `FeedForward`.

    With the slope $s$: $h\,\sigma(s h) = \mathrm{SiLU}(s h) / s$, which PyTorch computes in place.
    In float16 it overflows for |h| above 38,000.
    """
    if not isinstance(layer, FeedForward):
        return layer(x)
    hidden = F.silu(layer.expand(x).mul_(GELU_SLOPE), inplace=True)  # (b, n, 4d)
    return layer.contract(hidden.mul_(1 / GELU_SLOPE))

"""The official denoisers, a second time: functions over the flat state under its official keys.

Written from the facts of the original code, without vqlearn: the two can only agree if both are
right. `state` is what the EMA of a training checkpoint holds (`transformer.blocks.0.…`). The
levels are the original's: index t = 0 … T - 1 stands for level t + 1. Logits have the K codes on
the last axis (the original: on the axis before it).
"""

import torch
from torch import Tensor
from torch.nn import functional as F

State = dict[str, Tensor]


def linear(state: State, name: str, x: Tensor) -> Tensor:
    return F.linear(x, state[f"{name}.weight"], state[f"{name}.bias"])


def layer_norm(state: State, name: str, x: Tensor) -> Tensor:
    return F.layer_norm(x, x.shape[-1:], state[f"{name}.weight"], state[f"{name}.bias"])


def quick_gelu(x: Tensor) -> Tensor:
    return x * torch.sigmoid(1.702 * x)


def adaptive_norm(state: State, name: str, x: Tensor, index: Tensor) -> Tensor:
    """LayerNorm whose scale and shift depend on a row of a table: of the level, or of the class.

    An index past the table means the mean of all rows. The first index of the batch decides that
    for the whole batch.
    """
    table = state[f"{name}.emb.weight"]
    if index[0] >= len(table):
        rows = table.mean(dim=0).expand(len(index), -1)
    else:
        rows = table[index]
    scale, shift = linear(state, f"{name}.linear", F.silu(rows))[:, None].chunk(2, dim=-1)
    return F.layer_norm(x, x.shape[-1:]) * (1 + scale) + shift


def attend(state: State, name: str, x: Tensor, source: Tensor, heads: int) -> Tensor:
    """Every token of `x` attends to every one of `source`; nothing is masked."""
    query, key, value = (
        linear(state, f"{name}.{part}", given).unflatten(-1, (heads, -1)).transpose(1, 2)
        for part, given in (("query", x), ("key", source), ("value", source))
    )
    scores = query @ key.transpose(-1, -2) / query.shape[-1] ** 0.5  # (b, heads, n, source)
    mixed = scores.softmax(dim=-1) @ value
    return linear(state, f"{name}.proj", mixed.transpose(1, 2).flatten(2))


def mlp(state: State, name: str, x: Tensor) -> Tensor:
    """Two linear layers, or two 3x3 convolutions over the square grid of tokens."""
    if f"{name}.0.weight" in state:
        return linear(state, f"{name}.2", quick_gelu(linear(state, f"{name}.0", x)))
    side = round(x.shape[1] ** 0.5)
    h = x.transpose(1, 2).unflatten(-1, (side, side))  # (b, width, row, column)
    for conv in ("conv1", "conv2"):
        weight, bias = (state[f"{name}.{conv}.{part}"] for part in ("weight", "bias"))
        h = F.conv2d(h, weight, bias, padding=1)
        h = quick_gelu(h) if conv == "conv1" else h
    return h.flatten(2).transpose(1, 2)


def block(
    state: State, name: str, x: Tensor, t: Tensor, condition: Tensor | None, heads: int
) -> Tensor:
    h = adaptive_norm(state, f"{name}.ln1", x, t)
    if f"{name}.attn1.key.weight" in state:  # text: attend to it, too
        x = x + attend(state, f"{name}.attn1", h, h, heads)
        h = adaptive_norm(state, f"{name}.ln1_1", x, t)
        x = x + attend(state, f"{name}.attn2", h, condition, heads)
    else:
        x = x + attend(state, f"{name}.attn", h, h, heads)
    if f"{name}.ln2.emb.weight" in state:  # class
        h = adaptive_norm(state, f"{name}.ln2", x, condition)
    else:
        h = layer_norm(state, f"{name}.ln2", x)
    return x + mlp(state, f"{name}.mlp", h)


def embed_tokens(state: State, x_t: Tensor) -> Tensor:
    """Token plus position. Position i is row i // w and column i % w *of the tables*, w wide.

    Where the grid has as many columns as the table, that is the row and column of the image. The
    16x16 grids have tables of 32 rows: there it is not.
    """
    token, rows, columns = (
        state[f"transformer.content_emb.{name}.weight"]
        for name in ("emb", "height_emb", "width_emb")
    )
    number = torch.arange(x_t.shape[1])
    return token[x_t] + (rows[number // len(columns)] + columns[number % len(columns)])


def denoise(
    state: State, x_t: Tensor, t: Tensor, condition: Tensor | None = None, *, heads: int = 16
) -> Tensor:
    """Logits (b, n, K) of p_θ(x_0 | x_t) for tokens x_t (b, n), K standing for MASK, at t (b,).

    `condition` is text states (b, l, d), classes (b,) or nothing, by the kind of the state.
    """
    x = embed_tokens(state, x_t)
    number = 0
    while f"transformer.blocks.{number}.ln1.emb.weight" in state:
        x = block(state, f"transformer.blocks.{number}", x, t, condition, heads)
        number += 1
    return linear(state, "transformer.to_logits.1", layer_norm(state, "transformer.to_logits.0", x))

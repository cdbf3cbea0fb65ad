"""The text half of CLIP inside a training checkpoint, and the null condition, a second time."""

import torch
from official.denoiser import State, layer_norm, linear, quick_gelu
from torch import Tensor
from torch.nn import functional as F

HEAD_WIDTH = 64


def causal_attention(state: State, name: str, x: Tensor) -> Tensor:
    """Each token attends to itself and to those before it. One matrix holds q, k and v."""
    joint = F.linear(x, state[f"{name}.in_proj_weight"], state[f"{name}.in_proj_bias"])
    query, key, value = (
        part.unflatten(-1, (-1, HEAD_WIDTH)).transpose(1, 2) for part in joint.chunk(3, dim=-1)
    )
    scores = query @ key.transpose(-1, -2) / HEAD_WIDTH**0.5
    later = torch.ones(scores.shape[-2:], dtype=torch.bool).triu(1)
    mixed = scores.masked_fill(later, -torch.inf).softmax(dim=-1) @ value
    return linear(state, f"{name}.out_proj", mixed.transpose(1, 2).flatten(2))


def encode_text(state: State, tokens: Tensor) -> Tensor:
    """Text states (b, l, d), each of length 1, of token numbers (b, l), padding included.

    The matrices are kept in half precision; the sums are taken in single precision. The
    projection to the space of the images is not used.
    """
    prefix = "condition_emb."
    text = {key: value.float() for key, value in state.items() if key.startswith(prefix)}
    x = text[f"{prefix}token_embedding.weight"][tokens] + text[f"{prefix}positional_embedding"]
    number = 0
    while f"{prefix}transformer.resblocks.{number}.ln_1.weight" in text:
        name = f"{prefix}transformer.resblocks.{number}"
        h = layer_norm(text, f"{name}.ln_1", x)
        x = x + causal_attention(text, f"{name}.attn", h)
        h = quick_gelu(linear(text, f"{name}.mlp.c_fc", layer_norm(text, f"{name}.ln_2", x)))
        x = x + linear(text, f"{name}.mlp.c_proj", h)
        number += 1
    x = layer_norm(text, f"{prefix}ln_final", x)
    return x / x.norm(dim=-1, keepdim=True)


def null_text(state: State, empty_tokens: Tensor, count: int) -> Tensor:
    """The null condition (count, l, d): learned if the state has it, else the empty text (l,)."""
    if "empty_text_embed" in state:
        null = state["empty_text_embed"].float()
    else:
        null = encode_text(state, empty_tokens[None])[0]
    return null.expand(count, -1, -1)

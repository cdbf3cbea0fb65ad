"""The official tokenizers, a second time: functions over the flat state of a stand-alone file.

Images are RGB in 0 … 1, (b, 3, height, width). The kind of quantizer is read off its keys.
"""

import torch
from official.denoiser import State
from torch import Tensor
from torch.nn import functional as F


def conv(state: State, name: str, x: Tensor, **options) -> Tensor:
    return F.conv2d(x, state[f"{name}.weight"], state[f"{name}.bias"], **options)


def group_norm(state: State, name: str, x: Tensor) -> Tensor:
    return F.group_norm(x, 32, state[f"{name}.weight"], state[f"{name}.bias"], eps=1e-6)


def residual(state: State, name: str, x: Tensor) -> Tensor:
    h = x
    for part in ("1", "2"):
        h = F.silu(group_norm(state, f"{name}.norm{part}", h))
        h = conv(state, f"{name}.conv{part}", h, padding=1)
    if f"{name}.nin_shortcut.weight" in state:
        x = conv(state, f"{name}.nin_shortcut", x)
    return x + h


def attend(state: State, name: str, x: Tensor) -> Tensor:
    """One head over all positions of the map."""
    h = group_norm(state, f"{name}.norm", x)
    query, key, value = (
        conv(state, f"{name}.{part}", h).flatten(2).transpose(1, 2) for part in ("q", "k", "v")
    )
    scores = query @ key.transpose(1, 2) / query.shape[-1] ** 0.5  # (b, position, position)
    mixed = (scores.softmax(dim=-1) @ value).transpose(1, 2).unflatten(-1, x.shape[2:])
    return x + conv(state, f"{name}.proj_out", mixed)


def level(state: State, name: str, x: Tensor) -> Tensor:
    """The residual blocks of one resolution, each followed by attention where there is any."""
    number = 0
    while f"{name}.block.{number}.norm1.weight" in state:
        x = residual(state, f"{name}.block.{number}", x)
        if f"{name}.attn.{number}.norm.weight" in state:
            x = attend(state, f"{name}.attn.{number}", x)
        number += 1
    return x


def middle(state: State, name: str, x: Tensor) -> Tensor:
    x = residual(state, f"{name}.mid.block_1", x)
    x = attend(state, f"{name}.mid.attn_1", x)
    return residual(state, f"{name}.mid.block_2", x)


def head(state: State, name: str, x: Tensor) -> Tensor:
    x = F.silu(group_norm(state, f"{name}.norm_out", x))
    return conv(state, f"{name}.conv_out", x, padding=1)


def num_levels(state: State, name: str) -> int:
    number = 0
    while f"{name}.{number}.block.0.norm1.weight" in state:
        number += 1
    return number


def features(state: State, images: Tensor) -> Tensor:
    """What is quantized, (b, d, rows, columns). Halving pads by one at the right and below."""
    x = conv(state, "encoder.conv_in", 2 * images - 1, padding=1)
    levels = num_levels(state, "encoder.down")
    for number in range(levels):
        x = level(state, f"encoder.down.{number}", x)
        if number < levels - 1:
            x = F.pad(x, (0, 1, 0, 1))
            x = conv(state, f"encoder.down.{number}.downsample.conv", x, stride=2)
    return conv(state, "quant_conv", head(state, "encoder", middle(state, "encoder", x)))


def code_scores(state: State, images: Tensor) -> Tensor:
    """(b, n, codes): the larger, the better the code fits. Gumbel: its logits; else -distance²."""
    x = features(state, images)
    if "quantize.proj.weight" in state:
        return conv(state, "quantize.proj", x).flatten(2).transpose(1, 2)
    vectors = x.flatten(2).transpose(1, 2)[:, :, None]
    return -(vectors - codebook(state)).square().sum(dim=-1)


def codebook(state: State) -> Tensor:
    keys = ("quantize.embed.weight", "quantize.embedding.weight", "quantize.embedding")
    return next(state[key] for key in keys if key in state)


def encode(state: State, images: Tensor) -> Tensor:
    """Codes (b, n). The original adds Gumbel noise to the logits of the Gumbel kind; here none."""
    return code_scores(state, images).argmax(dim=-1)


def decode(state: State, codes: Tensor) -> Tensor:
    """Images of codes (b, n) on a square grid."""
    side = round(codes.shape[1] ** 0.5)
    vectors = codebook(state)[codes].transpose(1, 2).unflatten(-1, (side, side))
    x = conv(state, "decoder.conv_in", conv(state, "post_quant_conv", vectors), padding=1)
    x = middle(state, "decoder", x)
    for number in reversed(range(num_levels(state, "decoder.up"))):
        x = level(state, f"decoder.up.{number}", x)
        if number > 0:
            x = F.interpolate(x, scale_factor=2, mode="nearest")
            x = conv(state, f"decoder.up.{number}.upsample.conv", x, padding=1)
    return (head(state, "decoder", x).clamp(-1, 1) + 1) / 2


def to_bytes(images: Tensor) -> Tensor:
    """8 bits a channel: cut off, not rounded."""
    return (images * 255).to(torch.uint8)


def full_codes(remap: Tensor) -> Tensor:
    """For each small code the first full code that `remap` (full codes) sends to it.

    Small code 0 stands for every full code that is not used; it decodes as the first of them.
    """
    return torch.stack([(remap == small).nonzero()[0, 0] for small in range(int(remap.max()) + 1)])

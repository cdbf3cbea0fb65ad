"""Names, shapes and types of every tensor in the official files, from sizes alone.

Each function lists the part it is named after, in the order of the file, as
`{key: (shape, dtype)}`. Nothing is allocated.
"""

from collections.abc import Iterable
from itertools import pairwise

import torch
from official.sizes import CodecSizes, DenoiserSizes, ReleaseSizes, TextSizes

Shapes = dict[str, tuple[tuple[int, ...], torch.dtype]]


def under(prefix: str, shapes: Shapes) -> Shapes:
    return {f"{prefix}.{key}": value for key, value in shapes.items()}


def tensor(*shape: int, dtype=torch.float32):
    return (shape, dtype)


def layer(*weight: int, dtype=torch.float32) -> Shapes:
    """A linear layer or a convolution: one bias for each row of the weight."""
    return {"weight": tensor(*weight, dtype=dtype), "bias": tensor(weight[0], dtype=dtype)}


def joined(parts: Iterable[tuple[str, Shapes]]) -> Shapes:
    return {key: value for prefix, shapes in parts for key, value in under(prefix, shapes).items()}


def adaptive_norm(rows: int, width: int) -> Shapes:
    return joined([("emb", {"weight": tensor(rows, width)}), ("linear", layer(2 * width, width))])


def attention(width: int, source: int) -> Shapes:
    """Attention from `width` numbers a token to `source` numbers a token."""
    return joined(
        [
            ("key", layer(width, source)),
            ("query", layer(width, width)),
            ("value", layer(width, source)),
            ("proj", layer(width, width)),
        ]
    )


def block(sizes: DenoiserSizes) -> Shapes:
    width, inner, length = sizes.width, sizes.mlp_width, sizes.grid**2
    level = adaptive_norm(sizes.steps, width)
    plain = layer(width)
    if "text" in sizes.kind:
        causal = {"mask": tensor(1, 1, length, length)}  # all ones below the diagonal, never read
        norms = [("ln1", level), ("ln2", plain)]
        attentions = [
            ("attn1", attention(width, width)),
            ("attn2", causal | attention(width, sizes.condition)),
            ("ln1_1", level),
        ]
    else:
        by_class = sizes.kind == "class"
        norms = [("ln1", level)]
        norms += [("ln2", adaptive_norm(sizes.condition, width) if by_class else plain)]
        attentions = [("attn", attention(width, width))]
    if sizes.kind == "text":
        mlp = [("mlp.0", layer(inner, width)), ("mlp.2", layer(width, inner))]
    else:
        mlp = [("mlp.conv1", layer(inner, width, 3, 3)), ("mlp.conv2", layer(width, inner, 3, 3))]
    return joined(norms + attentions + mlp)


def denoiser(sizes: DenoiserSizes) -> Shapes:
    """The network itself, as it stands under `transformer.` in the EMA state."""
    width = sizes.width
    tables = {
        "emb.weight": tensor(sizes.codes + 1, width),
        "height_emb.weight": tensor(sizes.position_rows, width),
        "width_emb.weight": tensor(sizes.position_rows, width),
    }
    blocks = [(f"blocks.{number}", block(sizes)) for number in range(sizes.blocks)]
    head = [("to_logits.0", layer(width)), ("to_logits.1", layer(sizes.codes, width))]
    return joined([("content_emb", tables), *blocks, *head])


def text_encoder(sizes: TextSizes) -> Shapes:
    """CLIP's text half, as it stands under `condition_emb.`: matrices in half precision."""
    half, width = torch.float16, sizes.width
    shapes = {
        "positional_embedding": tensor(sizes.length, width),
        "text_projection": tensor(width, width, dtype=half),
        "token_embedding.weight": tensor(sizes.vocabulary, width),
    }
    for number in range(sizes.blocks):
        parts = [
            ("attn", {"in_proj_weight": tensor(3 * width, width, dtype=half)}),
            ("attn", {"in_proj_bias": tensor(3 * width, dtype=half)}),
            ("attn.out_proj", layer(width, width, dtype=half)),
            ("ln_1", layer(width)),
            ("mlp.c_fc", layer(4 * width, width, dtype=half)),
            ("mlp.c_proj", layer(width, 4 * width, dtype=half)),
            ("ln_2", layer(width)),
        ]
        shapes |= under(f"transformer.resblocks.{number}", joined(parts))
    return shapes | under("ln_final", layer(width))


def schedule(sizes: DenoiserSizes) -> Shapes:
    """Buffers of the process and of importance sampling over the levels."""
    one_step = [f"log_{name}" for name in ("at", "bt", "ct")]
    total = [f"log_cumprod_{name}" for name in ("at", "bt", "ct")]
    shapes = {name: tensor(sizes.steps) for name in one_step}
    shapes |= {name: tensor(sizes.steps + 1) for name in total}
    shapes |= {"log_1_min_ct": tensor(sizes.steps)}
    shapes |= {"log_1_min_cumprod_ct": tensor(sizes.steps + 1)}
    return shapes | {name: tensor(sizes.steps) for name in ("Lt_history", "Lt_count")}


def diffusion_model(sizes: ReleaseSizes) -> Shapes:
    """What the EMA holds: null, buffers, text encoder and denoiser."""
    shapes: Shapes = {}
    if sizes.learned_null:
        null = (sizes.text.length, sizes.text.width)
        shapes["empty_text_embed"] = tensor(*null, dtype=torch.float64)
    shapes |= schedule(sizes.denoiser)
    if sizes.text:
        shapes |= under("condition_emb", text_encoder(sizes.text))
    return shapes | under("transformer", denoiser(sizes.denoiser))


def residual(wide_in: int, wide_out: int) -> Shapes:
    parts = [
        ("norm1", layer(wide_in)),
        ("conv1", layer(wide_out, wide_in, 3, 3)),
        ("norm2", layer(wide_out)),
        ("conv2", layer(wide_out, wide_out, 3, 3)),
    ]
    if wide_in != wide_out:
        parts.append(("nin_shortcut", layer(wide_out, wide_in, 1, 1)))
    return joined(parts)


def spatial_attention(wide: int) -> Shapes:
    maps = [(name, layer(wide, wide, 1, 1)) for name in ("q", "k", "v", "proj_out")]
    return joined([("norm", layer(wide)), *maps])


def middle(wide: int) -> Shapes:
    return joined(
        [
            ("mid.block_1", residual(wide, wide)),
            ("mid.attn_1", spatial_attention(wide)),
            ("mid.block_2", residual(wide, wide)),
        ]
    )


def level(widths: list[int], *, attends: bool, resample: str) -> Shapes:
    """Residual blocks from width to width, attention after each, and a change of resolution."""
    wide = widths[-1]
    parts = [(f"block.{i}", residual(*pair)) for i, pair in enumerate(pairwise(widths))]
    if attends:
        parts += [(f"attn.{i}", spatial_attention(wide)) for i in range(len(widths) - 1)]
    if resample:
        parts.append((f"{resample}.conv", layer(wide, wide, 3, 3)))
    return joined(parts)


def encoder(sizes: CodecSizes) -> Shapes:
    wide = [sizes.channels * multiplier for multiplier in (1, *sizes.multipliers)]
    last = len(sizes.multipliers) - 1
    shapes = under("conv_in", layer(sizes.channels, 3, 3, 3))
    for i in range(last + 1):
        widths = [wide[i]] + [wide[i + 1]] * sizes.blocks
        resample = "downsample" if i < last else ""
        shapes |= under(f"down.{i}", level(widths, attends=i == last, resample=resample))
    shapes |= middle(wide[-1]) | under("norm_out", layer(wide[-1]))
    return shapes | under("conv_out", layer(sizes.latent, wide[-1], 3, 3))


def decoder(sizes: CodecSizes) -> Shapes:
    wide = [sizes.channels * multiplier for multiplier in sizes.multipliers]
    last = len(wide) - 1
    shapes = under("conv_in", layer(wide[-1], sizes.latent, 3, 3)) | middle(wide[-1])
    comes_in = [*wide[1:], wide[-1]]  # level i is entered from level i + 1
    for i in range(last + 1):
        widths = [comes_in[i]] + [wide[i]] * (sizes.blocks + 1)
        resample = "upsample" if i > 0 else ""
        shapes |= under(f"up.{i}", level(widths, attends=i == last, resample=resample))
    shapes |= under("norm_out", layer(wide[0]))
    return shapes | under("conv_out", layer(3, wide[0], 3, 3))


def quantizer(sizes: CodecSizes) -> Shapes:
    codes, wide = sizes.codes, sizes.code_width
    if sizes.kind == "gumbel":
        return under("proj", layer(codes, wide, 1, 1)) | {"embed.weight": tensor(codes, wide)}
    if sizes.kind == "vq":
        return {"embedding.weight": tensor(codes, wide)}
    return {
        "embedding": tensor(codes, wide),
        "cluster_size": tensor(codes),
        "embedding_avg": tensor(codes, wide),
    }


def codec(sizes: CodecSizes) -> Shapes:
    """A tokenizer of its own, as in the stand-alone files."""
    return joined(
        [
            ("encoder", encoder(sizes)),
            ("decoder", decoder(sizes)),
            ("quantize", quantizer(sizes)),
            ("quant_conv", layer(sizes.code_width, sizes.latent, 1, 1)),
            ("post_quant_conv", layer(sizes.latent, sizes.code_width, 1, 1)),
        ]
    )

"""The one table that ties our attribute names to the key names of diffusers' files.

Our attributes are named for readers (`blocks.3.self_attention.query`), the files keep the names
that every released checkpoint uses (`transformer_blocks.3.attn1.to_q`). One row serves both
directions. `{i}` and `{j}` stand for a whole number; the last part of a key (`weight`, `bias`)
is never renamed.
"""

import re
from functools import cache

from torch import Tensor

Table = tuple[tuple[str, str], ...]

ATTENTION = (("query", "to_q"), ("key", "to_k"), ("value", "to_v"), ("output", "to_out.0"))
NEW_NAMES = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}
OLD_ATTENTION = re.compile(rf"\.attentions\.(\d+)\.({'|'.join(NEW_NAMES)})\.")


def rename_to_diffusers(state: dict[str, Tensor], table: Table) -> dict[str, Tensor]:
    """The weights under the names that they have in a file. An empty table changes no name.

    Raises `KeyError` with the first name that no row of the table covers.
    """
    return {renamed(key, table): value for key, value in state.items()}


def rename_from_diffusers(state: dict[str, Tensor], table: Table) -> dict[str, Tensor]:
    """The weights of a file under our names: the inverse of `rename_to_diffusers`."""
    return rename_to_diffusers(state, tuple((theirs, ours) for ours, theirs in table))


def with_new_names(key: str) -> str:
    """The name that a weight of the VQ network's attention has in files since 2023.

    Older files call it `attentions.0.query`, newer ones `attentions.0.to_q`.
    """
    return OLD_ATTENTION.sub(lambda found: f".attentions.{found[1]}.{NEW_NAMES[found[2]]}.", key)


def renamed(key: str, table: Table) -> str:
    """The new name of one weight. Raises `KeyError` if no row of the table covers it."""
    stem, dot, leaf = key.rpartition(".")
    for source, target in table:
        match = re.fullmatch(_as_pattern(source), stem)
        if match:
            return target.format(**match.groupdict()) + dot + leaf
    if table:
        raise KeyError(f"no row of the rename table covers the weight {key!r}")
    return key


@cache
def _as_pattern(template: str) -> str:
    return re.sub(r"\\{(\w)\\}", r"(?P<\1>\\d+)", re.escape(template))


def under(ours: str, theirs: str, rows: Table) -> Table:
    """The rows of a part, with the names of what it is a part of."""
    return tuple((f"{ours}.{a}", f"{theirs}.{b}") for a, b in rows)


VQVAE_RESIDUAL = (
    *((name, name) for name in ("norm1", "conv1", "norm2", "conv2")),
    ("shortcut", "conv_shortcut"),
)
VQVAE_ATTENTION = (("norm", "group_norm"), *ATTENTION)


def _vqvae_half(half: str, blocks: str, resampling: tuple[str, str]) -> Table:
    ours, theirs = f"{half}.resolutions.{{i}}", f"{half}.{blocks}.{{i}}"
    middle, mid_block = f"{half}.middle", f"{half}.mid_block"
    return (
        (f"{half}.input", f"{half}.conv_in"),
        *under(f"{ours}.residuals.{{j}}", f"{theirs}.resnets.{{j}}", VQVAE_RESIDUAL),
        *under(f"{ours}.attentions.{{j}}", f"{theirs}.attentions.{{j}}", VQVAE_ATTENTION),
        *under(ours, theirs, (resampling,)),
        *under(f"{middle}.first", f"{mid_block}.resnets.0", VQVAE_RESIDUAL),
        *under(f"{middle}.attention", f"{mid_block}.attentions.0", VQVAE_ATTENTION),
        *under(f"{middle}.second", f"{mid_block}.resnets.1", VQVAE_RESIDUAL),
        (f"{half}.output_norm", f"{half}.conv_norm_out"),
        (f"{half}.output", f"{half}.conv_out"),
    )


VQVAE_RENAMES: Table = (
    *_vqvae_half("encoder", "down_blocks", ("downsample", "downsamplers.0.conv")),
    *_vqvae_half("decoder", "up_blocks", ("upsample", "upsamplers.0.conv")),
    ("to_code_space", "quant_conv"),
    ("quantizer.codebook", "quantize.embedding"),
    ("quantizer.to_logits", "quantize.to_logits"),  # of Gumbel quantizers, which diffusers lacks
    ("full_codes", "quantize"),  # its buffer, used_codes
    ("full_codes.quantizer.codebook", "quantize.full.embedding"),
    ("full_codes.quantizer.to_logits", "quantize.full.to_logits"),
    ("from_code_space", "post_quant_conv"),
)


DENOISER_RENAMES: Table = (
    ("token_embedding.token", "latent_image_embedding.emb"),
    ("token_embedding.row", "latent_image_embedding.height_emb"),
    ("token_embedding.column", "latent_image_embedding.width_emb"),
    ("blocks.{i}.self_attention_norm.timestep_embedding", "transformer_blocks.{i}.norm1.emb"),
    ("blocks.{i}.self_attention_norm.to_scale_shift", "transformer_blocks.{i}.norm1.linear"),
    *under("blocks.{i}.self_attention", "transformer_blocks.{i}.attn1", ATTENTION),
    ("blocks.{i}.cross_attention_norm.timestep_embedding", "transformer_blocks.{i}.norm2.emb"),
    ("blocks.{i}.cross_attention_norm.to_scale_shift", "transformer_blocks.{i}.norm2.linear"),
    *under("blocks.{i}.cross_attention", "transformer_blocks.{i}.attn2", ATTENTION),
    ("blocks.{i}.feed_forward_norm", "transformer_blocks.{i}.norm3"),
    ("blocks.{i}.feed_forward_norm.class_embedding", "transformer_blocks.{i}.norm3.emb"),
    ("blocks.{i}.feed_forward_norm.to_scale_shift", "transformer_blocks.{i}.norm3.linear"),
    ("blocks.{i}.feed_forward.expand", "transformer_blocks.{i}.ff.net.0.proj"),
    ("blocks.{i}.feed_forward.contract", "transformer_blocks.{i}.ff.net.2"),
    ("output_norm", "norm_out"),
    ("to_logits", "out"),
)

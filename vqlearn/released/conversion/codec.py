"""The official tokenizers, alone or inside a training checkpoint, as our `VQVAE`."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from jaxtyping import Int
from torch import Tensor

from vqlearn.checkpoints.layout import VQVAE_FOLDER
from vqlearn.checkpoints.renames import Table, renamed, under
from vqlearn.released.conversion.sources import Found, Part, Source, network_part
from vqlearn.tokens import VQVAEConfig

NORM_GROUPS = 32  # in no weight
ENCODING, DECODING = "content_codec.enc.", "content_codec.dec."
"""A training checkpoint holds two halves, and the quantizer in both."""
FACES = "first_stage_model."
"""Of the tokenizer of faces, whose file is that of an autoregressive model."""

ATTENTION = (
    *(("norm", "norm"), ("query", "q"), ("key", "k"), ("value", "v")),
    ("output", "proj_out"),
)
RESIDUAL = (
    *((name, name) for name in ("norm1", "conv1", "norm2", "conv2")),
    ("shortcut", "nin_shortcut"),
)
AVERAGES = ("quantize.embedding", "quantize.cluster_size", "quantize.embedding_avg")
"""Of a quantizer whose codes are running averages: the codes, and what they are computed from."""
ONE_BY_ONE = (".q.weight", ".k.weight", ".v.weight", ".proj_out.weight", "quantize.proj.weight")
"""The ends of names of convolutions that are linear maps here."""


def in_training_file(name: str) -> str:
    """Where a training checkpoint has a weight of the tokenizer."""
    decodes = name.startswith(("decoder.", "post_quant_conv."))
    return (DECODING if decodes else ENCODING) + name


def codec_config(found: Found, num_tokens: int | None) -> VQVAEConfig:
    """The sizes of the network; `num_tokens` is K of the denoiser, None: there is none.

    Raises `CheckpointError` as `Found` does, and for more tokens than codes.
    """
    levels = found.count("encoder.down")
    first = "encoder.down.{}.block.0.conv1".format
    width = found.outputs("quant_conv")
    codes = _num_codes(found, width)
    if num_tokens is not None and codes < num_tokens:
        found.refuse(codebook_name(found), f"{num_tokens} rows or more, for so many tokens")
    attention = tuple(i for i in range(levels) if found.has(f"encoder.down.{i}.attn"))
    return VQVAEConfig(
        block_out_channels=tuple(found.outputs(first(i)) for i in range(levels)),
        layers_per_block=found.count("encoder.down.0.block"),
        latent_channels=found.outputs("encoder.conv_out"),
        vq_embed_dim=width,
        num_vq_embeddings=num_tokens or codes,
        norm_num_groups=NORM_GROUPS,
        encoder_attention_resolutions=attention,
        decoder_attention_resolutions=tuple(
            i for i in range(levels) if found.has(f"decoder.up.{i}.attn")
        ),
        quantizer="gumbel" if _is_gumbel(found) else "nearest",
        num_full_codes=None if num_tokens in (None, codes) else codes,
    )


def codec_part(found: Found, config: VQVAEConfig, used_codes: Int[Tensor, " k"] | None) -> Part:
    """The tokenizer with all of its codes, and what a decoder needs of those that are used."""
    constants = {} if used_codes is None else {"full_codes.used_codes": used_codes}
    names, codebook = codec_names(len(config.block_out_channels)), codebook_name(found)
    num_codes = config.num_full_codes or config.num_vq_embeddings
    sources = _Sources(found.place, names, codebook, num_codes, used_codes)
    return network_part(VQVAE_FOLDER, config, sources, constants)


def codebook_name(found: Found) -> str:
    """Of the codes: each of the three kinds of quantizers has another name for them."""
    if _is_gumbel(found):
        return "quantize.embed.weight"
    return "quantize.embedding" if is_average(found) else "quantize.embedding.weight"


def is_average(found: Found) -> bool:
    """Are the codes running averages, as in the tokenizer of ITHQ? They are a buffer then."""
    return any(map(found.is_weight, AVERAGES))


def codec_names(levels: int) -> Table:
    """The official name of each attribute of a `VQVAE` but the codebook, by number of levels.

    Ours are in the order of computing, so the decoder's levels count the other way round.
    """
    rows = []
    for i in range(levels):
        for half, ours, theirs, resize in (
            ("encoder", i, f"down.{i}", "downsample"),
            ("decoder", levels - 1 - i, f"up.{i}", "upsample"),
        ):
            ours, theirs = f"{half}.resolutions.{ours}", f"{half}.{theirs}"
            rows += under(f"{ours}.residuals.{{j}}", f"{theirs}.block.{{j}}", RESIDUAL)
            rows += under(f"{ours}.attentions.{{j}}", f"{theirs}.attn.{{j}}", ATTENTION)
            rows += under(ours, theirs, ((resize, f"{resize}.conv"),))
    for half in ("encoder", "decoder"):
        rows += [(f"{half}.input", f"{half}.conv_in"), (f"{half}.output", f"{half}.conv_out")]
        rows += [(f"{half}.output_norm", f"{half}.norm_out")]
        rows += under(f"{half}.middle.first", f"{half}.mid.block_1", RESIDUAL)
        rows += under(f"{half}.middle.attention", f"{half}.mid.attn_1", ATTENTION)
        rows += under(f"{half}.middle.second", f"{half}.mid.block_2", RESIDUAL)
    return (
        *rows,
        ("to_code_space", "quant_conv"),
        ("from_code_space", "post_quant_conv"),
        ("quantizer.to_logits", "quantize.proj"),
    )


def _num_codes(found: Found, width: int) -> int:
    """By another weight than the codebook, where one has a number for each code."""
    if _is_gumbel(found):
        return found.outputs("quantize.proj")
    if found.is_weight("quantize.cluster_size"):
        return found.length("quantize.cluster_size")
    return found.rows(codebook_name(found), width)


def _is_gumbel(found: Found) -> bool:
    return found.has("quantize.proj") or found.has("quantize.embed")


class _Sources(NamedTuple):
    """Where each weight of a `VQVAE` comes from."""

    place: Callable[[str], str]
    table: Table
    codebook: str
    num_codes: int
    used_codes: Tensor | None

    def __call__(self, name: str, shape: tuple[int, ...]) -> Source:
        """Of the quantizer there may be all rows and, for the decoder, those of used codes."""
        of_used = self.used_codes is not None and name.startswith("quantizer.")
        name = name.removeprefix("full_codes.")
        is_codebook = name == "quantizer.codebook.weight"
        official = self.codebook if is_codebook else renamed(name, self.table)
        there = (self.num_codes, *shape[1:]) if of_used else shape
        if official.endswith(ONE_BY_ONE):
            there = (*there, 1, 1)
        rows = self.used_codes if of_used else None
        return Source(self.place(official), there, shape, partial(_changed, shape, rows))


def _changed(shape: tuple[int, ...], rows: Tensor | None, weight: Tensor) -> Tensor:
    """The rows that are used, without the axes of a convolution."""
    return (weight if rows is None else weight[rows]).reshape(shape)

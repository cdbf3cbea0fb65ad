"""The parts of the official text models besides the tokenizer: CLIP, the null, the denoiser."""

from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor
from transformers import CLIPTextConfig, CLIPTextModel

from vqlearn.checkpoints.layout import (
    DENOISER_FOLDER,
    NULL_TEXT_FOLDER,
    TEXT_FOLDER,
    TRANSFORMERS_STEMS,
    CheckpointError,
)
from vqlearn.checkpoints.renames import Table, renamed, under
from vqlearn.released.conversion.sources import Found, Part, Source, network_part
from vqlearn.text import NullTextConfig
from vqlearn.transformer import DenoiserConfig

DENOISER, CLIP = "transformer.transformer.", "transformer.condition_emb."
NULL = "transformer.empty_text_embed"
NUM_HEADS = 16  # of every official denoiser; in no weight
CLIP_HEAD_WIDTH = 64  # of every CLIP

ATTENTION = (*((name, name) for name in ("query", "key", "value")), ("output", "proj"))
ADAPTIVE_NORM = (("timestep_embedding", "emb"), ("to_scale_shift", "linear"))
DENOISER_NAMES: Table = (
    ("token_embedding.token", "content_emb.emb"),
    ("token_embedding.row", "content_emb.height_emb"),
    ("token_embedding.column", "content_emb.width_emb"),
    *under("blocks.{i}.self_attention_norm", "blocks.{i}.ln1", ADAPTIVE_NORM),
    *under("blocks.{i}.self_attention", "blocks.{i}.attn1", ATTENTION),
    *under("blocks.{i}.cross_attention_norm", "blocks.{i}.ln1_1", ADAPTIVE_NORM),
    *under("blocks.{i}.cross_attention", "blocks.{i}.attn2", ATTENTION),
    ("blocks.{i}.feed_forward_norm", "blocks.{i}.ln2"),
    ("blocks.{i}.feed_forward.expand", "blocks.{i}.mlp.0"),
    ("blocks.{i}.feed_forward.contract", "blocks.{i}.mlp.2"),
    ("output_norm", "to_logits.0"),
    ("to_logits", "to_logits.1"),
)
"""Our attributes, and the official names."""

CLIP_NAMES: Table = (
    ("embeddings.token_embedding", "token_embedding"),
    *under(
        "encoder.layers.{i}",
        "transformer.resblocks.{i}",
        (
            *(
                ("layer_norm1", "ln_1"),
                ("layer_norm2", "ln_2"),
                ("self_attn.out_proj", "attn.out_proj"),
            ),
            *(("mlp.fc1", "mlp.c_fc"), ("mlp.fc2", "mlp.c_proj")),
        ),
    ),
    ("final_layer_norm", "ln_final"),
)
"""The names of transformers, and the official ones, which are those of OpenAI."""
POSITIONS = ("embeddings.position_embedding.weight", "positional_embedding")
JOINED = ("q_proj", "k_proj", "v_proj")
"""Query, key and value of CLIP are the thirds of one matrix, in this order."""


class TextSizes(NamedTuple):
    """What of CLIP the other parts must fit."""

    width: int
    length: int
    vocabulary: int


def denoiser_config(found: Found) -> DenoiserConfig:
    """The sizes of a text denoiser. Raises `CheckpointError` as `Found` does."""
    width = found.length("to_logits.0.bias")
    if width % NUM_HEADS:
        raise CheckpointError(
            f"{found.label}: the width is {width}; allowed: multiples of the {NUM_HEADS} heads"
        )
    return DenoiserConfig(
        num_attention_heads=NUM_HEADS,
        attention_head_dim=width // NUM_HEADS,
        num_layers=found.count("blocks"),
        cross_attention_dim=found.rows("blocks.0.attn2.key.weight", width),
        attention_bias=True,
        num_vector_embeds=found.length("to_logits.1.bias") + 1,
        sample_size=found.rows("content_emb.height_emb.weight", width),
        num_embeds_ada_norm=found.rows("blocks.0.ln1.emb.weight", width),
    )


def denoiser_part(found: Found, config: DenoiserConfig) -> Part:
    """The denoiser."""

    def source(name: str, shape: tuple[int, ...]) -> Source:
        return Source(found.place(renamed(name, DENOISER_NAMES)), shape, shape)

    return network_part(DENOISER_FOLDER, config, source, {})


def null_part(found: Found, sizes: TextSizes) -> Part:
    """The states of no caption; of a model that learned none an empty table."""
    if not found.has(NULL):
        config, empty = NullTextConfig(False), {"embeddings": torch.empty(0)}
        return network_part(NULL_TEXT_FOLDER, config, Source, empty)
    config = NullTextConfig(True, sizes.width, sizes.length)
    return network_part(NULL_TEXT_FOLDER, config, lambda _, shape: Source(NULL, shape, shape), {})


def text_sizes(found: Found) -> TextSizes:
    """The sizes of CLIP. Raises `CheckpointError` as `Found` does."""
    width = found.length("ln_final.bias")
    if width % CLIP_HEAD_WIDTH:
        raise CheckpointError(
            f"{found.label}: CLIP has the width {width}; allowed: multiples of {CLIP_HEAD_WIDTH}"
        )
    length = found.rows("positional_embedding", width)
    return TextSizes(width, length, found.rows("token_embedding.weight", width))


def clip_part(found: Found, sizes: TextSizes) -> Part:
    """CLIP's text encoder, with the names of transformers."""
    config = CLIPTextConfig(
        vocab_size=sizes.vocabulary,
        hidden_size=sizes.width,
        intermediate_size=4 * sizes.width,
        projection_dim=sizes.width,
        num_hidden_layers=found.count("transformer.resblocks"),
        num_attention_heads=sizes.width // CLIP_HEAD_WIDTH,
        max_position_embeddings=sizes.length,
        bos_token_id=sizes.vocabulary - 2,
        eos_token_id=sizes.vocabulary - 1,
        pad_token_id=0,
    )
    with torch.device("meta"):
        state = CLIPTextModel(config).state_dict()
    weights = {name: _clip_source(found, name, tuple(each.shape)) for name, each in state.items()}
    values = {**config.to_dict(), "architectures": ["CLIPTextModel"], "dtype": "float32"}
    return Part(TEXT_FOLDER, values, weights, {}, TRANSFORMERS_STEMS[0])


def _clip_source(found: Found, name: str, shape: tuple[int, ...]) -> Source:
    ours, theirs = POSITIONS
    if name == ours:
        return Source(found.place(theirs), shape, shape)
    stem, _, leaf = name.rpartition(".")
    layer, _, projection = stem.rpartition(".self_attn.")
    if projection not in JOINED:
        return Source(found.place(renamed(name, CLIP_NAMES)), shape, shape)
    number = layer.rpartition(".")[2]
    joined = found.place(f"transformer.resblocks.{number}.attn.in_proj_{leaf}")
    third = partial(_third, JOINED.index(projection))
    return Source(joined, (3 * shape[0], *shape[1:]), shape, third)


def _third(index: int, weight: Tensor) -> Tensor:
    return weight.chunk(3)[index]

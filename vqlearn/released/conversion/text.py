"""Of the official text models CLIP, with the names of transformers, and the null embedding."""

from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor
from transformers import CLIPTextConfig, CLIPTextModel

from vqlearn.checkpoints.layout import (
    NULL_TEXT_FOLDER,
    TEXT_FOLDER,
    TRANSFORMERS_STEMS,
    CheckpointError,
)
from vqlearn.checkpoints.renames import Table, renamed, under
from vqlearn.released.conversion.sources import Found, Part, Source, network_part
from vqlearn.released.training_file import TrainingFile
from vqlearn.text import NullTextConfig

CLIP = "transformer.condition_emb."
NULL = "transformer.empty_text_embed"
CLIP_HEAD_WIDTH = 64  # of every CLIP

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


def text_sizes(found: Found) -> TextSizes:
    """The sizes of CLIP. Raises `CheckpointError` as `Found` does."""
    width = found.outputs("ln_final")
    if width % CLIP_HEAD_WIDTH:
        raise CheckpointError(
            f"{found.label}: CLIP has the width {width}; allowed: multiples of {CLIP_HEAD_WIDTH}"
        )
    length = found.rows("positional_embedding", width)
    return TextSizes(width, length, found.rows("token_embedding.weight", width))


def text_parts(label: str, file: TrainingFile, sizes: TextSizes) -> tuple[Part, Part]:
    """CLIP's text encoder, and the states of no caption."""
    return _clip_part(Found(label, file, CLIP.__add__), sizes), _null_part(file, sizes)


def _clip_part(found: Found, sizes: TextSizes) -> Part:
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


def _null_part(file: TrainingFile, sizes: TextSizes) -> Part:
    """The states of no caption; of a model that learned none an empty table."""
    if NULL not in file.weights():
        config, empty = NullTextConfig(False), {"embeddings": torch.empty(0)}
        return network_part(NULL_TEXT_FOLDER, config, Source, empty)
    config = NullTextConfig(True, sizes.width, sizes.length)
    return network_part(NULL_TEXT_FOLDER, config, lambda _, shape: Source(NULL, shape, shape), {})

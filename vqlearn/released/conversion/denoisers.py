"""The official denoisers of all kinds as ours: names, sizes, and two tables that are changed."""

from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from vqlearn.checkpoints.layout import (
    CLASS_FOLDER,
    CONVOLUTIONAL_TEXT_FOLDER,
    DENOISER_FOLDER,
    UNCONDITIONAL_FOLDER,
    CheckpointError,
)
from vqlearn.checkpoints.renames import Table, renamed, under
from vqlearn.probability.checks import shown
from vqlearn.released.conversion.sources import Found, Part, Source, network_part
from vqlearn.transformer import (
    ClassDenoiserConfig,
    DenoiserConfig,
    UnconditionalDenoiserConfig,
)

PREFIX = "transformer.transformer."
NUM_HEADS = 16  # of every official denoiser; in no weight
NUM_CLASSES = 1000  # of ImageNet: the official code takes class 1000 for "no class"
ROW_TABLE, COLUMN_TABLE = "content_emb.height_emb.weight", "content_emb.width_emb.weight"
TABLE_SIDE = 2  # sides of the grid; the official models without text have 16 x 16 tokens and this

Config = DenoiserConfig | UnconditionalDenoiserConfig

ATTENTION = (*((name, name) for name in ("query", "key", "value")), ("output", "proj"))
LEVEL_NORM = (("timestep_embedding", "emb"), ("to_scale_shift", "linear"))
CLASS_NORM = (("class_embedding", "emb"), ("to_scale_shift", "linear"))
SHARED: Table = (
    ("token_embedding.token", "content_emb.emb"),
    ("token_embedding.row", "content_emb.height_emb"),
    ("token_embedding.column", "content_emb.width_emb"),
    *under("blocks.{i}.self_attention_norm", "blocks.{i}.ln1", LEVEL_NORM),
    ("blocks.{i}.feed_forward_norm", "blocks.{i}.ln2"),
    ("output_norm", "to_logits.0"),
    ("to_logits", "to_logits.1"),
)
ATTENTIONS: Table = (
    *under("blocks.{i}.self_attention", "blocks.{i}.attn1", ATTENTION),
    *under("blocks.{i}.cross_attention_norm", "blocks.{i}.ln1_1", LEVEL_NORM),
    *under("blocks.{i}.cross_attention", "blocks.{i}.attn2", ATTENTION),
)
LINEAR: Table = under(
    "blocks.{i}.feed_forward", "blocks.{i}.mlp", (("expand", "0"), ("contract", "2"))
)
CONVOLUTIONAL: Table = under(
    "blocks.{i}.feed_forward", "blocks.{i}.mlp", (("expand", "conv1"), ("contract", "conv2"))
)
ATTENTION_ALONE: Table = under("blocks.{i}.self_attention", "blocks.{i}.attn", ATTENTION)
NAMES = {
    DENOISER_FOLDER: (*SHARED, *ATTENTIONS, *LINEAR),
    CONVOLUTIONAL_TEXT_FOLDER: (*SHARED, *ATTENTIONS, *CONVOLUTIONAL),
    UNCONDITIONAL_FOLDER: (*SHARED, *ATTENTION_ALONE, *CONVOLUTIONAL),
    CLASS_FOLDER: (
        *(*SHARED, *ATTENTION_ALONE, *CONVOLUTIONAL),
        *under("blocks.{i}.feed_forward_norm", "blocks.{i}.ln2", CLASS_NORM),
    ),
}
"""Our attributes, and the official names behind `PREFIX`, by the folder of the denoiser."""
TEXT_FOLDERS = (DENOISER_FOLDER, CONVOLUTIONAL_TEXT_FOLDER)


class Sizes(NamedTuple):
    """What all kinds have: the tables of positions have `rows` rows, in each direction."""

    width: int
    layers: int
    tokens: int
    levels: int
    rows: int


def folder_of(found: Found) -> str:
    """The folder of the denoiser: its kind."""
    if found.has("blocks.0.attn2"):
        is_convolutional = found.has("blocks.0.mlp.conv1")
        return CONVOLUTIONAL_TEXT_FOLDER if is_convolutional else DENOISER_FOLDER
    return CLASS_FOLDER if found.has("blocks.0.ln2.linear") else UNCONDITIONAL_FOLDER


def text_config(found: Found, text_width: int) -> DenoiserConfig:
    """The sizes of a denoiser with text. Raises `CheckpointError` as `Found` does."""
    sizes = _sizes(found)
    return DenoiserConfig(
        num_attention_heads=NUM_HEADS,
        attention_head_dim=sizes.width // NUM_HEADS,
        num_layers=sizes.layers,
        cross_attention_dim=text_width,
        attention_bias=True,
        num_vector_embeds=sizes.tokens,
        sample_size=sizes.rows,
        num_embeds_ada_norm=sizes.levels,
    )


def config_without_text(found: Found) -> UnconditionalDenoiserConfig | ClassDenoiserConfig:
    """The sizes of a denoiser of a class or of nothing. The side of the grid is in no weight.

    Raises `CheckpointError` as `Found` does, and for a table of classes that is neither 1,000 nor
    1,001 high.
    """
    sizes = _sizes(found)
    values = {
        "num_attention_heads": NUM_HEADS,
        "attention_head_dim": sizes.width // NUM_HEADS,
        "num_layers": sizes.layers,
        "num_vector_embeds": sizes.tokens,
        "sample_size": sizes.rows // TABLE_SIDE,
        "num_embeds_ada_norm": sizes.levels,
        "position_columns": sizes.rows,
    }
    if folder_of(found) == UNCONDITIONAL_FOLDER:
        return UnconditionalDenoiserConfig(**values)
    _class_rows(found, sizes.width)
    return ClassDenoiserConfig(**values, num_classes=NUM_CLASSES)


def denoiser_part(found: Found, config: Config) -> Part:
    """The denoiser. Two tables are changed, of models without text.

    - Of the rows of positions those that no position of the grid has are cut off: 24 of 32.
    - A table of 1,000 classes gets the null class as row 1,000. The official code takes the mean of
      all rows in its place. A table of 1,001 has it: it was learned.
    """
    folder = folder_of(found)
    width = config.width
    rows = found.rows(COLUMN_TABLE, width)

    def source(name: str, ours: tuple[int, ...]) -> Source:
        key = found.place(renamed(name, NAMES[folder]))
        if name == "token_embedding.row.weight":
            return Source(key, (rows, width), ours, partial(_first_rows, ours[0]))
        if name.endswith("class_embedding.weight"):
            return Source(key, (_class_rows(found, width), width), ours, with_null_class)
        return Source(key, ours, ours)

    return network_part(folder, config, source, {})


def with_null_class(table: Tensor) -> Tensor:
    """A row for each class, and one for none: the mean of all, if there is no such row yet."""
    if len(table) > NUM_CLASSES:
        return table
    return torch.cat([table, table.mean(dim=0, keepdim=True)])


def learns_null_class(found: Found) -> bool:
    """Has the table of classes a row of its own for no class?"""
    return _class_rows(found, found.outputs("to_logits.0")) > NUM_CLASSES


def _first_rows(count: int, table: Tensor) -> Tensor:
    return table[:count]


def _sizes(found: Found) -> Sizes:
    width = found.outputs("to_logits.0")
    if width % NUM_HEADS:
        raise CheckpointError(
            f"{found.label}: the width is {width}; allowed: multiples of the {NUM_HEADS} heads"
        )
    rows = found.rows(COLUMN_TABLE, width)
    if found.rows(ROW_TABLE, width) != rows:
        found.refuse(ROW_TABLE, f"{rows} rows, as {shown(found.place(COLUMN_TABLE))} has")
    return Sizes(
        width=width,
        layers=found.count("blocks"),
        tokens=found.outputs("to_logits.1") + 1,
        levels=found.rows("blocks.0.ln1.emb.weight", width),
        rows=rows,
    )


def _class_rows(found: Found, width: int) -> int:
    name = "blocks.0.ln2.emb.weight"
    rows = found.rows(name, width)
    if rows not in (NUM_CLASSES, NUM_CLASSES + 1):
        found.refuse(name, f"{NUM_CLASSES} or {NUM_CLASSES + 1} rows")
    return rows

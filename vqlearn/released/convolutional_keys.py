"""The official names of the weights of denoisers with a convolutional feed-forward, beside ours.

Official names are those of the average (`ema`): in `model` a further `transformer.` stands before
them. Two of the weights differ in shape, too (`adapted`).
"""

from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor

from vqlearn.checkpoints.layout import CheckpointError
from vqlearn.checkpoints.renames import Table, under
from vqlearn.transformer import ClassDenoiserConfig, UnconditionalDenoiserConfig

NUM_HEADS = 16  # of all official models; no weight tells it
NUM_CLASSES = 1000  # of ImageNet: the official code takes class 1000 for "no class"

ATTENTION = (("query", "query"), ("key", "key"), ("value", "value"), ("output", "proj"))
LEVEL_NORM = (("timestep_embedding", "emb"), ("to_scale_shift", "linear"))
CLASS_NORM = (("class_embedding", "emb"), ("to_scale_shift", "linear"))
SHARED: Table = (
    ("token_embedding.token", "transformer.content_emb.emb"),
    ("token_embedding.row", "transformer.content_emb.height_emb"),
    ("token_embedding.column", "transformer.content_emb.width_emb"),
    *under("blocks.{i}.self_attention_norm", "transformer.blocks.{i}.ln1", LEVEL_NORM),
    ("blocks.{i}.feed_forward_norm", "transformer.blocks.{i}.ln2"),
    ("blocks.{i}.feed_forward.expand", "transformer.blocks.{i}.mlp.conv1"),
    ("blocks.{i}.feed_forward.contract", "transformer.blocks.{i}.mlp.conv2"),
    ("output_norm", "transformer.to_logits.0"),
    ("to_logits", "transformer.to_logits.1"),
)
UNCONDITIONAL_KEYS: Table = (
    *SHARED,
    *under("blocks.{i}.self_attention", "transformer.blocks.{i}.attn", ATTENTION),
)
CLASS_KEYS: Table = (
    *UNCONDITIONAL_KEYS,
    *under("blocks.{i}.feed_forward_norm", "transformer.blocks.{i}.ln2", CLASS_NORM),
)
CONVOLUTIONAL_TEXT_KEYS: Table = (
    *SHARED,
    *under("blocks.{i}.self_attention", "transformer.blocks.{i}.attn1", ATTENTION),
    *under("blocks.{i}.cross_attention_norm", "transformer.blocks.{i}.ln1_1", LEVEL_NORM),
    *under("blocks.{i}.cross_attention", "transformer.blocks.{i}.attn2", ATTENTION),
)
"""Each row: our name, the official one. `attn2.mask` is in no row: nothing reads it."""


def config_of(
    shapes: Mapping[str, torch.Size], sample_size: int
) -> UnconditionalDenoiserConfig | ClassDenoiserConfig:
    """The sizes of a class or unconditional denoiser, from the shapes of its official weights.

    The side of the grid of tokens is in no shape. Raises `CheckpointError` for a table of classes
    that is neither 1,000 nor 1,001 high, and `KeyError` with the name of a weight that is missing.
    """
    num_tokens, width = shapes["transformer.content_emb.emb.weight"]
    blocks = {key.split(".")[2] for key in shapes if key.startswith("transformer.blocks.")}
    sizes = {
        "num_attention_heads": NUM_HEADS,
        "attention_head_dim": width // NUM_HEADS,
        "num_layers": len(blocks),
        "num_vector_embeds": num_tokens,
        "sample_size": sample_size,
        "num_embeds_ada_norm": shapes["transformer.blocks.0.ln1.emb.weight"][0],
        "position_columns": shapes["transformer.content_emb.width_emb.weight"][0],
    }
    name = "transformer.blocks.0.ln2.emb.weight"
    if name not in shapes:
        return UnconditionalDenoiserConfig(**sizes)
    if shapes[name][0] not in (NUM_CLASSES, NUM_CLASSES + 1):
        raise CheckpointError(
            f"{name} has {shapes[name][0]} rows; allowed: {NUM_CLASSES}, {NUM_CLASSES + 1}"
        )
    return ClassDenoiserConfig(**sizes, num_classes=NUM_CLASSES)


def adapted(
    name: str, weight: Float[Tensor, "..."], config: UnconditionalDenoiserConfig
) -> Float[Tensor, "..."]:
    """An official weight in the shape of ours; `name` is our name of it.

    - Of the rows of positions those that no position of the grid has are cut off: 24 of 32 in the
      16 x 16 models.
    - A table of 1,000 classes gets the null class as row 1,000. The official code takes the mean of
      all rows in its place. A table of 1,001 has it: it was learned.
    """
    if name == "token_embedding.row.weight":
        return weight[: config.position_rows]
    if name.endswith("class_embedding.weight") and len(weight) == NUM_CLASSES:
        return torch.cat([weight, weight.mean(dim=0, keepdim=True)])
    return weight

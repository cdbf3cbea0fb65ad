"""A small CLIP, whose text encoder learns by matching captions with images."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor
from transformers import (
    CLIPConfig,
    CLIPModel,
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTokenizer,
    CLIPVisionConfig,
)


def build_text_model(
    tokenizer: CLIPTokenizer, *, width: int, layers: int, heads: int
) -> CLIPTextModel:
    """A small CLIP text model with fresh weights that fits this tokenizer.

    Vocabulary, number of positions and the ids of start, end and padding are the tokenizer's.
    """
    config = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=width,
        intermediate_size=4 * width,
        projection_dim=width,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        max_position_embeddings=tokenizer.model_max_length,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return CLIPTextModel(config).eval()


def build_clip(text_model: CLIPTextModel, image_size: int) -> CLIPModel:
    """A small CLIP with fresh weights around this text model; images in patches of 4 x 4."""
    vision = CLIPVisionConfig(
        hidden_size=96,
        intermediate_size=384,
        num_hidden_layers=3,
        num_attention_heads=4,
        image_size=image_size,
        patch_size=4,
    )
    width = text_model.config.hidden_size
    config = CLIPConfig(
        text_config=text_model.config.to_dict(),
        vision_config=vision.to_dict(),
        projection_dim=width,
    )
    clip = CLIPModel(config)
    clip.text_model = text_model
    return clip


def pixel_values(images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b 3 h w"]:
    """RGB in 0 to 1 in the range that this CLIP is trained in, -1 to 1."""
    return 2 * images - 1


def contrastive_loss(similarity: Float[Tensor, "b b"]) -> Float[Tensor, ""]:
    """The loss of CLIP: each caption must find its image in the batch, and each image its caption.

    `similarity[i, j]` is the scaled cosine of caption i and image j. The mean of the
    cross-entropies over its rows and over its columns. Source: Radford et al. 2021, figure 3.
    """
    # The pair of caption i is image i, so the right answer of row i (and of column i) is i.
    own = torch.arange(len(similarity), device=similarity.device)
    return (F.cross_entropy(similarity, own) + F.cross_entropy(similarity.T, own)) / 2

"""How does a text encoder learn to see? By matching captions with pictures, as CLIP does."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor
from transformers import CLIPConfig, CLIPModel, CLIPTextModel, CLIPVisionConfig


def build_clip(text_model: CLIPTextModel, image_size: int) -> CLIPModel:
    """A small CLIP with fresh weights around this text model; pictures in patches of 4 x 4."""
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


def contrastive_loss(similarity: Float[Tensor, "b b"]) -> Float[Tensor, ""]:
    """Which of these captions belongs to which of these pictures?

    The mean of the cross-entropies over the rows and over the columns of the scaled cosines.
    Source: Radford et al. 2021, figure 3. Test: `test_contrastive_loss_by_hand`.
    """
    own = torch.arange(len(similarity), device=similarity.device)
    return (F.cross_entropy(similarity, own) + F.cross_entropy(similarity.T, own)) / 2

"""How does a text encoder learn to see? By matching captions with pictures, as CLIP does."""

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers import CLIPTextModel, CLIPVisionConfig, CLIPVisionModelWithProjection


class ContrastivePair(nn.Module):
    """A small CLIP: which of these captions belongs to which of these pictures?

    Only its text half is kept. Source of the loss: Radford et al. 2021, figure 3.
    """

    def __init__(self, text_model: CLIPTextModel, image_size: int) -> None:
        super().__init__()
        width = text_model.config.projection_dim
        self.text_model = text_model
        self.text_projection = nn.Linear(width, width, bias=False)
        self.picture_model = CLIPVisionModelWithProjection(
            CLIPVisionConfig(
                hidden_size=96,
                intermediate_size=384,
                num_hidden_layers=3,
                num_attention_heads=4,
                image_size=image_size,
                patch_size=4,
                projection_dim=width,
            )
        )
        self.log_scale = nn.Parameter(torch.tensor(1 / 0.07).log())

    def forward(
        self, pictures: Float[Tensor, "b 3 h w"], ids: Int[Tensor, "b l"]
    ) -> Float[Tensor, ""]:
        """The symmetric cross-entropy over the pictures and captions of one batch."""
        seen = F.normalize(self.picture_model(pictures).image_embeds, dim=-1)
        read = F.normalize(self.text_projection(self.text_model(ids).pooler_output), dim=-1)
        similarity = self.log_scale.clamp(max=math.log(100)).exp() * seen @ read.T
        own = torch.arange(len(ids), device=ids.device)
        return (F.cross_entropy(similarity, own) + F.cross_entropy(similarity.T, own)) / 2

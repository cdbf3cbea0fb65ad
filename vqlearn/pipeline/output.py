"""What a pipeline's call returns: images, as PIL or as numbers."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Float
from PIL import Image
from torch import Tensor


@dataclass(frozen=True, eq=False)
class PipelineOutput:
    """`images`: a list of PIL images, or one float32 array (images, height, width, 3) in [0, 1].

    As in diffusers, `output[0]` and `output["images"]` are the same.
    """

    images: list[Image.Image] | np.ndarray

    def __getitem__(self, key: str | int | slice) -> Any:
        return vars(self)[key] if isinstance(key, str) else self.to_tuple()[key]

    def to_tuple(self) -> tuple[list[Image.Image] | np.ndarray]:
        """The images alone in a tuple, which `return_dict=False` asks for."""
        return (self.images,)


def as_output(
    images: Float[Tensor, "b 3 h w"], output_type: str | None = "pil", return_dict: bool = True
) -> PipelineOutput | tuple:
    """Images on the CPU, RGB in 0 to 1, in the form that the caller of a pipeline asked for."""
    if output_type == "pil":
        output = PipelineOutput(as_pil(images))
    else:
        output = PipelineOutput(rearrange(images, "b c h w -> b h w c").numpy())
    return output if return_dict else output.to_tuple()


def as_pil(images: Float[Tensor, "b 3 h w"]) -> list[Image.Image]:
    """Images on the CPU, RGB in 0 to 1, as PIL images."""
    bytes_ = (rearrange(images, "b c h w -> b h w c") * 255).round().to(torch.uint8).numpy()
    return [Image.fromarray(image) for image in bytes_]

"""Rows of images as one picture."""

import torch
from einops import rearrange
from jaxtyping import Float
from PIL import Image
from torch import Tensor

SMALLEST_SIDE = 128  # pixels of an image in the picture


def picture_of_rows(rows: Float[Tensor, "rows images 3 h w"]) -> Image.Image:
    """The images, RGB in 0 to 1, row below row; small ones are enlarged by a whole factor."""
    pixels = rearrange(rows.clamp(0, 1), "rows images c h w -> (rows h) (images w) c")
    picture = Image.fromarray((pixels * 255).round().to(torch.uint8).cpu().numpy())
    factor = max(1, SMALLEST_SIDE // rows.shape[-1])
    size = (picture.width * factor, picture.height * factor)
    return picture.resize(size, Image.Resampling.NEAREST)

"""Scenes as sequences of 256-way tokens: red, green and blue of one pixel, then of the next.

    tokens = rgb_scenes(16, 8, generator=torch.Generator().manual_seed(0), composition="seen")
    tokens                      # (16, 192), int64, values 0 to 255
    to_images(tokens)           # (16, 3, 8, 8), RGB in 0 to 1

The order is that of autoregressive models of pixels: row by row from the top left, and inside a
pixel red first (van den Oord et al. 2016, "Pixel Recurrent Neural Networks").
"""

import math

import torch
from einops import rearrange, reduce
from jaxtyping import Float, Int
from torch import Tensor

from vqlearn.data.scenes.drawing import MIN_IMAGE_SIZE, render
from vqlearn.data.scenes.sampling import Composition, sample_scenes
from vqlearn.probability.checks import check_range, check_tokens

NUM_LEVELS = 256
SMALL_SIDE = 8  # one pixel for each cell of the board


def rgb_scenes(
    count: int, side: int, *, generator: torch.Generator, composition: Composition
) -> Int[Tensor, "b n"]:
    """Random scenes of `side` x `side` pixels, as sequences of 3 * side^2 tokens.

    Scenes of 8 pixels are drawn at 16 and averaged over 2 x 2 pixels.
    Raises ValueError for a side other than 8 or at least 16, or as `sample_scenes` does.
    """
    if side != SMALL_SIDE and side < MIN_IMAGE_SIZE:
        raise ValueError(f"side is {side}; allowed: {SMALL_SIDE}, or {MIN_IMAGE_SIZE} and more")
    scenes = sample_scenes(count, generator=generator, composition=composition)
    images = render(scenes, image_size=max(side, MIN_IMAGE_SIZE))
    return to_tokens(reduce(images, "b c (h y) (w x) -> b c h w", "mean", h=side, w=side))


def to_tokens(images: Float[Tensor, "b 3 h w"]) -> Int[Tensor, "b n"]:
    """The nearest of 256 levels for each value, in raster order, channels innermost.

    Raises ValueError for values outside 0 to 1.
    """
    check_range("images", images, 0, 1)
    levels = (images * (NUM_LEVELS - 1)).round().long()
    return rearrange(levels, "b c h w -> b (h w c)")


def to_images(tokens: Int[Tensor, "b n"]) -> Float[Tensor, "b 3 side side"]:
    """The square images of these sequences, RGB in 0 to 1; the inverse of `to_tokens`.

    Raises ValueError for sequences that are no square of pixels, or levels outside 0 to 255.
    """
    side = math.isqrt(tokens.shape[1] // 3)
    if side == 0 or tokens.shape[1] != 3 * side**2:
        raise ValueError(
            f"a sequence has {tokens.shape[1]} tokens; allowed: 3 * side * side, such as 192 or 768"
        )
    check_tokens("tokens", tokens, NUM_LEVELS)
    return rearrange(tokens, "b (h w c) -> b c h w", h=side, c=3) / (NUM_LEVELS - 1)

"""The pixels of a scene.

Every shape is a **signed distance** d(p): negative inside, zero on the edge, positive outside.
One formula then draws all shapes with smooth edges: a pixel is covered by clamp(1/2 - d, 0, 1),
with d in pixels. A pixel that the edge cuts through the middle gets 1/2.

All functions work on whole batches of objects at once.
"""

import math
from collections.abc import Sequence

import torch
from einops import rearrange, repeat
from jaxtyping import Float
from torch import Tensor

from vqlearn.data.scenes.world import BACKGROUND_RGB, RADIUS, RGB, Scene, SceneObject
from vqlearn.probability.checks import check_integer

MIN_IMAGE_SIZE = 16


def signed_distance(
    shape: str, x: Float[Tensor, "m 1 w"], y: Float[Tensor, "m h 1"]
) -> Float[Tensor, "m h w"]:
    """How far points are outside a shape of radius 1; negative inside. y runs down."""
    match shape:
        case "circle":
            return torch.hypot(x, y) - 1
        case "square":
            return torch.maximum(x.abs(), y.abs()) - 0.95
        case "triangle":  # corners (0, -1), (1, 0.8), (-1, 0.8)
            side = (1.8 * x.abs() - y - 1) / math.hypot(1.8, 1)
            return torch.maximum(side, y - 0.8)
        case "ring":
            return (torch.hypot(x, y) - 0.75).abs() - 0.25
        case "cross":
            long, short = torch.maximum(x.abs(), y.abs()), torch.minimum(x.abs(), y.abs())
            return torch.maximum(long - 1, short - 0.34)
        case "heart":  # a square on its corner, and a disc on each of its two upper sides
            half, middle = 0.828, 0.086
            square = (x.abs() + (y - middle).abs() - half) / math.sqrt(2)
            disc = torch.hypot(x.abs() - half / 2, y - middle + half / 2) - half / math.sqrt(2)
            return torch.minimum(square, disc)
        case "bar":
            return torch.maximum(x.abs() - 1, y.abs() - 0.42)
        case "moon":  # a disc, less another disc on its right
            return torch.maximum(torch.hypot(x, y) - 1, 0.7 - torch.hypot(x - 0.65, y))


def coverage(objects: Sequence[SceneObject], *, image_size: int) -> Float[Tensor, "m h w"]:
    """The share of each pixel that each object covers, 0 to 1: one image per object.

    The shapes above live in the square from -1 to 1; an object is its shape times its radius,
    moved to its centre.
    """
    check_integer("image_size", image_size, MIN_IMAGE_SIZE)
    pixels = (torch.arange(image_size) + 0.5) / image_size
    numbers = torch.tensor([(o.x, o.y, RADIUS[o.size]) for o in objects]).reshape(-1, 3)
    centre_x, centre_y, radius = (rearrange(column, "m -> m 1 1") for column in numbers.unbind(-1))
    x = (rearrange(pixels, "w -> 1 1 w") - centre_x) / radius  # (m, 1, w)
    y = (rearrange(pixels, "h -> 1 h 1") - centre_y) / radius  # (m, h, 1)
    covered = torch.empty(len(objects), image_size, image_size)
    for shape in {o.shape for o in objects}:
        rows = torch.tensor([o.shape == shape for o in objects])  # (m)
        distance = signed_distance(shape, x[rows], y[rows]) * radius[rows] * image_size
        covered[rows] = (0.5 - distance).clamp(0, 1)
    return covered


def render(scenes: Sequence[Scene], *, image_size: int = 32) -> Float[Tensor, "b 3 h w"]:
    """Draw scenes as float32 RGB in 0 to 1. The same scene always gives the same pixels.

    A later object covers an earlier one (sampled scenes never overlap).
    Raises ValueError for no scene at all or an image_size below 16.
    """
    if not scenes:
        raise ValueError("there are 0 scenes to render; allowed: 1 or more")
    backgrounds = torch.tensor([BACKGROUND_RGB[scene.background] for scene in scenes])
    images = repeat(backgrounds, "b c -> b c h w", h=image_size, w=image_size).clone()
    for slot in range(2):
        rows = [row for row, scene in enumerate(scenes) if len(scene.objects) > slot]
        objects = [scenes[row].objects[slot] for row in rows]
        covered = rearrange(coverage(objects, image_size=image_size), "m h w -> m 1 h w")
        colours = torch.tensor([RGB[o.colour] for o in objects]).reshape(-1, 3)
        images[rows] = torch.lerp(images[rows], rearrange(colours, "m c -> m c 1 1"), covered)
    return images

"""Which scene does a picture show? The reader looks at pixels only, never at the prompt.

It works by **analysis through synthesis**. The border gives the background. Then, for every
template (shape, size, half-pixel offset), colour and place, it asks how much of the difference
D = image - background one drawn object would explain:

    gain = |D|^2 - |D - v T|^2 = 2 <D, v T> - |v|^2 |T|^2,    v = colour - background

T is the template (what `drawing.coverage` draws). The inner products at all places are one
convolution. The best object is the first; the best one that does not touch it may be the second.
At last the scene is drawn again: if drawing and picture differ too much, the answer is None.
Tests: tests/test_reader.py.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import torch
import torch.nn.functional as F
from einops import einsum, rearrange, reduce
from jaxtyping import Float
from torch import Tensor

from vqlearn.data.captions import Description, ObjectDescription, parse
from vqlearn.data.drawing import coverage, render
from vqlearn.data.world import (
    BACKGROUND_RGB,
    BACKGROUNDS,
    COLOURS,
    INVERSE,
    RADIUS,
    RGB,
    SHAPES,
    SIZES,
    Scene,
    SceneObject,
    relation_between,
)

SIDE = 32  # every picture is read at this size
BORDER_TOLERANCE = 0.2  # largest mean RGB distance of the border from its named colour
WEAKEST_OBJECT = 0.35  # an object explains at least this share of its own energy |v T|^2
MOST_UNEXPLAINED = 0.5  # at most this share of |D|^2 is left in the end
APART = 0.95  # two centres are at least this many times the sum of their radii apart
CHUNK = 32  # pictures read at once: bounds the memory to about 200 MB

_KERNEL, _PADDING = 17, 4


@dataclass(frozen=True)
class _Templates:
    """The t objects that are compared with p places of a picture.

    `kernels`: drawn in the middle of a small picture, (t, 1, 17, 17); `energy`: |T|^2, (t,);
    `names`: t pairs (shape, size); `radius`: (t,); `centres`: x and y, (t, p, 2).
    """

    kernels: Tensor
    energy: Tensor
    names: list[tuple[str, str]]
    radius: Tensor
    centres: Tensor


@cache
def _templates() -> _Templates:
    names = [(shape, size) for shape in SHAPES for size in SIZES for _ in range(4)]
    offsets = [(x, y) for x in (-0.25, 0.25) for y in (-0.25, 0.25)] * (len(names) // 4)
    middle = SIDE // 2 + 0.5
    objects = [
        SceneObject(shape, COLOURS[0], size, (middle + x) / SIDE, (middle + y) / SIDE)
        for (shape, size), (x, y) in zip(names, offsets, strict=True)
    ]
    first = SIDE // 2 - _KERNEL // 2
    window = slice(first, first + _KERNEL)
    kernels = rearrange(coverage(objects, image_size=SIDE)[:, window, window], "t h w -> t 1 h w")
    edge = _KERNEL // 2 - _PADDING
    pixels = torch.arange(edge, SIDE - edge) + 0.5
    places = rearrange(list(torch.meshgrid(pixels, pixels, indexing="xy")), "c h w -> 1 (h w) c")
    centres = (places + rearrange(torch.tensor(offsets), "t c -> t 1 c")) / SIDE
    radius = torch.tensor([RADIUS[size] for _, size in names])
    return _Templates(kernels, reduce(kernels**2, "t 1 h w -> t", "sum"), names, radius, centres)


def _background(images: Tensor) -> tuple[list[str], Tensor]:
    """The nearest named background of each picture, and the border's mean distance to it."""
    edges = (images[..., 0, :], images[..., -1, :], images[..., 0], images[..., -1])
    border = rearrange(torch.cat(edges, dim=-1), "b c p -> b p c")
    palette = torch.tensor([BACKGROUND_RGB[name] for name in BACKGROUNDS])
    distance = reduce(torch.cdist(border, palette), "b p k -> b k", "mean")
    mean_distance, nearest = distance.min(-1)
    return [BACKGROUNDS[index] for index in nearest.tolist()], mean_distance


def _gains(images: Tensor, background: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The best colour of every template at every place: its gain, strength and index, (b, t, p).

    The strength is gain / |v T|^2: 1 where exactly this object is, below 0 where it would harm.
    """
    templates = _templates()
    difference = images - rearrange(background, "b c -> b c 1 1")
    colours = torch.tensor([RGB[colour] for colour in COLOURS])
    directions = rearrange(colours, "k c -> 1 k c") - rearrange(background, "b c -> b 1 c")
    planes = rearrange(difference, "b c h w -> (b c) 1 h w")
    inner = F.conv2d(planes, templates.kernels, padding=_PADDING)
    inner = rearrange(inner, "(b c) t h w -> b t (h w) c", c=3)
    length = reduce(directions**2, "b k c -> b 1 1 k", "sum")
    energy = rearrange(templates.energy, "t -> 1 t 1 1") * length
    gain = 2 * einsum(inner, directions, "b t p c, b k c -> b t p k") - energy
    best, colour = gain.max(-1)
    used = energy.expand(*colour.shape, -1).gather(-1, rearrange(colour, "b t p -> b t p 1"))
    return best, best / rearrange(used, "b t p 1 -> b t p"), colour


def _find_objects(images: Tensor, background: Tensor) -> list[list[SceneObject]]:
    """Up to three objects of each picture that do not touch each other, the best first."""
    templates = _templates()
    gain, strength, colour = _gains(images, background)
    gain = gain.masked_fill(strength < WEAKEST_OBJECT, -torch.inf)
    found = [[] for _ in images]
    for _ in range(3):
        best, flat = rearrange(gain, "b t p -> b (t p)").max(-1)
        template, place = torch.unravel_index(flat, gain.shape[1:])
        centre = templates.centres[template, place]
        for row in torch.isfinite(best).nonzero().flatten().tolist():
            shape, size = templates.names[template[row]]
            name = COLOURS[colour[row, template[row], place[row]]]
            found[row].append(SceneObject(shape, name, size, *centre[row].tolist()))
        offset = templates.centres - rearrange(centre, "b c -> b 1 1 c")
        apart = reduce(offset.abs(), "b t p c -> b t p", "max")
        touching = APART * (templates.radius + rearrange(templates.radius[template], "b -> b 1"))
        gain = gain.masked_fill(apart < rearrange(touching, "b t -> b t 1"), -torch.inf)
    return found


def _read_chunk(images: Tensor) -> list[Scene | None]:
    names, border_distance = _background(images)
    background = torch.tensor([BACKGROUND_RGB[name] for name in names])
    scenes: list[Scene | None] = [None] * len(images)
    for row, objects in enumerate(_find_objects(images, background)):
        if len(objects) in (1, 2) and border_distance[row] <= BORDER_TOLERANCE:
            relation = relation_between(*objects) if len(objects) == 2 else None
            scenes[row] = Scene(tuple(objects), relation, names[row])
    rows = [row for row, scene in enumerate(scenes) if scene is not None]
    if rows:
        left = images[rows] - render([scenes[row] for row in rows], image_size=SIDE)
        difference = images[rows] - rearrange(background[rows], "b c -> b c 1 1")
        unexplained = left.square().sum((1, 2, 3)) / difference.square().sum((1, 2, 3))
        for row, share in zip(rows, unexplained.tolist(), strict=True):
            scenes[row] = scenes[row] if share <= MOST_UNEXPLAINED else None
    return scenes


@torch.no_grad()
def read(images: Float[Tensor, "b 3 h w"]) -> list[Scene | None]:
    """Recover the scene of each picture (RGB in 0 to 1, square, any size); None: unreadable.

    Unreadable is a picture with a border of no named background, with no object or more than
    two, or with too much that the scene found does not explain. Centres are good to half a pixel
    at 32 pixels; the order of two objects means nothing. Other sizes are resized to 32 pixels.
    Raises ValueError for pictures that are not square.
    """
    if images.shape[-2] != images.shape[-1]:
        raise ValueError(f"pictures are {tuple(images.shape[-2:])}; allowed: height equal to width")
    images = images.float().cpu()
    if images.shape[-1] != SIDE:
        images = F.interpolate(images, (SIDE, SIDE), mode="bilinear", antialias=True)
    return [scene for chunk in images.split(CHUNK) for scene in _read_chunk(chunk)]


def _compare_in_order(
    objects: Sequence[SceneObject], relation: str | None, asked: Sequence[ObjectDescription]
) -> dict[str, bool]:
    """For each attribute that is asked for: do all objects, in this order, have it?"""
    return {}

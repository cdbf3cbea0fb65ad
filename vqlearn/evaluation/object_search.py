"""The search inside the scene reader: which objects an image shows, and where.

It works by **analysis through synthesis**. The border gives the background. Then, for every
template (shape, size, half-pixel offset), colour and position, ask how much of the difference
D = image - background one drawn object would explain:

    gain = |D|^2 - |D - v T|^2 = 2 <D, v T> - |v|^2 |T|^2,    v = colour - background

T is the template (what `drawing.coverage` draws). The inner products at all positions are one
convolution. The best object is the first; the best one that does not touch it is the second, if
it explains enough.
"""

from dataclasses import dataclass, replace
from functools import cache
from itertools import product

import torch
import torch.nn.functional as F
from einops import einsum, rearrange, reduce
from jaxtyping import Float
from torch import Tensor

from vqlearn.data.scenes import SceneObject, world
from vqlearn.data.scenes.drawing import coverage

SIDE = 32  # every image is read at this size
MIDDLE = 0.5 + 0.5 / SIDE  # of the pixel right below the centre of the image
WEAKEST_OBJECT = 0.35  # an object explains at least this share of its own energy |v T|^2
APART = 0.95  # two centres are at least this many times the sum of their radii apart
OFFSETS = 4  # each shape is drawn a quarter pixel up or down, left or right of the position

_KERNEL, _PADDING = 17, 4


@dataclass(frozen=True)
class _Templates:
    """The t objects that are compared with p positions of an image.

    `objects`: a quarter pixel away from `MIDDLE`; `kernels`: drawn in the middle of a small image,
    (t, 1, 17, 17); `energy`: |T|^2, (t,); `radius`: (t,); `positions`: the middles of the pixels
    where a centre may be, x and y, (p, 2).
    """

    objects: list[SceneObject]
    kernels: Tensor
    energy: Tensor
    radius: Tensor
    positions: Tensor


@cache
def _templates() -> _Templates:
    quarters = [(x / SIDE, y / SIDE) for x in (-0.25, 0.25) for y in (-0.25, 0.25)]
    objects = [
        SceneObject(shape, world.COLOURS[0], size, MIDDLE + x, MIDDLE + y)
        for shape, size, (x, y) in product(world.SHAPES, world.SIZES, quarters)
    ]
    first = SIDE // 2 - _KERNEL // 2
    window = slice(first, first + _KERNEL)
    kernels = rearrange(coverage(objects, image_size=SIDE)[:, window, window], "t h w -> t 1 h w")
    energy = reduce(kernels**2, "t 1 h w -> t", "sum")
    edge = _KERNEL // 2 - _PADDING
    pixels = (torch.arange(edge, SIDE - edge) + 0.5) / SIDE
    positions = rearrange(list(torch.meshgrid(pixels, pixels, indexing="xy")), "c h w -> (h w) c")
    radius = torch.tensor([world.RADIUS[thing.size] for thing in objects])
    return _Templates(objects, kernels, energy, radius, positions)


def find_background(images: Float[Tensor, "b 3 h w"]) -> tuple[list[str], Tensor]:
    """The nearest named background of each image, and the border's mean distance to it."""
    edges = (images[..., 0, :], images[..., -1, :], images[..., 0], images[..., -1])
    border = rearrange(torch.cat(edges, dim=-1), "b c p -> b p c")
    palette = torch.tensor([world.BACKGROUND_RGB[name] for name in world.BACKGROUNDS])
    distance = reduce(torch.cdist(border, palette), "b p k -> b k", "mean")
    mean_distance, nearest = distance.min(-1)
    return [world.BACKGROUNDS[index] for index in nearest.tolist()], mean_distance


def _gains(images: Tensor, background: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Gain and strength of every template at every position, (b, t, p); the colours, (b, p).

    The strength is gain / |v T|^2: 1 where exactly this object is, below 0 where it would harm.
    To save time each position has one colour, chosen with one offset of the four.
    """
    templates = _templates()
    difference = images - rearrange(background, "b c -> b c 1 1")
    colours = torch.tensor([world.RGB[colour] for colour in world.COLOURS])
    directions = rearrange(colours, "k c -> 1 k c") - rearrange(background, "b c -> b 1 c")
    planes = rearrange(difference, "b c h w -> (b c) 1 h w")
    inner = F.conv2d(planes, templates.kernels, padding=_PADDING)
    inner = rearrange(inner, "(b c) t h w -> b c t (h w)", c=3)
    rough = einsum(inner[:, :, ::OFFSETS], 2 * directions, "b c t p, b k c -> b k t p")
    length = rearrange(reduce(directions**2, "b k c -> b k", "sum"), "b k -> b k 1 1")
    rough = rough - length * rearrange(templates.energy[::OFFSETS], "t -> t 1")
    colour = reduce(rough, "b k t p -> b k p", "max").argmax(1)
    chosen = directions[torch.arange(len(images))[:, None], colour]
    energy = rearrange(templates.energy, "t -> t 1") * reduce(chosen**2, "b p c -> b 1 p", "sum")
    gain = einsum(inner, 2 * chosen, "b c t p, b p c -> b t p") - energy
    return gain, gain / energy, colour


def find_objects(
    images: Float[Tensor, "b 3 32 32"], background: Float[Tensor, "b 3"]
) -> list[list[SceneObject]]:
    """Up to three objects of each image that do not touch each other, the best first."""
    templates = _templates()
    gain, strength, colour = _gains(images, background)
    gain = gain.masked_fill(strength < WEAKEST_OBJECT, -torch.inf)
    found = [[] for _ in images]
    for _ in range(3):
        best, flat = rearrange(gain, "b t p -> b (t p)").max(-1)
        template, position = torch.unravel_index(flat, gain.shape[1:])
        for row in torch.isfinite(best).nonzero().flatten().tolist():
            thing, shade = templates.objects[template[row]], colour[row, position[row]]
            x, y = (templates.positions[position[row]] - MIDDLE).tolist()
            moved = replace(thing, colour=world.COLOURS[shade], x=thing.x + x, y=thing.y + y)
            found[row].append(moved)
        away = templates.positions - rearrange(templates.positions[position], "b c -> b 1 c")
        away = reduce(away.abs(), "b p c -> b 1 p", "max")
        touching = APART * (templates.radius + rearrange(templates.radius[template], "b -> b 1"))
        gain = gain.masked_fill(away < rearrange(touching, "b t -> b t 1"), -torch.inf)
    return found

"""The images and masks that a user hands in: PIL, NumPy or torch, all of the model's size.

An image is a PIL image, a NumPy array (height, width, 3) as the pipeline's "np" gives it, or a
torch tensor (3, height, width): RGB, floats in 0 to 1, or uint8 in 0 to 255. A mask is a PIL image,
or an array or tensor (height, width): white is repainted, that is True, above 127 in uint8, above
0.5 in floats. One serves every prompt or class; a list, or an array with one axis more, has one for
each.

**Other sizes are refused**, here and everywhere: what is to be cut off or how pixels are averaged
is for the caller to say, and `image.resize((32, 32))` says it. All functions raise `TypeError` or
`ValueError` that names the argument, before any work.
"""

from collections.abc import Sequence

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Bool, Float
from PIL import Image
from torch import Tensor
from torch.nn import functional

from vqlearn.probability.checks import check_choice, check_integer, check_range, shown

ImageLike = Image.Image | np.ndarray | Tensor
Images = ImageLike | Sequence[ImageLike]
"""One for all that the model is told, or one for each."""

MODES = ("1", "L", "P", "RGB")  # of PIL; others need a decision: transparent on what, white where?
WHITE = 127  # a mask's pixels above it are repainted, as in diffusers


def checked_images(image: Images, size: int, count: int | None = None) -> Float[Tensor, "b 3 h w"]:
    """RGB in 0 to 1: `count` images of size x size pixels, or as many as there are."""
    found = [_as_rgb(one, size) for one in _listed("image", image, 3, count)]
    return torch.stack(found).expand(count or len(found), -1, -1, -1)


def checked_masks(mask: Images, size: int, count: int) -> Bool[Tensor, "b h w"]:
    """Where pixels are repainted: `count` masks of size x size pixels."""
    found = []
    for one in _listed("mask", mask, 2, count):
        if isinstance(one, Image.Image):
            check_choice("the mode of mask", one.mode, MODES)
            one = np.array(one.convert("L"))
        _check_shape("mask", one, (size, size))
        pixels = _as_tensor(one)
        if pixels.dtype != torch.bool:
            pixels = _in_unit_range("mask", pixels) > (WHITE + 0.5) / 255
        found.append(pixels)
    return torch.stack(found).expand(count, -1, -1)


def checked_canvas(
    image: Images, position: tuple[int, int], size: int, count: int | None = None
) -> tuple[Float[Tensor, "b 3 h w"], Bool[Tensor, "b h w"]]:
    """Smaller images on a canvas of size x size pixels, and where the canvas is empty: `count`
    of them, or as many as there are.

    `position` is (left, top) of the upper left corner. The empty part repeats the nearest pixel of
    the image: it is repainted, but the encoder looks at it too.
    """
    found = [_as_rgb(one) for one in _listed("image", image, 3, count)]
    height, width = found[0].shape[1:]
    if any(one.shape != found[0].shape for one in found) or max(height, width) > size:
        seen = ", ".join(sorted({f"{one.shape[1]} x {one.shape[2]}" for one in found}))
        raise ValueError(f"image is {seen}; allowed: one size, up to {size} x {size}")
    if not isinstance(position, tuple | list) or len(position) != 2:
        raise TypeError(f"position is {shown(position)}; allowed: (left, top) in pixels")
    left, top = position
    check_integer("the left of position", left, 0, size - width)
    check_integer("the top of position", top, 0, size - height)
    around = (left, size - width - left, top, size - height - top)
    canvas = functional.pad(torch.stack(found), around, mode="replicate")
    empty = torch.ones(len(found), size, size, dtype=torch.bool)
    empty[:, top : top + height, left : left + width] = False
    count = count or len(found)
    return canvas.expand(count, -1, -1, -1), empty.expand(count, -1, -1)


def free_tokens(mask: Bool[Tensor, "b h w"], factor: int) -> Bool[Tensor, "b n"]:
    """Which tokens are repainted: those with any masked pixel in their factor x factor square."""
    squares = rearrange(mask, "b (h p) (w q) -> b (h w) (p q)", p=factor, q=factor)
    return squares.any(dim=-1)


def _listed(name: str, value: Images, axes: int, count: int | None) -> list[ImageLike]:
    """One or `count` of them; an array with an axis more is a list."""
    is_array = isinstance(value, np.ndarray | Tensor)
    several = isinstance(value, list | tuple) or (is_array and value.ndim == axes + 1)
    found = list(value) if several else [value]
    for one in found:
        if not isinstance(one, Image.Image | np.ndarray | Tensor):
            raise TypeError(
                f"{name} is {shown(one)}; allowed: a PIL image, a NumPy array, a torch tensor"
            )
    if not found or (count is not None and len(found) not in (1, count)):
        allowed = "1 or more" if count is None else " or ".join(map(str, sorted({1, count})))
        raise ValueError(f"the number of {name}s is {len(found)}; allowed: {allowed}")
    return found


def _as_rgb(one: ImageLike, size: int | None = None) -> Float[Tensor, "3 height width"]:
    """One image as floats in 0 to 1; without a `size` its height and width are free."""
    if isinstance(one, Image.Image):
        check_choice("the mode of image", one.mode, MODES)
        one = np.array(one.convert("RGB"))
    side = (size or "height", size or "width")
    pixels = _as_tensor(one)
    if isinstance(one, Tensor):
        _check_shape("image", one, (3, *side))
    else:
        _check_shape("image", one, (*side, 3))
        pixels = rearrange(pixels, "h w c -> c h w")
    return _in_unit_range("image", pixels)


def _check_shape(name: str, one: np.ndarray | Tensor, allowed: tuple[int | str, ...]) -> None:
    """Raise `ValueError` for another shape; a word in the place of a number allows any but 0."""
    shape = tuple(one.shape)
    if len(shape) != len(allowed) or any(
        a != s if isinstance(a, int) else s == 0 for a, s in zip(allowed, shape, strict=True)
    ):
        words = ", ".join(map(str, allowed))
        raise ValueError(f"{name} has the shape {shape}; allowed: ({words})")


def _as_tensor(one: np.ndarray | Tensor) -> Tensor:
    """On the CPU. An array is copied: a mirrored one has strides that torch does not know."""
    return torch.from_numpy(one.copy()) if isinstance(one, np.ndarray) else one.cpu()


def _in_unit_range(name: str, pixels: Tensor) -> Float[Tensor, "*shape"]:
    """uint8 divided by 255, or floats that lie in 0 to 1 already."""
    if pixels.dtype == torch.uint8:
        return pixels.float() / 255
    if not pixels.is_floating_point():
        raise TypeError(f"{name} has the dtype {pixels.dtype}; allowed: uint8, floats in 0 to 1")
    check_range(name, pixels, 0, 1)
    return pixels.float()

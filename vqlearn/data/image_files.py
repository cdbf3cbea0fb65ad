"""One image file as bytes of one size: which files are read, and how their modes become RGB."""

import hashlib
import warnings
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
import torch
from einops import rearrange
from jaxtyping import UInt8
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM")
"""Told by the content, not by the name. Pillow reads more, some by starting a program (EPS)."""
MOST_PIXELS = 50_000_000  # decoded at once: they need up to 750 MB
DRAFT = 4  # with so many times the pixels of a side, what was left out can hardly be seen
GREY_16 = ("I;16", "I;16L", "I;16B", "I;16N")
EIGHT_BITS = (
    *("1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX"),
    *("CMYK", "YCbCr", "LAB", "HSV"),
)
TIFF_BITS, TIFF_BLACK = 258, 262  # BitsPerSample; PhotometricInterpretation, 1: black is 0


class ImageFile(NamedTuple):
    """What was read of a file: its pixels, its own width and height, a digest of its bytes."""

    pixels: UInt8[Tensor, "3 h w"]
    own_size: tuple[int, int]
    digest: str


def read_image(path: Path, size: int, *, background: str = "white", longest: int = 1) -> ImageFile:
    """The middle square of an image, RGB in 0 to 255, upright; behind it the `background`.

    With `longest` above 1 it need not be a square: the shorter side is `size`, the longer one at
    most `longest` times that, and only what is longer still is left out at both ends.

    Of an animation, the first image. A large JPEG file is decoded at an eighth to a half of its
    size, at least `DRAFT` times as large as `size`. Raises `ValueError` for a file that is no image
    of `FORMATS`, is damaged, has more than `MOST_PIXELS` pixels, or a mode whose range is unknown,
    such as floats; `OSError` if it cannot be opened.
    """
    with path.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
        stream.seek(0)
        try:
            with warnings.catch_warnings(action="ignore"):  # of Pillow, about odd files
                pixels, own_size = _decode(stream, size, background, longest)
        except UnidentifiedImageError:
            raise ValueError(f"it is no image; allowed: {', '.join(FORMATS)}") from None
        except Exception as error:  # decoders raise a dozen kinds for what a file can hold
            raise ValueError(str(error) or type(error).__name__) from error
    return ImageFile(pixels, own_size, digest)


def _decode(
    stream: BinaryIO, size: int, background: str, longest: int
) -> tuple[UInt8[Tensor, "3 h w"], tuple[int, int]]:
    with Image.open(stream, formats=FORMATS) as picture:
        own_size = picture.size
        picture.draft(None, (DRAFT * size, DRAFT * size))  # does something for JPEG alone
        if picture.width * picture.height > MOST_PIXELS:
            raise ValueError(f"it has {own_size[0]} x {own_size[1]} pixels; allowed: {MOST_PIXELS}")
        _check_mode(picture)
        ImageOps.exif_transpose(picture, in_place=True)
        kept = _kept_size(picture, size, longest)
        fitted = ImageOps.fit(_as_rgb(picture, background), kept, Image.Resampling.LANCZOS)
    return rearrange(torch.from_numpy(np.array(fitted)), "h w c -> c h w"), own_size


def _kept_size(picture: Image.Image, size: int, longest: int) -> tuple[int, int]:
    """Width and height."""
    long = min(round(size * max(picture.size) / min(picture.size)), size * longest)
    return (long, size) if picture.width >= picture.height else (size, long)


def _check_mode(picture: Image.Image) -> None:
    if picture.mode not in EIGHT_BITS and not _is_grey_16(picture):
        raise ValueError(
            f"its mode is {picture.mode!r}; allowed: 8 bits, or grey from 0 to 65535 "
            "(floats and 32-bit integers do not say what is white)"
        )


def _is_grey_16(picture: Image.Image) -> bool:
    """Do its numbers go from black, 0, to white, 65535?"""
    if picture.format == "PPM":
        return picture.mode == "I"  # Pillow has scaled them
    if picture.format == "TIFF":  # some have 12 bits, some have white at 0
        tags = picture.tag_v2
        return picture.mode in GREY_16 and (tags[TIFF_BITS][0], tags[TIFF_BLACK]) == (16, 1)
    return picture.mode in GREY_16


def _as_rgb(picture: Image.Image, background: str) -> Image.Image:
    if _is_grey_16(picture):
        picture = _grey_in_8_bits(picture)
    if not picture.has_transparency_data:
        return picture.convert("RGB")
    above = picture.convert("RGBA")
    below = Image.new("RGBA", above.size, background)
    below.alpha_composite(above)
    return below.convert("RGB")


def _grey_in_8_bits(picture: Image.Image) -> Image.Image:
    """65535 becomes 255; if one value stands for transparent, there is a channel that says so."""
    values = np.array(picture)
    grey = Image.fromarray(((np.arange(2**16) + 128) // 257).astype(np.uint8)[values])
    if "transparency" not in picture.info:
        return grey
    opaque = Image.fromarray(np.where(values == picture.info["transparency"], 0, 255).astype("u1"))
    return Image.merge("LA", (grey, opaque))

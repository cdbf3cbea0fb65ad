"""How the images and captions of a folder are read: what the user can choose."""

from dataclasses import dataclass
from types import NoneType

from PIL import ImageColor

from vqlearn.probability.checks import check_choice, check_kind, check_number, shown

CROPS = ("center", "random")


def _check_colour(background: str) -> None:
    try:
        channels = len(ImageColor.getrgb(background))
    except ValueError:
        channels = 0
    if channels != 3:
        raise ValueError(
            f"background is {shown(background)}; allowed: a colour, 'white', '#rrggbb'"
        )


@dataclass(frozen=True)
class Reading:
    """The options of `ImageFolder`; all of them decide what a training learns.

    - `crop`: of an image that is no square, "center" takes the middle square. "random" takes one
      of the same size, all that fits, from another place whenever the image is drawn.
    - `flip`: mirror every second image, left to right, at random whenever it is drawn. Captions
      that say left or right are then wrong for it.
    - `background`: the colour behind transparent pixels, a name or "#rrggbb", as Pillow reads it.
    - `caption_column`: the key or column that holds the captions; None: "text", else "caption".
    - `hold_out`: the share of images that is never learned from, 0 or more, below 1. The bytes of
      a file decide, so copies of an image stay together, and other images change nothing.

    Raises `TypeError` or `ValueError` that names the option.
    """

    crop: str = "center"
    flip: bool = False
    background: str = "white"
    caption_column: str | None = None
    hold_out: float = 0.0

    def __post_init__(self) -> None:
        check_choice("crop", self.crop, CROPS)
        check_kind("flip", self.flip, bool)
        check_kind("background", self.background, str)
        _check_colour(self.background)
        check_kind("caption_column", self.caption_column, str, NoneType)
        if self.caption_column is not None and not self.caption_column.strip():
            raise ValueError(f"caption_column is {self.caption_column!r}; allowed: a name")
        check_number("hold_out", self.hold_out)
        if not 0 <= self.hold_out < 1:
            raise ValueError(f"hold_out is {shown(self.hold_out)}; allowed: 0 or more, below 1")

    @property
    def varies(self) -> bool:
        """Can the same image look different the next time it is drawn?"""
        return self.flip or self.crop == "random"


DEFAULT_READING = Reading()

"""Several images as one."""

import math
from collections.abc import Sequence

from PIL import Image

SMALLEST_SIDE = 256
GAP = 8


def make_grid(images: Sequence[Image.Image]) -> Image.Image:
    """Lay equal images out row by row, in a grid as square as their number allows.

    Small images are enlarged by a whole factor, up to 256 pixels, without smoothing, so that
    what the model drew stays visible. One image comes back alone.
    """
    factor = max(1, SMALLEST_SIDE // images[0].width)
    large = [image.resize((image.width * factor, image.height * factor), 0) for image in images]
    columns = math.ceil(math.sqrt(len(large)))
    rows = math.ceil(len(large) / columns)
    width, height = large[0].width + GAP, large[0].height + GAP
    grid = Image.new("RGB", (columns * width - GAP, rows * height - GAP), "white")
    for index, image in enumerate(large):
        grid.paste(image, (index % columns * width, index // columns * height))
    return grid

"""Pictures of what a training has learned so far: above what was asked for, below what came.

They are drawn from the mean weights, by random numbers of their own: a training with previews
learns the same, bit for bit, as one without.
"""

from collections.abc import Sequence
from pathlib import Path

import torch
from accelerate import Accelerator
from einops import rearrange
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from vqlearn.data import Batch, Source
from vqlearn.probability import random_stream
from vqlearn.storage import atomic_write, write_text

FOLDER, CAPTIONS = "preview", "captions.txt"
COUNT = 8  # images
SMALLEST_SIDE = 128  # pixels of an image in the picture


def preview_batch(source: Source) -> Batch:
    """The images and captions that all previews of a training show."""
    return source.batch(COUNT, generator=random_stream("preview"))


def write_preview(
    rows: Float[Tensor, "rows images 3 h w"],
    captions: Sequence[str],
    folder: Path,
    stage: str,
    step: int,
    accelerator: Accelerator,
) -> Path:
    """Write `preview/STAGE_STEP.png` in a folder, its captions, and the same to TensorBoard."""
    pixels = rearrange(rows.clamp(0, 1), "rows images c h w -> (rows h) (images w) c")
    array = (pixels * 255).round().to(torch.uint8).cpu().numpy()
    picture = Image.fromarray(array)
    factor = max(1, SMALLEST_SIDE // rows.shape[-1])
    size = (picture.width * factor, picture.height * factor)
    file = folder / FOLDER / f"{stage}_{step:06d}.png"
    write_text(folder / FOLDER / CAPTIONS, "".join(f"{caption}\n" for caption in captions))
    with atomic_write(file) as part:
        picture.resize(size, Image.Resampling.NEAREST).save(part)
    for tracker in accelerator.trackers:
        tracker.log_images({f"{stage}/preview": array[None]}, step, dataformats="NHWC")
    return file

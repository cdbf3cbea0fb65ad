"""Pictures of what a training has learned so far: above what was asked for, below what came.

They are drawn from the mean weights, by random numbers of their own: a training with previews
learns the same, bit for bit, as one without.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from accelerate import Accelerator
from jaxtyping import Float
from torch import Tensor

from vqlearn.data import Batch, Source
from vqlearn.data.picture import picture_of_rows
from vqlearn.probability import random_stream
from vqlearn.storage import atomic_write, write_text

FOLDER, CAPTIONS = "preview", "captions.txt"
COUNT = 8  # images


def preview_batch(source: Source) -> Batch:
    """The images and captions that all previews of a stage show."""
    return source.batch(COUNT, generator=random_stream("preview"))


def write_preview(
    rows: Float[Tensor, "rows images 3 h w"],
    captions: Sequence[str],
    folder: Path,
    stage: str,
    step: int,
    accelerator: Accelerator,
) -> None:
    """Write `preview/STAGE_STEP.png` in a folder, its captions, and the same to TensorBoard."""
    picture = picture_of_rows(rows)
    file = folder / FOLDER / f"{stage}_{step:06d}.png"
    write_text(folder / FOLDER / CAPTIONS, "".join(f"{caption}\n" for caption in captions))
    with atomic_write(file) as part:
        picture.save(part)
    for tracker in accelerator.trackers:
        images = {f"{stage}/preview": np.asarray(picture)[None]}
        tracker.log_images(images, step, dataformats="NHWC")

"""What `vqlearn edit` does: read the files, then inpaint, edit, or vary."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vqlearn.checkpoints import resolve
from vqlearn.cli.asked import Told, options_of, settings
from vqlearn.cli.models import choices_of, open_model, reading_of
from vqlearn.data.image_files import ImageFile, read_image
from vqlearn.pipeline import PipelineOutput
from vqlearn.pipeline.editing import ImageEditing
from vqlearn.pipeline.inputs import WHITE
from vqlearn.probability.checks import check_integer
from vqlearn.storage import as_path

STEPS = 25  # or as many as there are levels, if they are fewer


@dataclass(frozen=True)
class Change:
    """What the command is asked for; the names are those of its options.

    Raises `ValueError` for options that mean nothing, alone or beside each other.
    """

    image: Path
    prompt: str | None
    class_label: str | None
    mask: Path | None
    paste: bool
    level: int | None
    steps: int | None
    guidance: float | None
    truncation: float | None
    seed: int
    images: int

    def __post_init__(self) -> None:
        settings(None, self.guidance, self.truncation, self.steps)
        if self.mask is None and self.paste:
            raise ValueError("--paste is given; allowed: with --mask, it tells which pixels stay")
        if self.mask is not None and self.level is not None:
            raise ValueError(f"--level is {self.level}; allowed with --mask: none")


def edited(model: tuple[str, str | None, str | None], change: Change) -> PipelineOutput:
    """The images: with a mask inpainted, under a prompt or a class alone edited, else varied.

    `model`: the name of a checkpoint, the device (None: the best) and the dtype (None: as stored).

    Raises `ValueError` that names the option or the pipeline's argument, for a model that is no
    VQ-Diffusion, for what it is not told, for files that are no images, and for a mask of another
    size than the image.
    """
    name, device, dtype = model
    pipeline = open_model(name, device, dtype)
    if not isinstance(pipeline, ImageEditing):
        raise ValueError(f"--model is {name!r}; allowed: a checkpoint of VQ-Diffusion")
    level = _level(pipeline, change)
    options = {**_told(pipeline, change), **_sampling(pipeline, change, level)}
    background = reading_of(choices_of(resolve(name))).background
    image = _read("the image", change.image, pipeline.image_size, background)
    if change.mask is not None:
        white = _white(change.mask, image, background)
        return pipeline.inpaint(image.pixels, white, paste=change.paste, **options)
    if "guidance_scale" in options:  # told something
        return pipeline.edit(image.pixels, level=level, **options)
    return pipeline.variations(image.pixels, level, **options)


def _level(pipeline: ImageEditing, change: Change) -> int:
    """The level at which the reverse process begins."""
    top = pipeline.process.num_timesteps
    if change.mask is not None:
        return top
    level = max(top // 2, 1) if change.level is None else change.level
    check_integer("--level", level, 1, top)
    return level


def _told(pipeline: ImageEditing, change: Change) -> dict[str, Any]:
    """What the model is told, and how many images are made."""
    told = Told(change.prompt, change.class_label, change.guidance, "--prompt")
    found = options_of(pipeline, told, change.images, needed=change.mask is not None)
    if "num_images" in found:
        found["num_images_per_image"] = found.pop("num_images")
    return found


def _sampling(pipeline: ImageEditing, change: Change, level: int) -> dict[str, Any]:
    """How the images are drawn, whatever the model is told."""
    rate = settings(pipeline.recommended, None, change.truncation).truncation_rate
    steps = min(STEPS, level) if change.steps is None else change.steps
    check_integer("--steps", steps, 1, level)
    seeds = range(change.seed, change.seed + change.images)
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    return {"truncation_rate": rate, "num_inference_steps": steps, "generator": generators}


def _white(mask: Path, image: ImageFile, background: str) -> Tensor:
    """Where the mask is white. Raises `ValueError` if it is not as large as the image."""
    read = _read("--mask", mask, image.pixels.shape[-1], background)
    if read.own_size != image.own_size:
        seen, allowed = (" x ".join(map(str, x.own_size)) for x in (read, image))
        raise ValueError(f"--mask has {seen} pixels; allowed: {allowed}, as the image")
    return read.pixels[1] > WHITE  # of grey, every channel says the same


def _read(name: str, file: Path, size: int, background: str) -> ImageFile:
    """The middle square of an image file, in the model's size, on its background."""
    path = as_path(name, file)
    try:
        return read_image(path, size, background=background)
    except OSError as error:
        raise ValueError(f"{name} is {str(file)!r}; {error.strerror}") from error
    except ValueError as error:
        raise ValueError(f"{name} is {str(file)!r}; {error}") from error

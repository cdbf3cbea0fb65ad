"""What `vqlearn edit` does: read the files, then inpaint, edit, or vary."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from vqlearn.checkpoints import resolve
from vqlearn.cli.models import choices_of, open_model, reading_of
from vqlearn.data.image_files import ImageFile, read_image
from vqlearn.pipeline import PipelineOutput, VQDiffusionPipeline
from vqlearn.pipeline.inputs import WHITE
from vqlearn.probability import Sampling
from vqlearn.storage import as_path

STEPS = 25  # or as many as there are levels, if they are fewer


def check_combination(
    prompt: str | None, mask: Path | None, level: int | None, *, paste: bool
) -> None:
    """Raise `ValueError` for options that mean nothing beside each other."""
    if mask is None and paste:
        raise ValueError("--paste is given; allowed: with --mask, it tells which pixels stay")
    if mask is not None and level is not None:
        raise ValueError(f"--level is {level}; allowed with --mask: none")
    if mask is not None and prompt is None:
        raise ValueError(
            "--prompt is missing; allowed with --mask: what the whole image shall show"
        )


def edited(
    model: tuple[str, str | None, str | None],
    image: Path,
    prompt: str | None,
    mask: Path | None,
    level: int | None,
    settings_for: Callable[[Sampling | None], Sampling],
    options: dict[str, Any],
) -> PipelineOutput:
    """The images: with a mask inpainted, with a prompt alone edited, with neither varied.

    `model`: the name of a checkpoint, the device (None: the best) and the dtype (None: as stored).
    `settings_for`: of what a checkpoint recommends, the settings of sampling.

    Raises `ValueError` that names the option, for a model that is no VQ-Diffusion, for files that
    are no images, and for a mask of another size than the image.
    """
    name, device, dtype = model
    pipeline = open_model(name, device, dtype)
    if not isinstance(pipeline, VQDiffusionPipeline):
        raise ValueError(f"--model is {name!r}; allowed: a checkpoint of VQ-Diffusion")
    background = reading_of(choices_of(resolve(name))).background
    original = _read("the image", image, pipeline.image_size, background)
    top, sampling = pipeline.process.num_timesteps, settings_for(pipeline.recommended)
    begin = top if mask is not None else max(top // 2, 1) if level is None else level
    options = {
        **options,
        "truncation_rate": sampling.truncation_rate,
        "num_inference_steps": sampling.num_inference_steps or min(STEPS, begin),
    }
    if prompt is None:
        return pipeline.variations(original.pixels, begin, **options)
    options["guidance_scale"] = sampling.guidance_scale
    if mask is not None:
        white = _read("--mask", mask, pipeline.image_size, background)
        if white.own_size != original.own_size:
            seen, allowed = (" x ".join(map(str, x.own_size)) for x in (white, original))
            raise ValueError(f"--mask has {seen} pixels; allowed: {allowed}, as the image")
        is_white = white.pixels[1] > WHITE  # of grey, every channel says the same
        return pipeline.inpaint(original.pixels, is_white, prompt, **options)
    return pipeline.edit(original.pixels, prompt, begin, **options)


def _read(name: str, file: Path, size: int, background: str) -> ImageFile:
    """The middle square of an image file, in the model's size, on its background."""
    path = as_path(name, file)
    try:
        return read_image(path, size, background=background)
    except OSError as error:
        raise ValueError(f"{name} is {str(file)!r}; {error.strerror}") from error
    except ValueError as error:
        raise ValueError(f"{name} is {str(file)!r}; {error}") from error

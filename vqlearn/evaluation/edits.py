"""How good are edits? True scenes with one object changed, read by the scene reader; and a seam.

pipe = VQDiffusionPipeline.from_pretrained("scenes")
evaluate_edits(pipe, Evaluation(prompts=100)).both.interval_95             # inpainting
evaluate_edits(pipe, Evaluation(prompts=100), level=60).both.interval_95   # from a level
token_reach(pipe, images, threshold=0.1, generator=generator)              # pixels
"""

from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from einops import rearrange
from jaxtyping import Bool, Float, Int
from torch import Tensor

from vqlearn.data.scenes import Scene, render, sample_scenes
from vqlearn.data.scenes.captions import describe_plain
from vqlearn.data.scenes.world import BOX, CELLS, TRAINING_PAIRS, SceneObject, pick
from vqlearn.evaluation.prompts import IMAGES_AT_ONCE, Evaluation
from vqlearn.evaluation.scene_reader import Share, agrees, read
from vqlearn.pipeline import TextToImagePipeline, VQDiffusionPipeline
from vqlearn.probability import random_stream
from vqlearn.probability.checks import check_integer, check_number

HALF_A_CELL = 1 / (2 * CELLS)  # how far a kept object may have moved, of the image's side


class Edit(NamedTuple):
    """A scene, the object in it that shall stay, the one that shall change, and the new prompt."""

    scene: Scene
    stays: SceneObject
    changes: SceneObject
    prompt: str


@dataclass(frozen=True)
class EditScores:
    """Of so many edits: the object outside was kept, the new prompt is satisfied, and both.

    `kept`: an object is read that has the old shape, colour and size, and a centre at most half a
    cell (2 pixels of 32) away. `satisfied`: all is read that the new prompt names, and it names
    everything. An image that cannot be read has neither.
    """

    kept: Share
    satisfied: Share
    both: Share


def sampled_edits(count: int, seed: int = 0) -> list[Edit]:
    """Scenes of two objects, of seen compositions, in which one gets another colour and shape.

    Raises `ValueError` for a count below 1.
    """
    check_integer("count", count, 1)
    stream, edits = random_stream("edited scenes", seed), []
    while len(edits) < count:
        (scene,) = sample_scenes(1, generator=stream, composition="seen")
        which, what = torch.rand(2, dtype=torch.float64, generator=stream).tolist()
        if len(scene.objects) == 2:
            edits.append(_edit(scene, int(2 * which), what))
    return edits


def evaluate_edits(
    pipeline: VQDiffusionPipeline, evaluation: Evaluation, level: int | None = None
) -> EditScores:
    """Change one object of `evaluation.prompts` scenes: by `inpaint`, or by `edit` from a level.

    The mask is the square of cells that the object fills. At level T an edit knows nothing of the
    image: there `kept` is what a new image has by chance. Raises `ValueError` as the methods of
    the pipeline do.
    """
    edits = sampled_edits(evaluation.prompts, evaluation.seed)
    kept, satisfied = [], []
    for first in range(0, len(edits), IMAGES_AT_ONCE):
        some = edits[first : first + IMAGES_AT_ONCE]
        streams = [
            random_stream("edited image", evaluation.seed, first + i) for i in range(len(some))
        ]
        options = {**evaluation.call_options(), "generator": streams, "output_type": "np"}
        found = read(_edited(pipeline, some, level, options))
        kept += [stays(scene, edit.stays) for scene, edit in zip(found, some, strict=True)]
        satisfied += [agrees(scene, edit.prompt) for scene, edit in zip(found, some, strict=True)]
    both = [a and b for a, b in zip(kept, satisfied, strict=True)]
    return EditScores(*(Share(sum(each), len(edits)) for each in (kept, satisfied, both)))


def stays(scene: Scene | None, thing: SceneObject) -> bool:
    """Whether the object is still there: shape, colour, size, and centre but for half a cell."""
    return scene is not None and any(
        replace(found, x=thing.x, y=thing.y) == thing
        and max(abs(found.x - thing.x), abs(found.y - thing.y)) <= HALF_A_CELL
        for found in scene.objects
    )


def box_mask(thing: SceneObject, image_size: int) -> Bool[Tensor, "h w"]:
    """True in the square of cells that an object fills."""
    pixels = (torch.arange(image_size) + 0.5) / image_size
    half = BOX[thing.size] / (2 * CELLS)
    return ((pixels - thing.y).abs() < half)[:, None] & ((pixels - thing.x).abs() < half)


@torch.no_grad()
def token_reach(
    pipeline: TextToImagePipeline,
    images: Float[Tensor, "b 3 h w"],
    *,
    threshold: float,
    generator: torch.Generator,
) -> Int[Tensor, " b"]:
    """How many pixels beyond its own square one token changes the decoded image.

    In each image one random token becomes a random other code. The answer is the distance, along
    the longer axis, of the farthest pixel that changes by more than the threshold (0 to 1, in any
    of its colours); 0 where none outside of the square does. Normalisation and attention in the
    decoder reach everywhere by a little, so there is no answer without a threshold.
    """
    check_number("threshold", threshold)
    tokens = pipeline.vqvae.encode(images).cpu()
    each, num_codes = torch.arange(len(tokens)), pipeline.model.num_codes
    position = torch.randint(tokens.shape[1], (len(tokens),), generator=generator)
    shift = torch.randint(1, num_codes, (len(tokens),), generator=generator)
    changed = tokens.clone()
    changed[each, position] = (tokens[each, position] + shift) % num_codes
    before, after = (pipeline.pixels(x.to(pipeline.device)) for x in (tokens, changed))
    side = images.shape[-1] // pipeline.vqvae.config.downsampling_factor
    row, column = (_beyond(i, images.shape[-1], side) for i in (position // side, position % side))
    distance = torch.maximum(row[:, :, None], column[:, None])  # (b, h, w)
    is_changed = (before - after).abs().amax(dim=1) > threshold
    return distance.masked_fill(~is_changed, 0).amax(dim=(1, 2))


def _beyond(index: Int[Tensor, " b"], pixels: int, side: int) -> Int[Tensor, "b pixels"]:
    """How far each pixel of an axis lies outside the square of a token, along that axis."""
    factor, pixel = pixels // side, torch.arange(pixels)
    first = rearrange(index * factor, "b -> b 1")
    return torch.maximum(first - pixel, pixel - (first + factor - 1)).clamp(min=0)


def _edit(scene: Scene, which: int, what: float) -> Edit:
    """Another colour and shape, of those that training has seen, for object 0 or 1."""
    changes, other = scene.objects[which], scene.objects[1 - which]
    present = {thing.pair for thing in scene.objects}
    colour, shape = pick([pair for pair in TRAINING_PAIRS if pair not in present], what)
    new = replace(changes, colour=colour, shape=shape)
    objects = (new, other) if which == 0 else (other, new)
    return Edit(scene, other, changes, describe_plain(replace(scene, objects=objects)))


def _edited(
    pipeline: VQDiffusionPipeline, edits: list[Edit], level: int | None, options: dict
) -> Float[Tensor, "b 3 h w"]:
    images = render([edit.scene for edit in edits], image_size=pipeline.image_size)
    prompts = [edit.prompt for edit in edits]
    if level is None:
        masks = torch.stack([box_mask(edit.changes, pipeline.image_size) for edit in edits])
        found = pipeline.inpaint(images, masks, prompts, **options)
    else:
        found = pipeline.edit(images, prompts, level, **options)
    return rearrange(torch.from_numpy(found.images), "b h w c -> b c h w")

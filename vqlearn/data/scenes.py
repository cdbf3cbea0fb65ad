"""Where do training pictures come from? Random scenes, drawn and described.

    batch = scene_batch(64, generator=torch.Generator().manual_seed(0), composition="seen")
    batch.images      # (64, 3, 32, 32), float32 in 0 to 1
    batch.captions    # 64 sentences

Each object stays in its own half of the picture, so that objects never overlap, and the offset
along the relation is at least 1.6 times the offset across it, so that no relation is in doubt.
Tests: tests/test_scenes.py.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from vqlearn.data.captions import describe_all
from vqlearn.data.drawing import render
from vqlearn.data.world import (
    BACKGROUND_RGB,
    BACKGROUNDS,
    COLOURS,
    HELD_OUT_PAIRS,
    PAIRS,
    RADIUS,
    RELATIONS,
    RGB,
    SHAPES,
    SIZES,
    TRAINING_PAIRS,
    Scene,
    SceneObject,
    pick,
    require,
)

__all__ = [
    "BACKGROUNDS",
    "BACKGROUND_RGB",
    "COLOURS",
    "HELD_OUT_PAIRS",
    "RADIUS",
    "RELATIONS",
    "RGB",
    "SHAPES",
    "SIZES",
    "Scene",
    "SceneBatch",
    "SceneObject",
    "render",
    "sample_scenes",
    "scene_batch",
]

Composition = Literal["seen", "held_out", "any"]
COMPOSITIONS = ("seen", "held_out", "any")

ONE_OBJECT_SHARE = 0.3
ROOM = 0.23  # half the room of an object inside its half of the picture; 0.02 stay free around it
ACROSS = 0.08  # how far a centre may lie from the middle line, across the relation
ALONE = 0.2  # how far the centre of a single object may lie from the middle of the picture

_DRAWS = 12


@dataclass(frozen=True)
class SceneBatch:
    """Images, one caption for each, and the scenes that made both."""

    images: Float[Tensor, "b 3 h w"]
    captions: list[str]
    scenes: list[Scene]


def _between(low: float, high: float, uniform: float) -> float:
    return low + (high - low) * uniform


def _two_pairs(composition: Composition, draws: Sequence[float]) -> list[tuple[str, str]]:
    """Two different (colour, shape) pairs, in random order, that the composition allows."""
    first_pairs = tuple(sorted(HELD_OUT_PAIRS)) if composition == "held_out" else PAIRS
    if composition == "seen":
        first_pairs = TRAINING_PAIRS
    first = pick(first_pairs, draws[0])
    second_pairs = TRAINING_PAIRS if composition == "seen" else PAIRS
    second = pick([pair for pair in second_pairs if pair != first], draws[1])
    return [first, second] if draws[2] < 0.5 else [second, first]


def _single(composition: Composition, background: str, draws: Sequence[float]) -> Scene:
    """One object near the middle of the picture."""
    pairs = {"seen": TRAINING_PAIRS, "held_out": tuple(sorted(HELD_OUT_PAIRS)), "any": PAIRS}
    colour, shape = pick(pairs[composition], draws[0])
    x, y = (_between(0.5 - ALONE, 0.5 + ALONE, uniform) for uniform in draws[1:3])
    return Scene((SceneObject(shape, colour, pick(SIZES, draws[3]), x, y),), None, background)


def _double(composition: Composition, background: str, draws: Sequence[float]) -> Scene:
    """Two objects, each in its own half of the picture."""
    relation = pick(RELATIONS, draws[3])
    objects = []
    for index, (colour, shape) in enumerate(_two_pairs(composition, draws)):
        size_draw, along_draw, across_draw = draws[4 + 3 * index : 7 + 3 * index]
        size = pick(SIZES, size_draw)
        in_first_half = (relation in ("above", "left of")) == (index == 0)
        slack = ROOM - RADIUS[size]
        along = (0.25 if in_first_half else 0.75) + _between(-slack, slack, along_draw)
        across = 0.5 + _between(-ACROSS, ACROSS, across_draw)
        x, y = (across, along) if relation in ("above", "below") else (along, across)
        objects.append(SceneObject(shape, colour, size, x, y))
    return Scene(tuple(objects), relation, background)


def sample_scenes(
    count: int, *, generator: torch.Generator, composition: Composition
) -> list[Scene]:
    """Draw random scenes: one object in 30 % of them, two in the others.

    `composition` says which (colour, shape) pairs occur. "seen": no held-out pair. "held_out":
    at least one held-out pair. "any": all pairs. The same seed gives the same scenes.
    Raises ValueError for count < 1 or an unknown composition.
    """
    if count < 1:
        raise ValueError(f"count is {count}; allowed: 1 or more")
    require("composition", composition, COMPOSITIONS)
    scenes = []
    for row in torch.rand(count, _DRAWS, dtype=torch.float64, generator=generator).tolist():
        make = _single if row[0] < ONE_OBJECT_SHARE else _double
        scenes.append(make(composition, pick(BACKGROUNDS, row[1]), row[2:]))
    return scenes


def scene_batch(
    count: int, *, generator: torch.Generator, composition: Composition, image_size: int = 32
) -> SceneBatch:
    """Draw, render and describe `count` random scenes.

    Cost at 32 pixels: about 0.1 ms an image on two cores.
    Raises ValueError as `sample_scenes` and `render` do.
    """
    scenes = sample_scenes(count, generator=generator, composition=composition)
    images = render(scenes, image_size=image_size)
    return SceneBatch(images, describe_all(scenes, generator=generator), scenes)

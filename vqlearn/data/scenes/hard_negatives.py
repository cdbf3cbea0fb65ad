"""Scenes that are easily taken for one another: they differ in who has what, and lies where.

"A red circle above a blue square", "a blue circle above a red square" and "a blue square above a
red circle" hold the same words. Two random scenes hardly ever do, so a matcher of captions and
images that only sees random scenes need not know what belongs to what, nor read "above" at all.
Here a scene comes together with its hard negatives.

Source of the idea: Yuksekgonul et al. 2023, "When and why vision-language models behave like
bags-of-words, and what to do about it" (their hard negatives are captions; ours are whole scenes).
"""

from collections.abc import Sequence
from dataclasses import replace

import torch

from vqlearn.data.scenes.sampling import Composition, allows, sample_scenes
from vqlearn.data.scenes.world import COLOURS, SHAPES, Scene, pick, relation_between


def sample_with_hard_negatives(
    count: int, *, generator: torch.Generator, composition: Composition
) -> list[Scene]:
    """As `sample_scenes`, but every random scene is followed by its hard negatives.

    All scenes of one family are there, but for the last family, which ends where the batch does.
    Raises `ValueError` as `sample_scenes` does.
    """
    families = sample_scenes(count, generator=generator, composition=composition)
    draws = torch.rand(count, 2, dtype=torch.float64, generator=generator).tolist()
    scenes = []
    for scene, row in zip(families, draws, strict=True):
        negatives = hard_negatives_of(scene, row)
        scenes += [scene, *(each for each in negatives if allows(composition, each))]
    return scenes[:count]


def hard_negatives_of(scene: Scene, draws: Sequence[float]) -> list[Scene]:
    """Different scenes made of the same things.

    Of two objects: they exchange their colours, their shapes, or both; and they lie in the three
    other relations. One object gets another colour or another shape; `draws` are two uniform
    numbers that choose them.
    """
    if len(scene.objects) == 1:
        (thing,) = scene.objects
        colour, shape = pick(COLOURS, draws[0]), pick(SHAPES, draws[1])
        changed = (replace(thing, colour=colour), replace(thing, shape=shape))
        negatives = [replace(scene, objects=(each,)) for each in changed]
    else:
        names = (("colour",), ("shape",), ("colour", "shape"))
        negatives = [_exchanged(scene, each) for each in names] + _moved(scene)
    return [each for each in dict.fromkeys(negatives) if each != scene]


def _exchanged(scene: Scene, names: Sequence[str]) -> Scene:
    first, second = scene.objects
    objects = tuple(
        replace(one, **{name: getattr(other, name) for name in names})
        for one, other in ((first, second), (second, first))
    )
    return replace(scene, objects=objects)


def _moved(scene: Scene) -> list[Scene]:
    """The board turned upside down and left to right, its axes exchanged, or both."""
    turned = [replace(thing, x=1 - thing.x, y=1 - thing.y) for thing in scene.objects]
    exchanged = [replace(thing, x=thing.y, y=thing.x) for thing in scene.objects]
    both = [replace(thing, x=1 - thing.y, y=1 - thing.x) for thing in scene.objects]
    return [
        Scene(tuple(things), relation_between(*things), scene.background)
        for things in (turned, exchanged, both)
    ]

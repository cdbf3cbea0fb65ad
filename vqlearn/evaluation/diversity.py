r"""How different are two images of one prompt, in what the prompt leaves open?

A caption names colours and shapes, and how two objects lie to each other. It leaves open in which
row and column each object lies, and often a size or the background. The world fills these in with
known probabilities p, so two true scenes of one caption differ in an attribute with probability
$1 - \sum_v p(v)^2$ (Simpson 1949), which is exact here. The **diversity** of a model is

    (attributes in which two images of one prompt differ) / (the same number, expected of true ones)

summed over the prompts both of whose images are right, so that mistakes do not count as diversity.
1: as diverse as the world. 0: a prompt gives one and the same scene.
"""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import product

import torch

from vqlearn.data.scenes import Scene, SceneObject
from vqlearn.data.scenes.captions import Description
from vqlearn.data.scenes.sampling import centres, placements
from vqlearn.data.scenes.world import BACKGROUNDS, BOX, CELLS, SIZES
from vqlearn.evaluation.scene_reader import DIGITS, agrees
from vqlearn.probability.estimates import Estimate, ratio

ALL = "all"

Values = dict[str, tuple]
"""The values that a caption leaves open, by kind: "background", "size", "position"."""
Place = tuple[float, float]
"""The centre of an object, x and y, in cells."""


@dataclass(frozen=True)
class Diversity:
    """How much two right images of a prompt differ, over what two true scenes of it do.

    `pairs`: the prompts that were counted. The interval speaks of other prompts and images; it is a
    normal one, so too narrow where the pairs are few.
    """

    value: float
    interval_95: tuple[float, float]
    pairs: int


def diversity(
    asked: Sequence[Description], pairs: Sequence[tuple[Scene | None, Scene | None]]
) -> dict[str, Diversity]:
    """Of all open attributes, and of every kind that two prompts or more leave open.

    `pairs` are the scenes that two images of each prompt show, None where none can be read.
    """
    differing, expected = defaultdict(list), defaultdict(list)
    for each, (first, second) in zip(asked, pairs, strict=True):
        if agrees(first, each) and agrees(second, each):
            differ = differences(open_values(first, each), open_values(second, each))
            truth = true_differences(each)
            for kind in (ALL, *truth):
                differing[kind].append(sum(differ.values()) if kind == ALL else differ[kind])
                expected[kind].append(sum(truth.values()) if kind == ALL else truth[kind])
    return {
        kind: _over(differing[kind], expected[kind]) for kind in expected if len(expected[kind]) > 1
    }


def _over(differing: Sequence[float], expected: Sequence[float]) -> Diversity:
    value, *ends = Estimate.of_mean(
        *ratio(torch.tensor(differing, dtype=torch.float64), torch.tensor(expected).double())
    )
    return Diversity(round(value, DIGITS), tuple(round(end, DIGITS) for end in ends), len(expected))


def open_values(scene: Scene, asked: Description) -> Values:
    """What the caption leaves open, as the scene has it; the objects in the order of the caption.

    Only for a scene that agrees with the caption. A position is the row and the column of the
    first cell of an object's square.
    """
    by_pair = {thing.pair: thing for thing in scene.objects}
    things = [by_pair[each.colour, each.shape] for each in asked.objects]
    sizes = [t.size for t, each in zip(things, asked.objects, strict=True) if each.size is None]
    found = {
        "background": () if asked.background else (scene.background,),
        "size": tuple(sizes),
        "position": tuple(cell for thing in things for cell in _first_cell(thing)),
    }
    return {kind: values for kind, values in found.items() if values}


def _first_cell(thing: SceneObject) -> tuple[int, int]:
    half = BOX[thing.size] / 2
    return round(thing.y * CELLS - half), round(thing.x * CELLS - half)


def differences(first: Values, second: Values) -> dict[str, int]:
    """In how many attributes of each kind the two differ."""
    return {
        kind: sum(a != b for a, b in zip(values, second[kind], strict=True))
        for kind, values in first.items()
    }


@cache
def true_differences(asked: Description) -> dict[str, float]:
    r"""$\sum (1 - \sum_v p(v)^2)$ over the open attributes of each kind, exactly.

    That is how many differ, on average, between two independent true scenes of the caption.
    """
    marginals: dict[str, list[Counter]] = {}
    for share, scene in possible_scenes(asked):
        for kind, values in open_values(scene, asked).items():
            counters = marginals.setdefault(kind, [Counter() for _ in values])
            for counter, value in zip(counters, values, strict=True):
                counter[value] += share
    return {
        kind: sum(1 - sum(p**2 for p in counter.values()) for counter in counters)
        for kind, counters in marginals.items()
    }


def possible_scenes(asked: Description) -> list[tuple[float, Scene]]:
    """Every scene that this caption describes, with its probability given the caption."""
    backgrounds = (asked.background,) if asked.background else BACKGROUNDS
    sizes = list(product(*((each.size,) if each.size else SIZES for each in asked.objects)))
    found = []
    for some in sizes:
        places = _places(asked.relation, some)
        share = 1 / (len(backgrounds) * len(sizes) * len(places))
        for background, where in product(backgrounds, places):
            objects = tuple(
                SceneObject(each.shape, each.colour, size, x / CELLS, y / CELLS)
                for each, size, (x, y) in zip(asked.objects, some, where, strict=True)
            )
            found.append((share, Scene(objects, asked.relation, background)))
    return found


def _places(relation: str | None, sizes: Sequence[str]) -> list[tuple[Place, ...]]:
    """Where objects of these sizes may lie: all of it is equally likely (`sample_scenes`)."""
    if relation is None:
        return [((x, y),) for x, y in product(centres(sizes[0]), repeat=2)]
    in_order = relation in ("above", "left of")
    found = []
    for first in placements(*(sizes if in_order else sizes[::-1])):
        places = [first[:2], first[2:]]  # (along, across) of the one before and of the other
        places = places if in_order else places[::-1]
        vertical = relation in ("above", "below")
        found.append(tuple(place[::-1] if vertical else place for place in places))
    return found


def true_pairs(
    asked: Sequence[Description], *, generator: torch.Generator
) -> list[tuple[Scene, Scene]]:
    """Two independent true scenes of every caption: their diversity is 1 on average."""
    found = []
    for each in asked:
        shares, scenes = zip(*possible_scenes(each), strict=True)
        drawn = torch.tensor(shares).multinomial(2, replacement=True, generator=generator)
        found.append(tuple(scenes[i] for i in drawn.tolist()))
    return found

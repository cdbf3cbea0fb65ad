"""What can a scene contain?

This file holds the names (shapes, colours, sizes, relations, backgrounds), the two records
`SceneObject` and `Scene`, and the colour-shape pairs that training never sees.

Coordinates are in units of the image: x runs right from 0 to 1, y runs **down** from 0 to 1.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from vqlearn.probability.checks import check_choice

SHAPES = ("circle", "square", "triangle", "ring", "cross", "heart", "bar", "moon")

RGB = {
    "red": (0.86, 0.08, 0.10),
    "green": (0.08, 0.62, 0.18),
    "blue": (0.10, 0.25, 0.92),
    "yellow": (1.00, 0.94, 0.15),
    "orange": (1.00, 0.50, 0.02),
    "purple": (0.52, 0.08, 0.68),
    "pink": (1.00, 0.55, 0.78),
    "cyan": (0.15, 0.85, 0.95),
}
COLOURS = tuple(RGB)

RADIUS = {"small": 0.12, "large": 0.17}
BOX = {"small": 2, "large": 3}  # an object lies in the middle of a square of so many cells a side
CELLS = 8  # of the image's side
SIZES = tuple(RADIUS)

BACKGROUND_RGB = {
    "white": (1.0, 1.0, 1.0),
    "grey": (0.5, 0.5, 0.5),
    "black": (0.0, 0.0, 0.0),
    "brown": (0.42, 0.26, 0.12),
}
BACKGROUNDS = tuple(BACKGROUND_RGB)

INVERSE = {"above": "below", "below": "above", "left of": "right of", "right of": "left of"}
RELATIONS = tuple(INVERSE)

PAIRS = tuple((colour, shape) for colour in COLOURS for shape in SHAPES)
HELD_OUT_PAIRS = frozenset(
    (colour, shape)
    for row, colour in enumerate(COLOURS)
    for column, shape in enumerate(SHAPES)
    if (row + column) % 4 == 1
)
TRAINING_PAIRS = tuple(pair for pair in PAIRS if pair not in HELD_OUT_PAIRS)


def pick(options: Sequence[Any], uniform: float) -> Any:
    """Choose evenly among the options with one number in 0 to 1 (1 itself excluded)."""
    return options[int(uniform * len(options))]


@dataclass(frozen=True)
class SceneObject:
    """One filled shape: its names and its centre (x right, y down, both inside 0 to 1).

    Raises ValueError for an unknown shape, colour or size, or a centre outside the image.
    """

    shape: str
    colour: str
    size: str
    x: float
    y: float

    def __post_init__(self) -> None:
        check_choice("shape", self.shape, SHAPES)
        check_choice("colour", self.colour, COLOURS)
        check_choice("size", self.size, SIZES)
        if not (0 <= self.x <= 1 and 0 <= self.y <= 1):
            raise ValueError(f"the centre is ({self.x}, {self.y}); allowed: 0 to 1 on both axes")

    @property
    def pair(self) -> tuple[str, str]:
        """The (colour, shape) pair that may be held out."""
        return self.colour, self.shape


def relation_between(first: SceneObject, second: SceneObject) -> str:
    """How does `first` lie relative to `second`? The longer axis of the offset decides."""
    right, down = first.x - second.x, first.y - second.y
    if abs(right) > abs(down):
        return "right of" if right > 0 else "left of"
    return "below" if down > 0 else "above"


@dataclass(frozen=True)
class Scene:
    """One or two objects on a plain background.

    `relation` says how objects[0] lies relative to objects[1]; it is None with one object.
    Raises ValueError for another number of objects, an unknown background, or a relation that
    contradicts the two centres.
    """

    objects: tuple[SceneObject, ...]
    relation: str | None
    background: str

    def __post_init__(self) -> None:
        check_choice("the number of objects", len(self.objects), (1, 2))
        check_choice("background", self.background, BACKGROUNDS)
        true_relation = relation_between(*self.objects) if len(self.objects) == 2 else None
        check_choice("the relation of these objects", self.relation, (true_relation,))

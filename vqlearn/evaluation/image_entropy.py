r"""The entropy of a scene's image in bits: no model of the pixels can cost less.

An image shows a background and one or two objects, each with a colour, a shape, a size and a
position. No two scenes that differ in one of these look the same, at 8 pixels a side and more. What
an image does not show is the order of its objects: "a above b" and "b below a" are one image. All
choices are even, so the entropy is a sum of a few logarithms, and only the pairs of colour and
shape need counting. Tests: tests/evaluation/test_image_entropy.py, against every image of a reduced
world.
"""

import math
from collections.abc import Iterable
from fractions import Fraction
from itertools import product
from statistics import fmean

from vqlearn.data.scenes import Composition
from vqlearn.data.scenes.sampling import COMPOSITIONS, ONE_OBJECT_SHARE, centres, placements
from vqlearn.data.scenes.world import BACKGROUNDS, RELATIONS, SIZES
from vqlearn.evaluation.caption_entropy import drawn_pairs, single_pairs
from vqlearn.probability.checks import check_choice


def image_bits(composition: Composition) -> float:
    """The entropy of the image of a random scene, in bits.

    Raises `ValueError` for an unknown composition.
    """
    check_choice("composition", composition, COMPOSITIONS)
    one, two = ONE_OBJECT_SHARE, 1 - ONE_OBJECT_SHARE
    number, background = _entropy([one, two]), math.log2(len(BACKGROUNDS))
    objects = one * _single_bits(composition) + two * _double_bits(composition)
    return number + background + objects


def _single_bits(composition: Composition) -> float:
    """One object: its colour and shape, its size, and its row and column, given the size."""
    size = math.log2(len(SIZES))
    position = fmean(2 * math.log2(len(centres(size))) for size in SIZES)
    return _entropy(single_pairs(composition).values()) + size + position


def _double_bits(composition: Composition) -> float:
    """Two objects, the upper or left one first: direction, both pairs, both sizes, positions.

    Four relations are two directions, because the order of the objects cannot be seen.
    """
    direction = math.log2(len(RELATIONS) / 2)
    sizes = 2 * math.log2(len(SIZES))
    positions = fmean(math.log2(len(placements(*both))) for both in product(SIZES, repeat=2))
    return direction + _entropy(drawn_pairs(composition).values()) + sizes + positions


def _entropy(distribution: Iterable[Fraction | float]) -> float:
    return -math.fsum(p * math.log2(p) for p in distribution)

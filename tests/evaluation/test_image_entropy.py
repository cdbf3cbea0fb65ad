"""The entropy of the image of a scene, against every image of a reduced world."""

import inspect
import math
from collections import Counter
from itertools import product

import pytest
import torch
from einops import reduce

from vqlearn.data.rgb import to_tokens
from vqlearn.data.scenes import sampling as scenes
from vqlearn.data.scenes import world
from vqlearn.data.scenes.drawing import render
from vqlearn.data.scenes.sampling import COMPOSITIONS, sample_scenes
from vqlearn.data.scenes.world import BACKGROUNDS, HELD_OUT_PAIRS, PAIRS, SIZES, TRAINING_PAIRS
from vqlearn.evaluation import image_entropy as picture_entropy
from vqlearn.evaluation.image_entropy import image_bits


def pictures(some):
    """What is seen of scenes at 8 pixels a side, as bytes."""
    images = torch.cat([render(some[i : i + 500], image_size=16) for i in range(0, len(some), 500)])
    small = reduce(images, "b c (h y) (w x) -> b c h w", "mean", h=8, w=8)
    return [bytes(row) for row in to_tokens(small).tolist()]


def middles(count):
    """Numbers in 0 to 1 that `pick` turns into each of so many options, once."""
    return [(i + 0.5) / count for i in range(count)]


def all_singles(composition, num_pairs):
    """Every scene of one object on white, with its probability among these."""
    made = Counter()
    for pair, size in product(middles(num_pairs), middles(len(SIZES))):
        positions = middles(len(scenes.centres(scenes.pick(SIZES, size))))
        for x, y in product(positions, repeat=2):
            scene = scenes._single(composition, "white", [pair, x, y, size])
            made[scene] += 1 / (num_pairs * len(SIZES) * len(positions) ** 2)
    return made


def all_hard_negatives(composition, nums):
    """The same of two objects; `nums` pairs can be drawn first, and second."""
    made = Counter()
    for first, second, coin, relation, *sizes in product(
        middles(nums[0]), middles(nums[1]), middles(2), middles(4), middles(2), middles(2)
    ):
        names = [scenes.pick(SIZES, each) for each in sizes]
        in_order = scenes.pick(scenes.RELATIONS, relation) in ("above", "left of")
        count = len(scenes.placements(*(names if in_order else names[::-1])))
        for position in middles(count):
            draws = [first, second, coin, relation, *sizes, position]
            share = 1 / (nums[0] * nums[1] * 2 * 4 * 4 * count)
            made[scenes._double(composition, "white", draws)] += share
    return made


def bits_of(distribution):
    assert math.fsum(distribution.values()) == pytest.approx(1)
    return -math.fsum(p * math.log2(p) for p in distribution.values())


def seen_distribution(made):
    distribution = Counter()
    for picture, p in zip(pictures(list(made)), made.values(), strict=True):
        distribution[picture] += p
    return distribution


def shrink(monkeypatch, seen, held_out):
    first = {"seen": seen, "held_out": tuple(sorted(held_out)), "any": seen + held_out}
    monkeypatch.setattr(scenes, "FIRST_PAIRS", first)
    for module in (world, scenes):
        monkeypatch.setattr(module, "PAIRS", seen + held_out)
        monkeypatch.setattr(module, "TRAINING_PAIRS", seen)
        monkeypatch.setattr(module, "HELD_OUT_PAIRS", frozenset(held_out))
    for module in (picture_entropy, scenes):
        monkeypatch.setattr(module, "BACKGROUNDS", ("white",))


@pytest.mark.parametrize("composition", COMPOSITIONS)
def test_in_a_small_world_it_is_that_of_all_pictures(monkeypatch, composition):
    """Three pairs that are alike in colour or shape: every image is drawn and counted."""
    seen, held_out = (("red", "circle"), ("red", "ring")), (("blue", "circle"),)
    shrink(monkeypatch, seen, held_out)
    first, others = {"seen": (2, 1), "held_out": (1, 2), "any": (3, 2)}[composition]
    one = seen_distribution(all_singles(composition, first))
    two = seen_distribution(all_hard_negatives(composition, (first, others)))
    assert not set(one) & set(two)
    share = scenes.ONE_OBJECT_SHARE
    both = Counter({picture: share * p for picture, p in one.items()})
    both.update({picture: (1 - share) * p for picture, p in two.items()})
    assert image_bits(composition) == pytest.approx(bits_of(both), abs=1e-9)


def test_no_two_single_objects_look_the_same():
    """All 64 pairs, sizes, positions and backgrounds: 10,496 images of 8 x 8 pixels."""
    made = [
        scenes.Scene((scenes.SceneObject(shape, colour, size, x / 8, y / 8),), None, background)
        for background, (colour, shape), size in product(BACKGROUNDS, PAIRS, SIZES)
        for x, y in product(scenes.centres(size), repeat=2)
    ]
    assert len(made) == len(set(pictures(made))) == 10_496


def test_the_mean_surprise_of_scenes_is_the_entropy():
    """Worked out for each scene from its own choices; 5 standard errors of 4,000 scenes."""
    made = sample_scenes(4_000, generator=torch.Generator().manual_seed(0), composition="seen")
    bits = torch.tensor([nll(scene) for scene in made], dtype=torch.float64)
    error = float(bits.std()) / len(bits) ** 0.5
    assert abs(float(bits.mean()) - image_bits("seen")) < 5 * error
    assert error < 0.1


def nll(scene):
    """Of a scene of seen pairs: all pairs are equally likely, and so are two different ones."""
    pairs, sizes = len(TRAINING_PAIRS), [thing.size for thing in scene.objects]
    if scene.relation is None:
        p = 0.3 / (pairs * 2 * len(scenes.centres(sizes[0])) ** 2)
    else:
        in_order = scene.relation in ("above", "left of")
        positions = len(scenes.placements(*(sizes if in_order else sizes[::-1])))
        p = 0.7 / (2 * pairs * (pairs - 1) * 4 * positions)
    return -math.log2(p / len(BACKGROUNDS))


def test_held_out_pairs_make_fewer_pictures():
    assert len(HELD_OUT_PAIRS) < len(TRAINING_PAIRS)
    assert image_bits("held_out") < image_bits("seen") < image_bits("any")


def test_an_unknown_composition_is_named():
    unchecked = inspect.unwrap(image_bits)
    with pytest.raises(ValueError, match="composition is 'new'; allowed: 'seen'"):
        unchecked("new")

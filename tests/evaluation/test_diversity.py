"""Diversity: 1 for true scenes, 0 for a repeated one; what it expects is counted."""

from collections import Counter

import pytest
import torch

from vqlearn.data.scenes import parse, sample_scenes
from vqlearn.evaluation.diversity import (
    differences,
    diversity,
    open_values,
    possible_scenes,
    true_differences,
    true_pairs,
)

ONE = "a red circle on white"
TWO = "a small red circle above a blue square"
TURNED = "a blue square below a small red circle"
BAR = "a small blue bar"
SIDEWAYS = "a large pink moon right of a cyan bar on black"
CAPTIONS = (ONE, BAR, TWO, TURNED, SIDEWAYS)


def of_the_world(relation, count):
    """Scenes whose first object lies so, drawn as training draws them."""
    scenes = sample_scenes(count, generator=torch.Generator().manual_seed(3), composition="any")
    return [scene for scene in scenes if scene.relation == relation]


@pytest.mark.parametrize(
    ("relation", "caption"), [(None, ONE), ("above", TWO), ("right of", SIDEWAYS)]
)
def test_possible_scenes_are_those_of_the_world(relation, caption):
    """Where objects lie, with which sizes, before which background; 5 sigma each: 1 in 4,000."""
    words = caption.replace("small ", "").replace("large ", "").split(" on ")[0]
    asked = parse(words)

    def what(scene):
        return *((each.size, each.x, each.y) for each in scene.objects), scene.background

    expected = Counter()
    for share, scene in possible_scenes(asked):
        expected[what(scene)] += share
    assert sum(expected.values()) == pytest.approx(1)
    found = Counter(what(scene) for scene in of_the_world(relation, 3000))
    total = sum(found.values())
    assert set(found) <= set(expected)
    for scene, share in expected.items():
        sigma = (total * share * (1 - share)) ** 0.5
        assert abs(found[scene] - total * share) < 5 * sigma + 1


@pytest.mark.parametrize("caption", CAPTIONS)
def test_every_possible_scene_is_one_that_the_caption_describes(caption):
    from vqlearn.evaluation import agrees

    assert all(agrees(scene, caption) for _, scene in possible_scenes(parse(caption)))


@pytest.mark.parametrize("caption", CAPTIONS)
def test_expected_differences_are_those_of_all_pairs(caption):
    asked = parse(caption)
    scenes = [(share, open_values(scene, asked)) for share, scene in possible_scenes(asked)]
    summed = Counter()
    for p, first in scenes:
        for q, second in scenes:
            for kind, count in differences(first, second).items():
                summed[kind] += p * q * count
    assert true_differences(asked) == pytest.approx(dict(summed))


def test_expected_differences_by_hand():
    """Size is open: .5. A small circle has 5 rows, a large one 4, and shares its first cells."""
    found = true_differences(parse(ONE))
    assert set(found) == {"size", "position"}
    assert found["size"] == pytest.approx(0.5)
    same = 4 * (1 / 10 + 1 / 8) ** 2 + (1 / 10) ** 2
    assert found["position"] == pytest.approx(2 * (1 - same))
    assert true_differences(parse(BAR))["background"] == pytest.approx(0.75)


def test_the_order_of_the_objects_does_not_matter():
    scene = possible_scenes(parse(TURNED))[5][1]
    turned = open_values(scene, parse(TURNED))
    assert open_values(scene, parse(TWO)) == {
        "background": turned["background"],
        "size": turned["size"],
        "position": turned["position"][2:] + turned["position"][:2],
    }


def test_true_pairs_have_a_diversity_of_1_and_repeated_scenes_of_0():
    asked = [parse(caption) for caption in (ONE, BAR, SIDEWAYS)] * 40
    pairs = true_pairs(asked, generator=torch.Generator().manual_seed(0))
    for kind, found in diversity(asked, pairs).items():
        low, high = found.interval_95
        assert abs(found.value - 1) < 5 * (high - low) / (2 * 1.96), kind
        assert high - low < 0.5
    repeated = diversity(asked, [(first, first) for first, _ in pairs])
    assert {found.value for found in repeated.values()} == {0}


def test_only_prompts_with_two_right_images_are_counted():
    asked = [parse(caption) for caption in (ONE, ONE, TWO, TWO)]
    pairs = true_pairs(asked, generator=torch.Generator().manual_seed(0))
    wrong = possible_scenes(parse(SIDEWAYS))[0][1]
    found = diversity(asked, [pairs[0], pairs[1], (pairs[2][0], wrong), (None, pairs[3][1])])
    assert {kind: each.pairs for kind, each in found.items()} == {
        "all": 2,
        "size": 2,
        "position": 2,
    }
    assert diversity(asked[:1], pairs[:1]) == {}, "one pair has no interval"


def test_every_prompt_has_a_pair():
    with pytest.raises(ValueError, match="argument"):
        diversity([parse(ONE)], [])

"""A scene and its doubles: the same words, bound otherwise."""

from collections import Counter

import pytest
import torch

from vqlearn.data.batches import Scenes
from vqlearn.data.scenes.captions import parse
from vqlearn.data.scenes.drawing import render
from vqlearn.data.scenes.hard_negatives import hard_negatives_of, sample_with_hard_negatives
from vqlearn.data.scenes.sampling import allows, sample_scenes
from vqlearn.data.scenes.world import RELATIONS
from vqlearn.probability.random import random_stream

EVERYTHING = [(a, b) for a in (0.0, 0.3, 0.99) for b in (0.0, 0.4, 0.99)]


def scenes(count=300, composition="any"):
    generator = torch.Generator().manual_seed(0)
    return sample_scenes(count, generator=generator, composition=composition)


def outline(scene):
    """Where things of which size lie."""
    things = [(thing.size, thing.x, thing.y) for thing in scene.objects]
    return things, scene.relation, scene.background


def things(scene):
    """Which things are there, wherever they lie."""
    return Counter((thing.colour, thing.shape, thing.size) for thing in scene.objects)


@pytest.mark.parametrize("draws", EVERYTHING)
def test_hard_negatives_differ_from_their_scene_and_from_each_other(draws):
    for scene in scenes():
        family = [scene, *hard_negatives_of(scene, draws)]
        assert len(set(family)) == len(family)
        assert {double.background for double in family} == {scene.background}


def test_two_objects_exchange_what_they_have_and_nothing_is_added():
    for scene in scenes():
        if len(scene.objects) == 2:
            first, second = (thing.pair for thing in scene.objects)
            different = first[0] != second[0] and first[1] != second[1]
            exchanged = hard_negatives_of(scene, (0.5, 0.5))[:-3]
            assert len(exchanged) == (3 if different else 1)
            assert all(outline(double) == outline(scene) for double in exchanged)
            for name in ("colour", "shape"):
                has = Counter(getattr(thing, name) for thing in scene.objects)
                for double in exchanged:
                    assert Counter(getattr(thing, name) for thing in double.objects) == has


def test_two_objects_lie_in_all_four_relations():
    for scene in scenes():
        if len(scene.objects) == 2:
            moved = hard_negatives_of(scene, (0.5, 0.5))[-3:]
            assert {double.relation for double in (scene, *moved)} == set(RELATIONS)
            assert all(double.objects[0].pair == scene.objects[0].pair for double in moved)
            assert all(things(double) == things(scene) for double in moved)
            render(moved)
            first, second = scene.objects
            for double in moved:
                one, other = double.objects
                apart = sorted((abs(one.x - other.x), abs(one.y - other.y)))
                before = sorted((abs(first.x - second.x), abs(first.y - second.y)))
                assert apart == pytest.approx(before)


def test_one_object_gets_another_colour_or_another_shape():
    for scene in scenes():
        if len(scene.objects) == 1:
            pair = scene.objects[0].pair
            for double in hard_negatives_of(scene, (0.3, 0.7)):
                assert sum(a != b for a, b in zip(pair, double.objects[0].pair, strict=True)) == 1


@pytest.mark.parametrize("composition", ["seen", "held_out", "any"])
def test_a_batch_has_families_of_what_may_occur_and_captions_that_are_true(composition):
    source = Scenes(32, composition, hard_negatives=True)
    batch = source.batch(200, generator=torch.Generator().manual_seed(1))
    generator = torch.Generator().manual_seed(1)
    made = sample_with_hard_negatives(200, generator=generator, composition=composition)
    assert batch.images.shape == (200, 3, 32, 32)
    assert all(allows(composition, scene) for scene in made)
    kinds = {str(sorted(thing.pair for thing in scene.objects)) for scene in made}
    assert len(kinds) < 150
    for caption, scene in zip(batch.captions, made, strict=True):
        said = sorted((thing.colour, thing.shape) for thing in parse(caption).objects)
        assert said == sorted(thing.pair for thing in scene.objects)


def test_a_source_with_hard_negatives_says_the_same_words_again_and_again():
    def kinds_of_words(source):
        captions = source.batch(100, generator=random_stream("x")).captions
        said = [parse(caption).objects for caption in captions]
        words = [[word for thing in each for word in (thing.colour, thing.shape)] for each in said]
        return len({tuple(sorted(each)) for each in words})

    plain = Scenes(32, "seen")
    assert kinds_of_words(plain) > 80
    assert kinds_of_words(plain.with_hard_negatives()) < 60
    assert plain.with_hard_negatives().captions() == plain.captions()

"""Scenes: which ones are drawn at random, and how they become pixels."""

from collections import Counter
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from vqlearn.data.scenes.drawing import coverage, render
from vqlearn.data.scenes.sampling import sample_scenes, scene_batch
from vqlearn.data.scenes.world import (
    BACKGROUND_RGB,
    BACKGROUNDS,
    COLOURS,
    HELD_OUT_PAIRS,
    INVERSE,
    PAIRS,
    RADIUS,
    RELATIONS,
    RGB,
    SHAPES,
    SIZES,
    TRAINING_PAIRS,
    Scene,
    SceneObject,
)

CIRCLE = SceneObject("circle", "red", "large", 0.5, 0.5)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def any_scenes():
    return sample_scenes(4000, generator=seeded(1), composition="any")


def test_the_world_is_as_large_as_promised():
    assert len(SHAPES) >= 8
    assert len(COLOURS) == 8
    assert len(SIZES) == 2
    assert len(RELATIONS) == 4
    assert len(BACKGROUNDS) >= 4


def test_held_out_pairs_are_many_and_leave_four_of_each_name():
    assert len(HELD_OUT_PAIRS) >= 12
    assert set(TRAINING_PAIRS) | HELD_OUT_PAIRS == set(PAIRS)
    assert not set(TRAINING_PAIRS) & HELD_OUT_PAIRS
    counts = Counter(name for pair in TRAINING_PAIRS for name in pair)
    assert all(counts[name] >= 4 for name in COLOURS + SHAPES)


def test_all_colours_are_clearly_apart():
    """The nearest two of the 12 colours are 0.4 apart in RGB, where the whole cube has side 1."""
    palette = torch.tensor([*RGB.values(), *BACKGROUND_RGB.values()])
    distance = torch.cdist(palette, palette) + 9 * torch.eye(len(palette))
    assert distance.min() > 0.4


def test_seen_scenes_hold_no_held_out_pair():
    scenes = sample_scenes(5000, generator=seeded(), composition="seen")
    assert not any(o.pair in HELD_OUT_PAIRS for scene in scenes for o in scene.objects)


def test_held_out_scenes_hold_a_held_out_pair_first_or_second():
    scenes = sample_scenes(2000, generator=seeded(), composition="held_out")
    held_out = [[o.pair in HELD_OUT_PAIRS for o in scene.objects] for scene in scenes]
    assert all(any(flags) for flags in held_out)
    assert {tuple(flags) for flags in held_out} >= {(True,), (True, False), (False, True)}


def test_every_name_occurs_about_as_often_as_it_should(any_scenes):
    """5 standard deviations: fails by chance less than once in 50,000 seeds."""
    objects = [o for scene in any_scenes for o in scene.objects]
    hard_negatives = [scene for scene in any_scenes if scene.relation]
    tables = [
        (Counter(o.shape for o in objects), SHAPES, len(objects)),
        (Counter(o.colour for o in objects), COLOURS, len(objects)),
        (Counter(o.size for o in objects), SIZES, len(objects)),
        (Counter(scene.background for scene in any_scenes), BACKGROUNDS, len(any_scenes)),
        (Counter(scene.relation for scene in hard_negatives), RELATIONS, len(hard_negatives)),
    ]
    for counts, names, total in tables:
        share = 1 / len(names)
        slack = 5 * (total * share * (1 - share)) ** 0.5
        assert all(abs(counts[name] - total * share) < slack for name in names), counts
    assert abs(len(hard_negatives) - 0.7 * 4000) < 5 * (4000 * 0.21) ** 0.5


def test_two_objects_differ_keep_apart_and_have_a_clear_relation(any_scenes):
    for scene in any_scenes:
        for o in scene.objects:
            room = min(o.x, o.y, 1 - o.x, 1 - o.y)
            assert room >= RADIUS[o.size] + 1 / 8
        if len(scene.objects) == 2:
            first, second = scene.objects
            assert first.pair != second.pair
            across, along = sorted((abs(first.x - second.x), abs(first.y - second.y)))
            assert along > RADIUS[first.size] + RADIUS[second.size] + 0.03
            assert along >= max(3 / 8, 1.6 * across)


def test_objects_fill_whole_tokens(any_scenes):
    """Outside of its 2 x 2 or 3 x 3 squares of 4 pixels an object covers a tenth of no pixel."""
    for o in (o for scene in any_scenes[:300] for o in scene.objects):
        cells = {"small": 2, "large": 3}[o.size]
        left, top = 8 * o.x - cells / 2, 8 * o.y - cells / 2
        assert (left, top) == (int(left), int(top))
        rows = slice(4 * int(top), 4 * int(top) + 4 * cells)
        columns = slice(4 * int(left), 4 * int(left) + 4 * cells)
        covered = coverage([o], image_size=32)[0] > 0.1
        assert covered[rows, columns].sum() == covered.sum() > 0


def test_every_placement_of_two_objects_is_as_likely():
    """5 standard deviations: fails by chance less than once in 10,000 seeds."""
    scenes = sample_scenes(40000, generator=seeded(2), composition="any")
    wanted = [
        s for s in scenes if s.relation == "left of" and all(o.size == "large" for o in s.objects)
    ]
    positions = Counter((a.x, a.y, b.x, b.y) for a, b in (s.objects for s in wanted))
    assert len(positions) == 10
    share = len(wanted) / 10
    assert all(abs(count - share) < 5 * (share * 0.9) ** 0.5 for count in positions.values())


def test_centres_are_spread(any_scenes):
    singles = torch.tensor([(s.objects[0].x, s.objects[0].y) for s in any_scenes if not s.relation])
    assert (singles.std(0) > 0.1).all()
    small = [o for s in any_scenes if s.relation == "above" for o in s.objects if o.size == "small"]
    assert torch.tensor([o.x for o in small]).std() > 0.04


def test_the_same_seed_gives_the_same_batch_and_another_seed_does_not():
    batches = [scene_batch(20, generator=seeded(s), composition="seen") for s in (3, 3, 4)]
    assert batches[0].scenes == batches[1].scenes
    assert batches[0].captions == batches[1].captions
    assert torch.equal(batches[0].images, batches[1].images)
    assert batches[0].scenes != batches[2].scenes
    assert torch.equal(batches[0].images, render(batches[0].scenes))


def test_a_picture_does_not_depend_on_its_batch(any_scenes):
    together = render(any_scenes[:37])
    alone = torch.cat([render([scene]) for scene in any_scenes[:37]])
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-6)


def test_pictures_are_float32_in_0_to_1_and_of_the_size_asked_for(any_scenes):
    for image_size in (16, 32, 50):
        images = render(any_scenes[:300], image_size=image_size)
        assert images.shape == (300, 3, image_size, image_size)
        assert images.dtype == torch.float32
        assert images.min() >= 0
        assert images.max() <= 1


def test_edges_are_smooth_64_pixels_averaged_are_close_to_32(any_scenes):
    """Only single pixels at sharp corners differ. Hard edges fail by far: see the last line."""
    fine = F.avg_pool2d(render(any_scenes[:200], image_size=64), 2)
    coarse = render(any_scenes[:200])
    assert (fine - coarse).abs().mean() < 1e-3
    hard = F.interpolate(render(any_scenes[:200], image_size=64), scale_factor=0.5)
    assert (fine - hard).abs().mean() > 5e-3


def test_areas_are_those_of_the_shapes():
    """Hand-computed areas for radius 1; 2 % for corners, which one distance cannot draw exactly."""
    areas = {"circle": 3.1416, "square": 3.61, "triangle": 1.8, "ring": 2.3562, "bar": 1.68}
    areas["cross"] = 2 * (2 * 0.68) - 0.68**2
    for shape, area in areas.items():
        covered = coverage([replace(CIRCLE, shape=shape)], image_size=64)
        measured = covered.mean().item() / RADIUS["large"] ** 2
        assert measured == pytest.approx(area, rel=0.02), shape


def test_an_object_is_where_the_scene_says_y_runs_down():
    top_right = SceneObject("square", "blue", "small", 0.75, 0.25)
    image = render([Scene((top_right,), None, "white")])[0]
    torch.testing.assert_close(image[:, 8, 24], torch.tensor(RGB["blue"]))
    for row, column in ((8, 8), (24, 8), (24, 24)):
        assert image[:, row, column].tolist() == [1, 1, 1]


def test_every_shape_stays_inside_its_radius():
    """Half a pixel of the smooth edge may reach outside."""
    away = ((torch.arange(64) + 0.5) / 64 - 0.5).abs()
    outside = torch.maximum(away[:, None], away[None, :]) > RADIUS["large"] + 1 / 64
    for shape in SHAPES:
        assert coverage([replace(CIRCLE, shape=shape)], image_size=64)[0][outside].max() == 0


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        (
            lambda: sample_scenes(0, generator=seeded(), composition="seen"),
            "count is 0; allowed: 1",
        ),
        (lambda: sample_scenes(-2, generator=seeded(), composition="any"), "count is -2"),
        (lambda: render([Scene((CIRCLE,), None, "white")], image_size=15), "15; allowed: 16"),
        (lambda: render([]), "0 scenes"),
        (lambda: replace(CIRCLE, shape="blob"), "'blob'; allowed: 'circle', 'square'"),
        (lambda: replace(CIRCLE, colour="mauve"), "'mauve'; allowed: 'red'"),
        (lambda: replace(CIRCLE, size="huge"), "'huge'; allowed: 'small', 'large'"),
        (lambda: replace(CIRCLE, x=1.2), "1.2"),
        (lambda: Scene((CIRCLE,), None, "pink"), "'pink'; allowed: 'white'"),
        (lambda: Scene((), None, "white"), "is 0; allowed: 1, 2"),
        (lambda: Scene((CIRCLE,), "above", "white"), "'above'; allowed: None"),
        (lambda: Scene((CIRCLE, replace(CIRCLE, x=0.1)), "above", "white"), "'right of'"),
    ],
)
def test_bad_input_is_named_together_with_what_is_allowed(bad, words):
    with pytest.raises(ValueError, match=words):
        bad()


def test_an_unknown_composition_is_named():
    """`__wrapped__`: without the annotation check of the tests, as a user calls it."""
    plain = sample_scenes.__wrapped__
    with pytest.raises(ValueError, match="'new'; allowed: 'seen', 'held_out', 'any'"):
        plain(1, generator=seeded(), composition="new")


def test_inverse_relations_pair_up():
    assert all(INVERSE[INVERSE[name]] == name != INVERSE[name] for name in RELATIONS)

"""The split: what is held out is new only as a combination, and nothing else is."""

import pytest

from vqlearn.data.emoji.captions import TONES
from vqlearn.data.emoji.split import (
    HELD_OUT_COLOURS,
    action,
    held_out,
    held_out_tones,
    is_distant,
    is_left_out,
)

ACTIONS = ("SURFING", "SWIMMING", "JUGGLING", "GOLFING", "FROWNING", "BOWING", "SHRUGGING")
SUBJECTS = ("PERSON", "MAN", "WOMAN")


def people():
    return [
        {
            "name": f"{subject} {doing}",
            "short_name": f"{subject}-{doing}",
            "subcategory": "person-sport",
            "skin_variations": {tone: {} for tone in TONES},
        }
        for doing in ACTIONS
        for subject in SUBJECTS
    ]


def test_a_tone_is_held_out_of_an_action_for_everybody():
    expected = {
        (f"{subject}-{doing}", tone)
        for doing, tone in zip(ACTIONS[::2], TONES, strict=False)
        for subject in SUBJECTS
    }
    assert held_out(people()) == expected


def test_every_tone_is_held_out_as_often_and_every_action_keeps_four():
    found = held_out_tones([str(number) for number in range(20)])
    assert list(found) == [str(number) for number in range(0, 20, 2)]
    assert sorted(found.values()) == sorted([*TONES] * 2)


def test_an_action_is_the_same_on_either_side_and_for_everybody():
    told = (
        "a man walking to the left",
        "a woman walking to the right",
        "two people walking to the",
    )
    assert [action(caption).removeprefix("two ") for caption in told] == ["walking to the"] * 3
    assert action("a hand pointing up") != action("a hand pointing down")


def test_a_fifth_of_the_pairs_of_tones_is_held_out_and_every_tone_stays_on_both_sides():
    pairs = [f"{left}-{right}" for left in TONES for right in TONES if left != right]
    couple = {
        "name": "x",
        "short_name": "two_men_holding_hands",
        "subcategory": "family",
        "skin_variations": {tones: {} for tones in (*TONES, *pairs)},
    }
    found = {tones for _, tones in held_out([couple])}
    assert found == {pair for pair in pairs if is_distant(pair)}
    assert len(found) == 5
    for side in (0, 1):
        assert {pair.split("-")[side] for pair in set(pairs) - found} == set(TONES)
    assert is_distant("1F3FB-1F3FD")
    assert is_distant("1F3FE-1F3FB")
    assert not is_distant("1F3FD-1F3FB")


def test_colours_and_shapes_are_each_seen_without_the_other():
    name = {"short_name": "green_heart", "name": "GREEN HEART", "subcategory": "heart"}
    other = {"short_name": "blue_heart", "name": "BLUE HEART", "subcategory": "heart"}
    assert held_out([name, other]) == {("green_heart", None)}
    for held in HELD_OUT_COLOURS:
        colour, shape = held.split()[1:]
        of_shape = {each.split()[1] for each in HELD_OUT_COLOURS if each.endswith(shape)}
        of_colour = {each.split()[2] for each in HELD_OUT_COLOURS if f" {colour} " in each}
        assert len(of_shape) <= 2
        assert of_colour == {shape}


@pytest.mark.parametrize(
    ("short_name", "subcategory", "tones", "expected"),
    [
        ("one", "keycap", None, True),
        ("cool", "alphanum", None, True),
        ("skin-tone-2", "skin-tone", None, True),
        ("soon", "arrow", None, True),
        ("flag-hm", "country-flag", None, True),
        ("flag-au", "country-flag", None, False),
        ("family", "person-symbol", None, True),
        ("man-woman-girl-boy", "family", None, True),
        ("family_adult_child", "person-symbol", None, False),
        ("woman-heart-man", "family", None, False),
        ("blond-haired-woman", "person", "1F3FC", True),
        ("blond-haired-woman", "person", "1F3FB", False),
        ("apple", "food-fruit", None, False),
    ],
)
def test_letters_patches_and_copies_are_left_out(short_name, subcategory, tones, expected):
    told = {"short_name": short_name, "subcategory": subcategory}
    assert is_left_out(told, tones) is expected

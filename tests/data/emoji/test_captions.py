"""Captions on named examples: short, and in plain English."""

import pytest

from vqlearn.data.emoji.captions import (
    TABLES,
    captions,
    captions_with_tones,
    plain,
    with_article,
    with_skin,
)

EXAMPLES = (
    ("RED APPLE", "apple", "food-fruit", "a red apple"),
    ("GRAPES", "grapes", "food-fruit", "grapes"),
    ("ICE CUBE", "ice_cube", "drink", "an ice cube"),
    ("BUS", "bus", "transport-ground", "a bus"),
    ("UNICORN FACE", "unicorn_face", "animal-mammal", "a unicorn face"),
    ("UMBRELLA WITH RAIN DROPS", "umbrella_with_rain_drops", "sky & weather", None),
    ("WAXING CRESCENT MOON SYMBOL", "waxing_crescent_moon", "sky & weather", None),
    ("LARGE BLUE CIRCLE", "large_blue_circle", "geometric", "a blue circle"),
    ("HEAVY BLACK HEART", "heart", "heart", "a red heart"),
    ("CLOCK FACE THREE-THIRTY", "clock330", "time", "a clock at half past three"),
    ("CLOCK FACE TEN OCLOCK", "clock10", "time", "a clock at ten o'clock"),
    ("ARIES", "aries", "zodiac", "the zodiac sign aries"),
    ("Côte d’Ivoire Flag", "flag-ci", "country-flag", "the flag of cote d'ivoire"),
    ("Bosnia & Herzegovina Flag", "flag-ba", "country-flag", None),
    ("St. Lucia Flag", "flag-lc", "country-flag", "the flag of saint lucia"),
    ("Cook Islands Flag", "flag-ck", "country-flag", "the flag of the cook islands"),
    ("Christmas Island Flag", "flag-cx", "country-flag", "the flag of christmas island"),
    ("SMILING FACE WITH OPEN MOUTH AND COLD SWEAT", "sweat_smile", "face-smiling", None),
    ("WOMAN SURFING", "woman-surfing", "person-sport", "a woman surfing"),
    ("MAN: RED HAIR", "red_haired_man", "person", "a man with red hair"),
    ("WOMAN WALKING FACING RIGHT", "w", "person-activity", "a woman walking to the right"),
    ("WOMAN FIREFIGHTER", "f", "person-role", "a woman firefighter"),
    ("TWO MEN HOLDING HANDS", "two_men_holding_hands", "family", "two men holding hands"),
    ("COUPLE", "man_and_woman_holding_hands", "family", "a woman and a man holding hands"),
)
MORE = {
    "umbrella_with_rain_drops": "an umbrella with rain drops",
    "waxing_crescent_moon": "a waxing crescent moon",
    "flag-ba": "the flag of bosnia and herzegovina",
    "sweat_smile": "a smiling face with an open mouth and a drop of sweat",
}


def emoji(name, short_name, subcategory):
    return {"name": name, "short_name": short_name, "subcategory": subcategory}


@pytest.mark.parametrize(("name", "short_name", "subcategory", "expected"), EXAMPLES)
def test_the_first_caption(name, short_name, subcategory, expected):
    found = captions(emoji(name, short_name, subcategory))
    expected = expected or MORE[short_name]
    assert found == [expected, f"an emoji of {expected}"]


def test_some_images_have_several_names():
    found = captions(emoji("AUBERGINE", "eggplant", "food-vegetable"))
    assert found == ["an eggplant", "an aubergine", "an emoji of an eggplant"]


@pytest.mark.parametrize(
    ("told", "tones", "expected"),
    [
        (
            ("WOMAN SURFING", "woman-surfing", "person-sport"),
            "1F3FF",
            ["a woman with dark skin surfing", "a dark-skinned woman surfing"],
        ),
        (
            ("WOMAN: RED HAIR", "red_haired_woman", "person"),
            "1F3FC",
            [
                "a woman with medium-light skin and red hair",
                "a medium-light-skinned woman with red hair",
            ],
        ),
        (
            ("ASTRONAUT", "astronaut", "person-role"),
            "1F3FE",
            ["an astronaut with medium-dark skin", "a medium-dark-skinned astronaut"],
        ),
        (
            ("RAISED FIST", "fist", "hand-fingers-closed"),
            "1F3FD",
            ["a raised fist with medium skin"],
        ),
        (
            ("x", "point_left", "hand-single-finger"),
            "1F3FB",
            ["a hand with light skin pointing left"],
        ),
        (
            ("x", "woman-kiss-man", "family"),
            "1F3FB-1F3FF",
            ["a woman with light skin and a man with dark skin kissing"],
        ),
        (
            ("x", "woman-kiss-woman", "family"),
            "1F3FD-1F3FD",
            ["two women with medium skin kissing"],
        ),
        (
            ("x", "two_men_holding_hands", "family"),
            "1F3FF",
            ["two men with dark skin holding hands"],
        ),
        (
            ("HANDSHAKE", "handshake", "hands"),
            "1F3FB-1F3FF",
            ["a handshake of a hand with light skin and a hand with dark skin"],
        ),
        (("HANDSHAKE", "handshake", "hands"), "1F3FB", ["a handshake with light skin"]),
    ],
)
def test_skin_tones_stand_where_they_belong(told, tones, expected):
    assert captions_with_tones(emoji(*told), tones) == expected


def test_plain_names_have_no_accents_and_no_brackets():
    assert plain("Myanmar (Burma) Flag") == "myanmar flag"
    assert plain("São Tomé & Príncipe") == "sao tome and principe"
    assert plain("U.S. Virgin Islands") == "us virgin islands"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("european castle", "a european castle"),
        ("one-piece swimsuit", "a one-piece swimsuit"),
        ("hourglass", "an hourglass"),
        ("house", "a house"),
        ("octopus", "an octopus"),
        ("compass", "a compass"),
        ("gloves", "gloves"),
        ("film frames with holes", "film frames with holes"),
        ("bread", "bread"),
    ],
)
def test_articles(name, expected):
    assert with_article(name) == expected


def test_skin_comes_before_what_one_wears_or_does():
    assert with_skin("a person in bed", "dark skin") == "a person with dark skin in bed"
    assert with_skin("a jockey on a horse", "dark skin") == "a jockey with dark skin on a horse"
    assert with_skin("an older man", "dark skin") == "an older man with dark skin"


def test_no_two_entries_of_the_tables_say_the_same():
    written = [each for table in TABLES for told in table.values() for each in told.split(" | ")]
    assert len(written) == len(set(written)) > 600
    assert all(each == each.lower().strip() for each in written)

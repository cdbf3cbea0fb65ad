"""Which emoji are left out, and which combinations are kept from the training.

Left out is what is nothing but letters, digits or a patch of skin colour, and an image that is the
same as another one under another name.

Held out are combinations of parts that are all seen in training, but never together:

- a skin tone and what a person does or is, or what a hand does, whoever does it: no person, man or
  woman of the training surfs with dark skin, say (a mermaid and a merman count as two things);
- two skin tones side by side, of all couples and of handshakes;
- a colour and a shape, such as a green heart.
"""

import re
from typing import Any

from vqlearn.data.emoji.captions import TONES, captions
from vqlearn.data.emoji.people import PAIRS

LETTERS = frozenset({"keycap", "alphanum"})  # subcategories
SKIN_PATCHES = frozenset({"skin-tone"})
LETTERS_BY_NAME = frozenset(
    "atm wc underage mobile_phone_off repeat_one back end on soon top copyright registered "
    "tm".split()
)
SAME_FLAGS = frozenset(
    "flag-hm flag-bv flag-sj flag-cp flag-mf flag-dg flag-ea flag-um".split()
)  # those of Australia, Norway twice, France twice, the Indian Ocean Territory, Spain, the USA
SAME_FAMILIES = re.compile(r"family$|(?:man|woman|boy|girl)(?:-(?:man|woman|boy|girl))+$")
"""They are drawn as outlines, in which no one is a man or a woman."""
SAME_TONES = frozenset({("blond-haired-woman", "1F3FC")})  # so is "woman"

PAIRS_OF_TONES = frozenset({*PAIRS, "handshake"})
VARIATIONS = "skin_variations"
PAIR_DISTANCE = 2  # so many tones the right one of a couple is darker, counted in a circle
NOT_OF_THE_ACTION = frozenset("a an person man woman people men women left right".split())
HELD_OUT_COLOURS = frozenset(
    {
        "a green heart",
        "a brown heart",
        "a blue circle",
        "a black circle",
        "a purple square",
        "a yellow square",
        "an orange book",
    }
)


def is_left_out(emoji: dict[str, Any], tones: str | None = None) -> bool:
    """Is this entry of `emoji.json`, in these skin tones, kept out of the data altogether?"""
    name = emoji["short_name"]
    return (
        emoji["subcategory"] in LETTERS | SKIN_PATCHES
        or name in LETTERS_BY_NAME | SAME_FLAGS
        or SAME_FAMILIES.match(name) is not None
        or (name, tones) in SAME_TONES
    )


def action(caption: str) -> str:
    """What is done or shown, whoever does it and on whichever side: "a hand pointing"."""
    return " ".join(word for word in caption.split() if word not in NOT_OF_THE_ACTION)


def held_out_tones(actions: list[str]) -> dict[str, str]:
    """The tone that is held out of every second action: each tone as often as the others."""
    return {each: list(TONES)[i % len(TONES)] for i, each in enumerate(actions[::2])}


def held_out(emoji: list[dict[str, Any]]) -> set[tuple[str, str | None]]:
    """The short names and tones that the training must not see, of entries of `emoji.json`."""
    best = {each["short_name"]: captions(each)[0] for each in emoji}
    toned = [(each["short_name"], tones) for each in emoji for tones in each.get(VARIATIONS, ())]
    actions = {name: action(best[name]) for name, _ in toned if name not in PAIRS_OF_TONES}
    tone_of = held_out_tones(list(dict.fromkeys(actions.values())))
    tones = {(name, tone) for name, tone in toned if tone == tone_of.get(actions.get(name))}
    pairs = {(name, pair) for name, pair in toned if is_distant(pair)}
    colours = {(name, None) for name, caption in best.items() if caption in HELD_OUT_COLOURS}
    return tones | pairs | colours


def kind(file: str) -> str:
    """The same for all images of an emoji: in every skin tone, as person, man and woman.

    They are told by the codes in the name of the file.
    """
    code = re.sub("-1f3f[b-f]", "", file.lower())  # skin tones
    code = re.sub("1f46[89]", "1f9d1", code)  # man and woman become person
    return re.sub("-200d-264[02](-fe0f)?", "", code)  # so do the signs that stand behind


def is_distant(tones: str) -> bool:
    """Are these two tones, the right one `PAIR_DISTANCE` darker than the left one?"""
    left, _, right = tones.partition("-")
    order = list(TONES)
    return bool(right) and (order.index(right) - order.index(left)) % len(order) == PAIR_DISTANCE

"""English captions of emoji: short, lower case, true, and no two images with the same one.

A caption comes from the tables (`people`, `symbols`, `nature`, `things`) where these have one, and
otherwise from Unicode's name: "RED APPLE" becomes "a red apple", "MAN SURFING" "a man surfing".
Skin tones are put in where they belong: "a woman with dark skin surfing". The default of most
people and hands, a bright yellow, is not mentioned.
"""

import re
import unicodedata
from typing import Any

from vqlearn.data.emoji.nature import FOOD, NATURE
from vqlearn.data.emoji.people import ACTIONS, HANDS, PAIRS, PEOPLE
from vqlearn.data.emoji.symbols import FACES, FLAGS, SYMBOLS
from vqlearn.data.emoji.things import OBJECTS, PLACES

TONES = {
    "1F3FB": "light",
    "1F3FC": "medium-light",
    "1F3FD": "medium",
    "1F3FE": "medium-dark",
    "1F3FF": "dark",
}
"""The skin tones of Unicode, by the code that stands in the file names."""
TABLES = (PEOPLE, HANDS, FACES, SYMBOLS, FLAGS, NATURE, FOOD, PLACES, OBJECTS)
WRITTEN = {name: captions for table in TABLES for name, captions in table.items()}
CLOCK = re.compile(r"clock face (\w+)(?: oclock|-(thirty))")
SUBJECT = re.compile(r"(an? (?:person|man|woman|hand|fist|jockey)) ((?:\w+ing|in|on)\b.*)")
"""Someone, and what they are doing or sit in: their skin is named between the two."""
VOWEL = re.compile(r"[ai]|o(?!ne)|e(?!u)|u(?!ni)|hour")
PLURAL = re.compile(r"\w*[^sui]s")
UNCOUNTED = frozenset(
    "bacon bread broccoli butter confetti coral corn falafel fire fireworks garlic ginger money "
    "popcorn rain sushi".split()
)
WITH_THE = re.compile(
    r".* islands|united .*|(?:caribbean )?netherlands|philippines|bahamas|maldives|gambia|comoros|"
    r"seychelles|isle of man|vatican city|.* (?:republic|territories|union)"
)


def captions(emoji: dict[str, Any]) -> list[str]:
    """The captions of an entry of `emoji.json` as it is, without a skin tone; the first is best.

    The last begins with "an emoji of". Two captions make an image twice as likely in training, and
    so most images of people with a skin tone have two as well.
    """
    name = emoji["short_name"]
    if name in WRITTEN:
        found = WRITTEN[name].split(" | ")
    elif name in PAIRS:
        left, right, doing = PAIRS[name]
        found = [f"{_two(left, right)} {doing}"]
    else:
        found = [_from_unicode(plain(emoji["name"]), emoji["subcategory"])]
    return [*found, f"an emoji of {found[0]}"]


def captions_with_tones(emoji: dict[str, Any], tones: str) -> list[str]:
    """The captions in one skin tone, such as "1F3FF", or of a pair in two, "1F3FF-1F3FB"."""
    names = [TONES[tone] for tone in tones.split("-")]
    if len(names) == 2 or emoji["short_name"] in PAIRS:
        return [_of_pair(emoji["short_name"], names[0], names[-1])]
    found = [with_skin(caption, f"{names[0]} skin") for caption in captions(emoji)[:-1]]
    if emoji["subcategory"].startswith("person"):
        article, _, rest = captions(emoji)[0].partition(" ")
        if article in ("a", "an"):
            found.append(f"a {names[0]}-skinned {rest}")
    return found


def plain(name: str) -> str:
    """A name in lower case, without accents, signs and brackets: "Côte d’Ivoire" is no word."""
    text = unicodedata.normalize("NFKD", name.lower()).replace("’", "'").replace("&", "and")
    text = text.replace("st. ", "saint ").replace("u.s.", "us")
    letters = "".join(letter for letter in text if not unicodedata.combining(letter))
    return re.sub(r"\s*\(.*?\)", "", letters)


def with_article(name: str) -> str:
    """The name with "a" or "an"; plurals and what is not counted have none."""
    last = name.split(" with ")[0].split()[-1]
    if last in UNCOUNTED or PLURAL.fullmatch(last):
        return name
    return f"{'an' if VOWEL.match(name) else 'a'} {name}"


def with_skin(caption: str, skin: str) -> str:
    """The caption of a person, a hand or a part of the body, with its skin: "dark skin"."""
    if found := SUBJECT.fullmatch(caption):
        return f"{found[1]} with {skin} {found[2]}"
    someone, with_, rest = caption.partition(" with ")
    return f"{someone} with {skin} and {rest}" if with_ else f"{caption} with {skin}"


def _from_unicode(name: str, subcategory: str) -> str:
    if subcategory in ("country-flag", "subdivision-flag"):
        return f"the flag of {_country(name.removesuffix(' flag'))}"
    if subcategory == "zodiac":
        return f"the zodiac sign {name}"
    if found := CLOCK.fullmatch(name):
        return f"a clock at half past {found[1]}" if found[2] else f"a clock at {found[1]} o'clock"
    if found := re.fullmatch(r"(person|man|woman):? (.*)", name):
        return f"a {found[1]} {ACTIONS.get(found[2], found[2])}"
    if subcategory == "sky & weather":
        name = name.removesuffix(" symbol")
    return with_article(name.removeprefix("large "))


def _country(name: str) -> str:
    return f"the {name}" if WITH_THE.fullmatch(name) else name


def _two(first: str, second: str) -> str:
    words = {"person": "people", "man": "men", "woman": "women"}
    return f"two {words[first]}" if first == second else f"a {first} and a {second}"


def _of_pair(name: str, first: str, second: str) -> str:
    """Two people side by side, the left one first; or two hands that shake each other."""
    if name == "handshake":
        if first == second:
            return f"a handshake of two hands with {first} skin"
        return f"a handshake of a hand with {first} skin and a hand with {second} skin"
    left, right, doing = PAIRS[name]
    if first == second:
        return f"{_two(left, right)} with {first} skin {doing}"
    return f"a {left} with {first} skin and a {right} with {second} skin {doing}"

"""Captions of scenes: written by a small grammar, and read back.

The grammar (`[...]` may be left out; every word list is below):

    caption    = object [relation object] [background]
    object     = article [size] colour shape  |  article colour [size] shape
    background = "on a white background" | "against a white background" | "on white"

"a below b" says the same as "b above a": `describe_all` uses both readings. `parse` is the inverse:
it gives back what was named, and refuses every other caption.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from vqlearn.data.scenes.world import (
    BACKGROUNDS,
    COLOURS,
    INVERSE,
    SHAPES,
    Scene,
    SceneObject,
    pick,
)
from vqlearn.probability.checks import check_choice

SIZE_WORDS = {"small": ("small", "little", "tiny"), "large": ("large", "big")}
SHAPE_WORDS = {shape: (shape,) for shape in SHAPES} | {
    "circle": ("circle", "disc"),
    "cross": ("cross", "plus"),
    "moon": ("moon", "crescent"),
}
RELATION_WORDS = {
    "above": ("above", "over", "on top of"),
    "below": ("below", "under", "beneath"),
    "left of": ("to the left of", "left of"),
    "right of": ("to the right of", "right of"),
}
BACKGROUND_PHRASES = ("on a {} background", "against a {} background", "on {}")
ARTICLES = ("a", "an")

_SIZE_OF = {word: size for size, words in SIZE_WORDS.items() for word in words}
_SHAPE_OF = {word: shape for shape, words in SHAPE_WORDS.items() for word in words}
_RELATION_OF = {phrase: name for name, phrases in RELATION_WORDS.items() for phrase in phrases}
_BACKGROUND_OF = {
    phrase.format(name): name for phrase in BACKGROUND_PHRASES for name in BACKGROUNDS
}

_ALL_PHRASES = (*ARTICLES, *COLOURS, *_SIZE_OF, *_SHAPE_OF, *_RELATION_OF, *_BACKGROUND_OF)
VOCABULARY = tuple(sorted({word for phrase in _ALL_PHRASES for word in phrase.split()}))

SHARE_WITH_SIZE = 0.8
SHARE_WITH_BACKGROUND = 0.6
_DRAWS = 10


@dataclass(frozen=True)
class ObjectDescription:
    """What a caption says of one object. `size` is None where the caption does not name it."""

    shape: str
    colour: str
    size: str | None


@dataclass(frozen=True)
class Description:
    """What a caption says: its objects, and how objects[0] lies relative to objects[1].

    `relation` is None with one object; `background` is None where the caption does not name it.
    """

    objects: tuple[ObjectDescription, ...]
    relation: str | None
    background: str | None


def with_article(words: Sequence[str]) -> str:
    """The words behind "a" or "an"."""
    article = "an" if words[0][0] in "aeiou" else "a"
    return " ".join((article, *words))


def _describe_object(thing: SceneObject, draws: Sequence[float]) -> str:
    words = [thing.colour, pick(SHAPE_WORDS[thing.shape], draws[0])]
    if draws[1] < SHARE_WITH_SIZE:
        size_word = pick(SIZE_WORDS[thing.size], draws[1] / SHARE_WITH_SIZE)
        words.insert(0 if draws[2] < 0.5 else 1, size_word)
    return with_article(words)


def _describe(scene: Scene, draws: Sequence[float]) -> str:
    """One paraphrase; each entry of `draws` (uniform in 0 to 1) decides one choice."""
    phrases = [_describe_object(o, draws[3 * i : 3 * i + 3]) for i, o in enumerate(scene.objects)]
    if (relation := scene.relation) is not None:
        if draws[6] < 0.5:
            phrases.reverse()
            relation = INVERSE[relation]
        phrases.insert(1, pick(RELATION_WORDS[relation], draws[7]))
    if draws[8] < SHARE_WITH_BACKGROUND:
        phrases.append(pick(BACKGROUND_PHRASES, draws[9]).format(scene.background))
    return " ".join(phrases)


def describe_all(scenes: Sequence[Scene], *, generator: torch.Generator) -> list[str]:
    """One random paraphrase for each scene: lower case, 3 to 16 words, true of it.

    Cost: about 10 microseconds a scene.
    """
    draws = torch.rand(len(scenes), _DRAWS, dtype=torch.float64, generator=generator).tolist()
    return [_describe(scene, row) for scene, row in zip(scenes, draws, strict=True)]


def describe_plain(scene: Scene) -> str:
    """The one full caption: size before colour, objects in order, first word of each list.

    For example "a small red circle above a large blue square on a white background".
    """
    phrases = [with_article((o.size, o.colour, o.shape)) for o in scene.objects]
    if scene.relation is not None:
        phrases.insert(1, RELATION_WORDS[scene.relation][0])
    phrases.append(BACKGROUND_PHRASES[0].format(scene.background))
    return " ".join(phrases)


class _Words:
    """The words of one caption, taken from the left."""

    def __init__(self, caption: str) -> None:
        self.left = caption.lower().strip().removesuffix(".").split()

    def take(self, table: dict[str, str]) -> str | None:
        """Take the phrase of `table` that comes next, and return its meaning; None if none does."""
        for phrase, meaning in table.items():
            words = phrase.split()
            if self.left[: len(words)] == words:
                del self.left[: len(words)]
                return meaning
        return None

    def need(self, what: str, table: dict[str, str]) -> str:
        """As `take`, but raise ValueError where no phrase of `table` comes next."""
        meaning = self.take(table)
        if meaning is None:
            check_choice(what, self.left[0] if self.left else "(the end)", tuple(table))
        return meaning


def _parse_object(words: _Words) -> ObjectDescription:
    words.need("the word for an article", {article: article for article in ARTICLES})
    size = words.take(_SIZE_OF)
    colour = words.need("the word for a colour", {colour: colour for colour in COLOURS})
    size = size or words.take(_SIZE_OF)  # before the colour or after it
    return ObjectDescription(words.need("the word for a shape", _SHAPE_OF), colour, size)


def parse(caption: str) -> Description:
    """What a caption of the grammar asks for.

    Upper case, extra spaces and a final full stop do not matter, nor does "a" for "an".
    Raises ValueError that names the first word outside the grammar and the words allowed there.
    """
    words = _Words(caption)
    objects = [_parse_object(words)]
    if relation := words.take(_RELATION_OF):
        objects.append(_parse_object(words))
    background = words.take(_BACKGROUND_OF)
    if words.left:
        more = _BACKGROUND_OF if relation else _RELATION_OF | _BACKGROUND_OF
        check_choice("the word after the objects", words.left[0], () if background else tuple(more))
    return Description(tuple(objects), relation, background)

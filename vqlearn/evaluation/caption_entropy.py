r"""The exact distribution of the captions of the grammar, and its entropy.

    distribution = CaptionDistribution("seen")
    distribution.log_probability("a red circle on white")  # nats; -inf for what is never said
    distribution.bits().per_character                      # no model of characters can cost less

Many random choices lead to one caption: an object whose size is not named may be small or large,
"a above b" may be a scene with a first or one with b first, a background that is not named may be
any. The probability of a caption is the **sum over all of them**, in exact fractions.

A caption is made of phrases, and no two ways to choose phrases give one caption. So its negative
log-likelihood $-\log_2 p$ is a sum over the choices, and the entropy is the sum of their means:
none of the 120 million captions has to be listed. Tests:
tests/evaluation/test_caption_entropy.py, against every choice of the generating code in a reduced
world.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from fractions import Fraction
from itertools import product
from typing import Any

from vqlearn.data.characters import LENGTH
from vqlearn.data.scenes import Composition, captions, sampling, world
from vqlearn.probability.checks import check_choice

Pair = tuple[str, str]
Phrases = dict[str, Fraction]
Cost = Callable[[str, Fraction], float]

HALF = Fraction(1, 2)
NEVER = Fraction(0)


@dataclass(frozen=True)
class CaptionBits:
    """What captions cost in bits, by three conventions that must not be mixed.

    `per_caption` is the cost of a whole caption, `characters` the mean number of its characters,
    END counted once. `per_character` is the total cost over the total number of characters;
    `per_position` shares the same cost among all `LENGTH` positions of a sequence, padding
    included, and so is the smaller number: padding costs a good model nothing.
    """

    per_caption: float
    characters: float

    @property
    def per_character(self) -> float:
        """Bits for each real character, the one END included."""
        return self.per_caption / self.characters

    @property
    def per_position(self) -> float:
        """Bits for each of the `LENGTH` positions of a sequence."""
        return self.per_caption / LENGTH


class CaptionDistribution:
    """The distribution of `describe_all(sample_scenes(..., composition=composition))`.

    The phrases hold the spaces that join them, so that a caption is its phrases written one
    after the other. Cost: about 0.2 s to make, 20 microseconds a caption.
    Raises `ValueError` for an unknown composition.
    """

    def __init__(self, composition: Composition) -> None:
        check_choice("composition", composition, sampling.COMPOSITIONS)
        one = Fraction(str(sampling.ONE_OBJECT_SHARE))
        self.counts = {1: one, 2: 1 - one}
        self.single = single_pairs(composition)
        self.double = _described_pairs(composition)
        self.objects = {pair: _object_phrases(*pair) for pair in world.PAIRS}
        self.relations = {
            name: _even(f" {phrase} " for phrase in words)
            for name, words in captions.RELATION_WORDS.items()
        }
        self.backgrounds = _background_phrases()
        self._wordings = {
            words: (pair, p)
            for pair, phrases in self.objects.items()
            for words, p in phrases.items()
        }

    def probability(self, caption: str) -> Fraction:
        """The probability of this very caption, letter by letter; zero for what is never said.

        The sum over all positions at which the caption can be cut into phrases.
        """
        total = NEVER
        for background, share in self.backgrounds.items():
            if caption.endswith(background):
                text = caption.removesuffix(background)
                pair, wording = self._wordings.get(text, (None, NEVER))
                one = self.counts[1] * self.single.get(pair, NEVER) * wording
                total += share * (one + self._two_objects(text))
        return total

    def log_probability(self, caption: str) -> float:
        """The natural logarithm of `probability`, -inf for what is never said."""
        p = self.probability(caption)
        return math.log(p) if p else -math.inf

    def bits(self) -> CaptionBits:
        r"""The entropy $-\sum_c p(c) \log_2 p(c)$ of a caption c, and its mean length with END.

        No model can have a lower expected cost: its mean code length is the entropy plus the
        KL divergence from the distribution to the model. Source: Shannon 1948.
        """
        entropy = self._expected(lambda _, p: -math.log2(p))
        length = self._expected(lambda words, _: len(words))
        return CaptionBits(per_caption=entropy, characters=length + 1)

    def _two_objects(self, text: str) -> Fraction:
        total = NEVER
        for relation, phrases in self.relations.items():
            for phrase, share in phrases.items():
                first, _, second = text.partition(phrase)
                if first in self._wordings and second in self._wordings:
                    (pair, p), (other, q) = self._wordings[first], self._wordings[second]
                    total += self.double.get((pair, other, relation), NEVER) * share * p * q
        return self.counts[2] * total

    def _expected(self, cost: Cost) -> float:
        """The mean of a cost that is paid for every choice that the caption shows.

        A choice costs `cost(words, p)`: the phrase that it adds, and its probability given what
        was chosen before. Choices without words of their own (how many objects, which) add "".
        """
        objects = {pair: _mean(phrases, cost) for pair, phrases in self.objects.items()}
        relations = {name: _mean(phrases, cost) for name, phrases in self.relations.items()}
        one = math.fsum(p * (cost("", p) + objects[pair]) for pair, p in self.single.items())
        two = math.fsum(
            p * (cost("", p) + objects[first] + relations[name] + objects[second])
            for (first, second, name), p in self.double.items()
        )
        count = math.fsum(p * cost("", p) for p in self.counts.values())
        both = float(self.counts[1]) * one + float(self.counts[2]) * two
        return count + both + _mean(self.backgrounds, cost)


def _mean(distribution: Phrases, cost: Cost) -> float:
    return math.fsum(p * cost(words, p) for words, p in distribution.items())


def _even(options: Iterable) -> dict[Any, Fraction]:
    options = tuple(options)
    return dict.fromkeys(options, Fraction(1, len(options)))


def single_pairs(composition: Composition) -> dict[Pair, Fraction]:
    """The distribution of (colour, shape) where there is one object, and of the first of two."""
    return _even(sampling.FIRST_PAIRS[composition])


def drawn_pairs(composition: Composition) -> dict[tuple[Pair, Pair], Fraction]:
    """The distribution of the two pairs of a scene: a coin says which was drawn first."""
    drawn: Counter[tuple[Pair, Pair]] = Counter()
    others = world.TRAINING_PAIRS if composition == "seen" else world.PAIRS
    for first, p in single_pairs(composition).items():
        for second, q in _even(pair for pair in others if pair != first).items():
            share = HALF * p * q
            drawn[first, second] += share
            drawn[second, first] += share
    return dict(drawn)


def _described_pairs(composition: Composition) -> dict[tuple[Pair, Pair, str], Fraction]:
    """Of two objects: the pair named first, the pair named last, and the relation between them.

    Two coins are summed over: that of `drawn_pairs`, and the caption may begin with either
    object. If it begins with the second, the relation is the inverse one.
    """
    described: Counter[tuple[Pair, Pair, str]] = Counter()
    drawn = drawn_pairs(composition).items()
    for ((first, second), p), (relation, q) in product(drawn, _even(world.RELATIONS).items()):
        share = HALF * p * q
        described[first, second, relation] += share
        described[second, first, world.INVERSE[relation]] += share
    return dict(described)


def _object_phrases(colour: str, shape: str) -> Phrases:
    """The words for an object, over both sizes and both positions of the size word."""
    with_size = Fraction(str(captions.SHARE_WITH_SIZE))
    phrases: Counter[str] = Counter()
    words_and_sizes = product(
        _even(captions.SHAPE_WORDS[shape]).items(), _even(world.SIZES).items()
    )
    for (shape_word, p), (size, q) in words_and_sizes:
        phrases[captions.with_article((colour, shape_word))] += p * q * (1 - with_size)
        for size_word, r in _even(captions.SIZE_WORDS[size]).items():
            share = HALF * p * q * with_size * r
            phrases[captions.with_article((size_word, colour, shape_word))] += share
            phrases[captions.with_article((colour, size_word, shape_word))] += share
    return dict(phrases)


def _background_phrases() -> Phrases:
    """The end of a caption: nothing, or a space and the words for the background."""
    named = Fraction(str(captions.SHARE_WITH_BACKGROUND))
    ends = [
        f" {p.format(name)}" for p, name in product(captions.BACKGROUND_PHRASES, world.BACKGROUNDS)
    ]
    return {"": 1 - named} | {end: named * p for end, p in _even(ends).items()}

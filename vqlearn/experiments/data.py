"""Sequences without text that studies learn: captions letter by letter, and digits.

All that is said of a data set is said of the same test sequences.
"""

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Protocol, runtime_checkable

from jaxtyping import Float, Int
from torch import Tensor

from vqlearn.data import Digits, caption_rows
from vqlearn.data.characters import NUM_CLASSES, caption_split, decode, is_real
from vqlearn.data.scenes import parse
from vqlearn.evaluation import CaptionDistribution, grid_bits, ngram_bits
from vqlearn.experiments.identity import recipe_settings
from vqlearn.experiments.report import DIGITS, Facts, Samples, Share, rounded
from vqlearn.probability import Bits, bits_per_token, ratio
from vqlearn.training import Recipe, Sequences

COMPOSITION = "seen"
ORDERS = (1, 3, 5)
SHOWN = 12
LEVELS = "0123456789abcdefg"  # one letter for each grey value


@dataclass(frozen=True)
class Budget:
    """What every run on a data set is given; `samples` is how many sequences it draws."""

    recipe: Recipe
    test_rows: int
    samples: int

    def settings(self) -> dict[str, Any]:
        """All of it, in the words of stored runs."""
        recipe = recipe_settings(self.recipe)
        return {"recipe": recipe, "test_rows": self.test_rows, "samples": self.samples}

    def with_seed(self, seed: int) -> "Budget":
        """The same with another seed."""
        return replace(self, recipe=replace(self.recipe, seed=seed))


@runtime_checkable
class SequenceData(Protocol):
    """Sequences to learn from and to measure on, and how to say what was measured.

    `held_back` says when to stop; None where data never end. `channels` are those of an image, so
    that a network of pixels knows its shape.
    """

    num_codes: int
    num_samples: int
    channels: int
    rows: Sequences
    held_back: Int[Tensor, "m n"] | None
    test: Int[Tensor, "b n"]

    def describe(self) -> Facts:
        """The unit, the floor, what counting needs, and some test sequences."""

    def bits(self, nll: Float[Tensor, " b"]) -> dict[str, Bits]:
        """The nats of each test sequence in the unit, by the fields of `sequences.Learned`."""

    def samples(self, x: Int[Tensor, "b n"]) -> Samples:
        """Some sequences of a model as text, and what can be counted about all of them."""


class Captions:
    """New captions for ever, letter by letter.

    A cost is shared among the real characters, the one END included: padding costs bits but is
    not counted as characters. The n-gram models count as many captions as a network sees.
    """

    num_codes, channels, held_back = NUM_CLASSES, 1, None

    def __init__(self, budget: Budget) -> None:
        self.num_samples = budget.samples
        self.rows = partial(caption_rows, composition=COMPOSITION)
        self.counted, self.test = caption_split(
            budget.recipe.steps * budget.recipe.batch_size,
            budget.test_rows,
            seed=budget.recipe.seed,
            composition=COMPOSITION,
        )
        self.distribution = CaptionDistribution(COMPOSITION)

    def with_rows(self, rows: Sequences) -> "Captions":
        """The same data with other sequences to learn from."""
        other = copy.copy(self)
        other.rows = rows
        return other

    def describe(self) -> Facts:
        """The floor is the entropy of the grammar; beside it what the test sequences need."""
        floor = self.distribution.bits()
        grams = {
            f"{order}-gram": ngram_bits(self.counted, self.test, order).per_character
            for order in ORDERS
        }
        return Facts(
            unit="bits per character",
            num_codes=self.num_codes,
            baselines=_rounded({"uniform guess": math.log2(NUM_CLASSES), **grams}),
            floor=round(floor.per_character, DIGITS),
            floor_per_position=round(floor.per_position, DIGITS),
            floor_on_test=round(float(self._nll().sum() / self._real().sum()), DIGITS),
            samples=self.samples(self.test),
        )

    def bits(self, nll: Float[Tensor, " b"]) -> dict[str, Bits]:
        """Per character and per position; above the floor is per character, caption by caption."""
        bits, real = nll.double() / math.log(2), self._real()
        return {
            "bits": rounded(ratio(bits, real)),
            "bits_per_position": rounded(bits_per_token(nll, self.test.shape[1])),
            "bits_above_floor": rounded(ratio(bits - self._nll(), real)),
        }

    def samples(self, x: Int[Tensor, "b n"]) -> Samples:
        """How many captions `parse` understands, and how many the grammar writes letter by letter.

        `parse` lets two spaces and "a" for "an" pass, and pairs that are held out.
        """
        captions = decode(x)
        possible = [self.distribution.probability(caption) > 0 for caption in captions]
        return Samples(
            shown=tuple(captions[:SHOWN]),
            parsed=Share(sum(map(is_parsed, captions)), len(captions)),
            possible=Share(sum(possible), len(captions)),
        )

    def _real(self) -> Tensor:
        return is_real(self.test).sum(dim=1).double()

    def _nll(self) -> Tensor:
        """Bits that each test sequence costs the distribution itself."""
        nll = [-self.distribution.log_probability(caption) for caption in decode(self.test)]
        return self._real().new_tensor(nll) / math.log(2)


class DigitImages:
    """Digits as sequences of pixels; nobody knows their floor.

    With `held_back`, so many of the last ones to learn from say when to stop: there are so few that
    a network overfits within a thousand steps.
    """

    num_samples, channels = SHOWN, 1

    def __init__(self, data: Digits, budget: Budget, *, held_back: int = 0) -> None:
        learnt, test = slice(len(data.train) - held_back), slice(budget.test_rows)
        self.data = replace(data, test=data.test[test], test_labels=data.test_labels[test])
        self.num_codes, self.test = data.num_classes, self.data.test
        self.held_back = data.train[-held_back:] if held_back else None
        train, labels = data.train[learnt], data.train_labels[learnt]
        self.rows = replace(data, train=train, train_labels=labels).batch

    def describe(self) -> Facts:
        """Counts of the training part: of each pixel's position, or of its two neighbours too."""
        counted = partial(grid_bits, self.data.train, self.test, self.num_codes)
        baselines = {
            "uniform guess": math.log2(self.num_codes),
            "by position": counted(neighbours=False),
            "by neighbours": counted(neighbours=True),
        }
        return Facts(
            unit="bits per pixel",
            num_codes=self.num_codes,
            baselines=_rounded(baselines),
            samples=self.samples(self.test),
        )

    def bits(self, nll: Float[Tensor, " b"]) -> dict[str, Bits]:
        """Bits per pixel."""
        return {"bits": rounded(bits_per_token(nll, self.test.shape[1]))}

    def samples(self, x: Int[Tensor, "b n"]) -> Samples:
        """One string an image, one letter a pixel."""
        shown = x[:SHOWN].tolist()
        return Samples(tuple("".join(LEVELS[level] for level in row) for row in shown))


def is_parsed(caption: str) -> bool:
    """Does the grammar's parser accept this caption?"""
    try:
        parse(caption)
    except ValueError:
        return False
    return True


def batched(items: Sequence, count: int) -> list[Sequence]:
    """In parts of this length; the last may be shorter."""
    return [items[first : first + count] for first in range(0, len(items), count)]


def _rounded(numbers: dict[str, float]) -> dict[str, float]:
    return {name: round(value, DIGITS) for name, value in numbers.items()}

"""Sequences without text that studies learn: captions letter by letter, digits, and RGB images.

All that is said of a data set is said of the same test sequences.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from vqlearn.data import Digits, caption_rows
from vqlearn.data.characters import NUM_CLASSES, caption_split, decode, is_real
from vqlearn.data.rgb import NUM_LEVELS, SMALL_SIDE, rgb_scenes
from vqlearn.data.scenes import parse
from vqlearn.evaluation import CaptionDistribution, Share, counting, image_bits
from vqlearn.experiments.report import DIGITS, Facts, Samples, rounded
from vqlearn.probability import Bits, bits_per_token, random_stream, ratio
from vqlearn.training import Recipe, Sequences, Validation

COMPOSITION = "seen"
ORDERS = (1, 3, 5)
SHOWN = 12
COUNTED = 20_000  # images that the baselines of scenes count
LEVELS = "0123456789abcdefg"  # one letter for each grey value


@dataclass(frozen=True)
class EarlyStopping:
    """How many sequences nobody learns from, and after how many steps they are asked.

    The weights are kept at which they cost least.
    """

    held_back: int
    every: int


@dataclass(frozen=True)
class Budget:
    """What every run on a data set is given; `samples` is how many sequences it draws."""

    recipe: Recipe
    test_rows: int
    samples: int
    early_stopping: EarlyStopping | None = None

    def settings(self) -> dict[str, Any]:
        """All of it that there is, in the words of stored runs."""
        settings = {**asdict(self), "recipe": recipe_settings(self.recipe)}
        return {name: value for name, value in settings.items() if value is not None}

    def with_seed(self, seed: int) -> "Budget":
        """The same with another seed."""
        return replace(self, recipe=replace(self.recipe, seed=seed))


def recipe_settings(recipe: Recipe) -> dict[str, float]:
    """What of a recipe decides the weights: how often the state is written does not."""
    return {name: value for name, value in asdict(recipe).items() if name != "save_every"}


class SequenceData(ABC):
    """Sequences to learn from and to measure on, and how to say what was measured.

    `validation` says when to stop; None where data never end. `channels` are those of an image, so
    that a network of pixels knows its shape.
    """

    unit: str
    num_codes: int
    num_samples: int
    channels: int = 1
    rows: Sequences
    validation: Validation | None = None
    test: Int[Tensor, "b n"]

    @abstractmethod
    def baselines(self) -> dict[str, float]:
        """Bits of the test sequences for models that only count other sequences."""

    @abstractmethod
    def as_text(self, x: Int[Tensor, "b n"]) -> list[str]:
        """Sequences as they are stored."""

    def describe(self) -> Facts:
        """The unit, what counting needs, and some test sequences."""
        baselines = {"uniform guess": math.log2(self.num_codes), **self.baselines()}
        baselines = {name: round(bits, DIGITS) for name, bits in baselines.items()}
        return Facts(self.unit, self.num_codes, baselines, samples=self.samples(self.test))

    def bits(self, nll: Float[Tensor, " b"]) -> dict[str, Bits]:
        """The nats of each test sequence in the unit, by the fields of `sequences.Learned`."""
        return {"bits": rounded(bits_per_token(nll, self.test.shape[1]))}

    def samples(self, x: Int[Tensor, "b n"]) -> Samples:
        """Some sequences of a model as text, and what can be counted about all of them."""
        return Samples(tuple(self.as_text(x[:SHOWN])))


class Captions(SequenceData):
    """New captions for ever, letter by letter.

    A cost is shared among the real characters, the one END included: padding costs bits but is
    not counted as characters. The n-gram models count as many captions as a network sees.
    """

    unit, num_codes = "bits per character", NUM_CLASSES

    def __init__(self, budget: Budget) -> None:
        self.num_samples = budget.samples
        self.rows = partial(caption_rows, composition=COMPOSITION)
        self.train, self.test = caption_split(
            budget.recipe.steps * budget.recipe.batch_size,
            budget.test_rows,
            seed=budget.recipe.seed,
            composition=COMPOSITION,
        )
        self.distribution = CaptionDistribution(COMPOSITION)
        self.lengths = is_real(self.test).sum(dim=1).double()
        log_p = [self.distribution.log_probability(caption) for caption in decode(self.test)]
        self.true_bits = -self.lengths.new_tensor(log_p) / math.log(2)

    def baselines(self) -> dict[str, float]:
        return {
            f"{n}-gram": counting.ngram_bits(self.train, self.test, n).per_character for n in ORDERS
        }

    def describe(self) -> Facts:
        """The floor is the entropy of the grammar; beside it what the test sequences need."""
        floor = self.distribution.bits()
        return replace(
            super().describe(),
            floor=round(floor.per_character, DIGITS),
            floor_per_position=round(floor.per_position, DIGITS),
            floor_on_test=round(float(self.true_bits.sum() / self.lengths.sum()), DIGITS),
        )

    def bits(self, nll: Float[Tensor, " b"]) -> dict[str, Bits]:
        """Per character and per position; above the floor is per character, caption by caption."""
        bits = nll.double() / math.log(2)
        return {
            "bits": rounded(ratio(bits, self.lengths)),
            "bits_per_position": rounded(bits_per_token(nll, self.test.shape[1])),
            "bits_above_floor": rounded(ratio(bits - self.true_bits, self.lengths)),
        }

    def as_text(self, x: Int[Tensor, "b n"]) -> list[str]:
        return decode(x)

    def samples(self, x: Int[Tensor, "b n"]) -> Samples:
        """How many captions `parse` understands, and how many the grammar writes letter by letter.

        `parse` lets two spaces and "a" for "an" pass, and pairs that are held out.
        """
        captions = decode(x)
        possible = [self.distribution.probability(caption) > 0 for caption in captions]
        parsed = Share(sum(map(is_parsed, captions)), len(captions))
        return replace(
            super().samples(x), parsed=parsed, possible=Share(sum(possible), len(captions))
        )


class DigitImages(SequenceData):
    """Digits as sequences of pixels; nobody knows their floor.

    With early stopping, the last ones to learn from say when to stop: there are so few that a
    network overfits within a thousand steps.
    """

    unit, num_samples = "bits per pixel", SHOWN

    def __init__(self, data: Digits, budget: Budget) -> None:
        self.num_codes, self.train = data.num_classes, data.train
        self.test = data.test[: budget.test_rows]
        learnt, stopping = len(data.train), budget.early_stopping
        if stopping:
            learnt -= stopping.held_back
            self.validation = Validation(data.train[learnt:], stopping.every)
        train, labels = data.train[:learnt], data.train_labels[:learnt]
        self.rows = replace(data, train=train, train_labels=labels).batch

    def baselines(self) -> dict[str, float]:
        """Counts of the training part."""
        return by_counting(partial(counting.grid_bits, self.train, self.test, self.num_codes))

    def as_text(self, x: Int[Tensor, "b n"]) -> list[str]:
        """One string an image, one letter a pixel."""
        return ["".join(LEVELS[level] for level in row) for row in x.tolist()]


class RgbScenes(SequenceData):
    """New scenes for ever, 8 x 8 pixels of red, green and blue: 192 tokens with 256 levels."""

    unit, num_codes, channels = "bits per colour", NUM_LEVELS, 3

    def __init__(self, budget: Budget) -> None:
        self.num_samples = budget.samples
        self.counted = self.rows(COUNTED, generator=random_stream("raster", "counted"))
        self.test = self.rows(budget.test_rows, generator=random_stream("raster", "test"))

    def rows(self, count: int, *, generator: torch.Generator) -> Int[Tensor, "b n"]:
        """Random scenes to learn from."""
        return rgb_scenes(count, SMALL_SIDE, generator=generator, composition=COMPOSITION)

    def baselines(self) -> dict[str, float]:
        """The counts of 20,000 other images."""
        return by_counting(partial(counting.rgb_bits, self.counted, self.test))

    def describe(self) -> Facts:
        """The floor is the entropy of the images."""
        floor = image_bits(COMPOSITION) / self.test.shape[1]
        return replace(super().describe(), floor=round(floor, DIGITS))

    def as_text(self, x: Int[Tensor, "b n"]) -> list[str]:
        """One string an image, two hexadecimal digits a token."""
        return [bytes(row).hex() for row in x.tolist()]


def by_counting(bits: Callable[..., float]) -> dict[str, float]:
    """What counting needs: the tokens of each position, or those after the same two neighbours."""
    return {"by position": bits(neighbours=False), "by neighbours": bits(neighbours=True)}


def is_parsed(caption: str) -> bool:
    """Does the grammar's parser accept this caption?"""
    try:
        parse(caption)
    except ValueError:
        return False
    return True

"""What the kernels of `family` learn: captions and digits, with their unit, floor and baselines.

All that is said of a world is said of the same test rows.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Protocol, runtime_checkable

from jaxtyping import Float, Int
from torch import Tensor

from vqlearn.data.characters import NUM_CLASSES, caption_rows, caption_split, decode, is_real
from vqlearn.data.digits import Digits, binarised, digits
from vqlearn.data.scenes.captions import parse
from vqlearn.evaluation.caption_entropy import CaptionDistribution
from vqlearn.evaluation.counting import digit_bits, ngram_bits
from vqlearn.experiments.identity import recipe_settings
from vqlearn.probability.estimates import Bits, bits_per_token, ratio, wilson_interval
from vqlearn.training.recipes import Recipe
from vqlearn.training.sequences import Rows

COMPOSITION = "seen"
ORDERS = (1, 3, 5)
SHOWN = 12
LEVELS = "0123456789abcdefg"  # one letter for each grey value
TRAINING = Recipe(steps=10_000, batch_size=32, learning_rate=2e-3, ema_decay=0.99)
FEW_PICTURES = replace(TRAINING, steps=3000)  # 67 times through 1,437 digits


@dataclass(frozen=True)
class Budget:
    """What every run is given: its training, its network, rows to measure on and to draw."""

    recipe: Recipe = TRAINING
    num_timesteps: int = 100
    width: int = 96
    num_layers: int = 3
    num_heads: int = 4
    test_rows: int = 360
    samples: int = 200

    def settings(self) -> dict[str, Any]:
        """As JSON gives it back."""
        return {
            "recipe": recipe_settings(self.recipe),
            "num_timesteps": self.num_timesteps,
            "width": self.width,
            "num_layers": self.num_layers,
            "num_heads": self.num_heads,
            "test_rows": self.test_rows,
            "samples": self.samples,
        }


@runtime_checkable
class World(Protocol):
    """Rows to learn from, rows to measure on, and how to say what was measured."""

    num_codes: int
    num_samples: int
    rows: Rows
    test: Int[Tensor, "b n"]

    def describe(self) -> dict[str, Any]:
        """The unit, what other ways to guess the test rows cost in it, and some of these rows."""

    def bits(self, nats: Float[Tensor, " b"]) -> dict[str, Any]:
        """A cost in nats for each test row, in the unit, with its standard error."""

    def samples(self, rows: Int[Tensor, "b n"]) -> dict[str, Any]:
        """Some rows of a model as text, and what can be counted about all of them."""


class Captions:
    """New captions for ever, letter by letter.

    A cost is shared among the real characters, the one END included: padding costs bits but is
    not counted as characters. The n-gram models count as many captions as a network sees.
    """

    num_codes = NUM_CLASSES

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

    def describe(self) -> dict[str, Any]:
        """The floor is the entropy of the grammar. It, and what the test rows cost its
        distribution."""
        floor = self.distribution.bits()
        grams = {
            f"{order}-gram": ngram_bits(self.counted, self.test, order).per_character
            for order in ORDERS
        }
        yardsticks = {"uniform guess": math.log2(NUM_CLASSES), **grams}
        return {
            "unit": "bits per character",
            "num_codes": self.num_codes,
            "floor": round(floor.per_character, 4),
            "floor_per_position": round(floor.per_position, 4),
            "floor_on_test_rows": round(float(self._nll().sum() / self._real().sum()), 4),
            "yardsticks": {name: round(value, 4) for name, value in yardsticks.items()},
            "samples": self.samples(self.test),
        }

    def bits(self, nats: Float[Tensor, " b"]) -> dict[str, Any]:
        """Per character and per position; `above_floor` is per character, caption by caption."""
        bits, real = nats.double() / math.log(2), self._real()
        return {
            "bits": rounded(ratio(bits, real)),
            "bits_per_position": rounded(bits_per_token(nats, self.test.shape[1])),
            "above_floor": rounded(ratio(bits - self._nll(), real)),
        }

    def samples(self, rows: Int[Tensor, "b n"]) -> dict[str, Any]:
        """How many captions `parse` understands, and how many the grammar says letter by letter.

        `parse` lets two spaces and "a" for "an" pass, and pairs that are held out.
        """
        captions = decode(rows)
        possible = [self.distribution.probability(caption) > 0 for caption in captions]
        return {
            "parsed": share(sum(map(is_parsed, captions)), len(captions)),
            "possible": share(sum(possible), len(captions)),
            "shown": captions[:SHOWN],
        }

    def _real(self) -> Tensor:
        return is_real(self.test).sum(dim=1).double()

    def _nll(self) -> Tensor:
        """Bits that each test row costs the distribution itself."""
        nll = [-self.distribution.log_probability(caption) for caption in decode(self.test)]
        return self._real().new_tensor(nll) / math.log(2)


class Pictures:
    """Digits as rows of pixels; nobody knows their floor."""

    num_samples, channels = SHOWN, 1

    def __init__(self, data: Digits, budget: Budget) -> None:
        first = slice(budget.test_rows)
        self.data = replace(data, test=data.test[first], test_labels=data.test_labels[first])
        self.num_codes, self.rows, self.test = data.num_classes, data.batch, self.data.test

    def describe(self) -> dict[str, Any]:
        """Counts of the training part: of each pixel's position, or of its two neighbours too."""
        yardsticks = {
            "uniform guess": math.log2(self.num_codes),
            "by place": digit_bits(self.data, neighbours=False),
            "by neighbours": digit_bits(self.data, neighbours=True),
        }
        return {
            "unit": "bits per pixel",
            "num_codes": self.num_codes,
            "yardsticks": {name: round(value, 4) for name, value in yardsticks.items()},
            "samples": self.samples(self.test),
        }

    def bits(self, nats: Float[Tensor, " b"]) -> dict[str, Any]:
        """Per pixel."""
        return {"bits": rounded(bits_per_token(nats, self.test.shape[1]))}

    def samples(self, rows: Int[Tensor, "b n"]) -> dict[str, Any]:
        """One string an image, one letter a pixel."""
        shown = rows[:SHOWN].tolist()
        return {"shown": ["".join(LEVELS[level] for level in row) for row in shown]}


WORLDS: dict[str, Callable[[Budget], World]] = {
    "captions": Captions,
    "digits": lambda budget: Pictures(digits(), budget),
    "binary": lambda budget: Pictures(binarised(digits()), budget),
}


BUDGETS = {
    "captions": Budget(),
    "digits": Budget(FEW_PICTURES),
    "binary": Budget(FEW_PICTURES),
}


def is_parsed(caption: str) -> bool:
    """Does the grammar's parser accept this caption?"""
    try:
        parse(caption)
    except ValueError:
        return False
    return True


def share(right: int, total: int) -> dict[str, Any]:
    """A count, and between which shares the truth lies in 95 of 100 such counts."""
    interval = [round(end, 4) for end in wilson_interval(right, total)]
    return {"right": right, "total": total, "interval_95": interval}


def rounded(bits: Bits) -> dict[str, float]:
    """Ready for JSON."""
    return {name: round(value, 4) for name, value in bits._asdict().items()}

"""What the networks of `raster` learn: digits, images in RGB, and tokens with captions.

All that is said of a world is said of the same test rows.
"""

import math
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from vqlearn.checkpoints import folder as files
from vqlearn.checkpoints.shipped import resolve
from vqlearn.data.batches import Scenes
from vqlearn.data.digits import digits
from vqlearn.data.rgb import NUM_LEVELS, SMALL_SIDE, rgb_scenes
from vqlearn.evaluation.counting import grid_bits, rgb_bits
from vqlearn.evaluation.image_entropy import image_bits
from vqlearn.experiments.identity import recipe_settings
from vqlearn.experiments.kernels.data import SHOWN, Pictures, rounded
from vqlearn.probability.estimates import bits_per_token
from vqlearn.probability.random import random_stream
from vqlearn.training.recipes import Recipe

COMPOSITION = "seen"
AT_ONCE = 100
HELD_BACK = 150
COUNTED = 20_000  # images that the baselines count


@dataclass(frozen=True)
class Budget:
    """What every run of a world is given; `samples` is how many rows it draws."""

    recipe: Recipe
    test_rows: int = 300
    samples: int = SHOWN

    def settings(self) -> dict[str, Any]:
        """As JSON gives it back."""
        recipe = recipe_settings(self.recipe)
        return {"recipe": recipe, "test_rows": self.test_rows, "samples": self.samples}


BUDGETS = {
    "digits": Budget(Recipe(steps=3000, batch_size=32, learning_rate=2e-3, ema_decay=0.99)),
    "rgb": Budget(Recipe(steps=3000, batch_size=32, learning_rate=2e-3, ema_decay=0.99)),
    "tokens": Budget(
        Recipe(steps=3000, batch_size=64, learning_rate=2e-3, ema_decay=0.99), samples=300
    ),
}


class FewDigits(Pictures):
    """Digits, of which the last 150 to learn from say when to stop.

    There are so few that a network knows them by heart within a thousand steps.
    """

    def __init__(self, budget: Budget) -> None:
        data = digits()
        self.held_back = data.train[-HELD_BACK:]
        super().__init__(data, budget)
        train, labels = data.train[:-HELD_BACK], data.train_labels[:-HELD_BACK]
        self.rows = replace(data, train=train, train_labels=labels).batch


class RgbScenes:
    """New scenes for ever, 8 x 8 pixels of red, green and blue: 192 tokens with 256 levels."""

    num_codes, channels, held_back = NUM_LEVELS, 3, None

    def __init__(self, budget: Budget) -> None:
        self.num_samples = budget.samples
        self.counted = self.rows(COUNTED, generator=random_stream("raster", "counted"))
        self.test = self.rows(budget.test_rows, generator=random_stream("raster", "test"))

    def rows(self, count: int, *, generator: torch.Generator) -> Int[Tensor, "b n"]:
        """Random scenes to learn from."""
        return rgb_scenes(count, SMALL_SIDE, generator=generator, composition=COMPOSITION)

    def describe(self) -> dict[str, Any]:
        """The floor is the entropy of the images; the counts are those of 20,000 others."""
        counts = {
            f"by {name}": rgb_bits(self.counted, self.test, neighbours=name == "neighbours")
            for name in ("place", "neighbours")
        }
        yardsticks = {"uniform guess": math.log2(NUM_LEVELS), **counts}
        return {
            "unit": "bits per colour",
            "num_codes": self.num_codes,
            "floor": round(image_bits(COMPOSITION) / self.test.shape[1], 4),
            "yardsticks": {name: round(value, 4) for name, value in yardsticks.items()},
            "samples": self.samples(self.test),
        }

    def bits(self, nats: Float[Tensor, " b"]) -> dict[str, Any]:
        """Per colour of a pixel."""
        return {"bits": rounded(bits_per_token(nats, self.test.shape[1]))}

    def samples(self, rows: Int[Tensor, "b n"]) -> dict[str, Any]:
        """One string an image, two hexadecimal digits a token."""
        return {"shown": [bytes(row).hex() for row in rows[:SHOWN].tolist()]}


class CaptionedTokens:
    """New scenes for ever, each as 64 tokens of the shipped VQ-VAE, with the caption.

    Networks learn to write them in the loop of the denoiser, which reads `shipped` itself.
    """

    def __init__(self, budget: Budget) -> None:
        self.shipped, self.source = resolve("scenes"), Scenes(32, COMPOSITION)
        self.vqvae = files.load_vqvae(self.shipped).requires_grad_(False).eval()
        self.encoder = files.load_text_encoder(self.shipped)
        self.num_codes = self.vqvae.config.num_vq_embeddings
        self.num_samples = budget.samples
        self.test, self.captions = self._tokens("test", budget.test_rows)

    def describe(self) -> dict[str, Any]:
        """The counts know no caption; they are those of 20,000 other images."""
        counted, _ = self._tokens("counted", COUNTED)
        counts = {
            f"by {name}": grid_bits(
                counted, self.test, self.num_codes, neighbours=name == "neighbours"
            )
            for name in ("place", "neighbours")
        }
        yardsticks = {"uniform guess": math.log2(self.num_codes), **counts}
        return {
            "unit": "bits per token",
            "num_codes": self.num_codes,
            "yardsticks": {name: round(value, 4) for name, value in yardsticks.items()},
            "samples": self.samples(self.test),
        }

    def bits(self, nats: Float[Tensor, " b"]) -> dict[str, Any]:
        """Per token."""
        return {"bits": rounded(bits_per_token(nats, self.test.shape[1]))}

    def samples(self, rows: Int[Tensor, "b n"]) -> dict[str, Any]:
        """One list of tokens an image."""
        return {"shown": rows[:SHOWN].tolist()}

    def decode(self, tokens: Int[Tensor, "b n"]) -> Float[Tensor, "b 3 h w"]:
        """The images that they spell, RGB in 0 to 1."""
        with torch.no_grad():
            return torch.cat([self.vqvae.decode(part) for part in tokens.split(AT_ONCE)])

    @torch.no_grad()
    def _tokens(self, name: str, count: int) -> tuple[Int[Tensor, "b n"], list[str]]:
        batch = self.source.batch(count, generator=random_stream("raster", "tokens", name))
        parts = [self.vqvae.encode(part) for part in batch.images.split(AT_ONCE)]
        return torch.cat(parts), batch.captions

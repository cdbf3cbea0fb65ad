"""What only the autoregressive networks learn: images in RGB, and tokens with captions."""

from dataclasses import replace
from functools import partial

import torch
from jaxtyping import Int
from torch import Tensor

from vqlearn.data import Batch, Scenes
from vqlearn.data.rgb import NUM_LEVELS, SMALL_SIDE, rgb_scenes
from vqlearn.evaluation import grid_bits, image_bits, rgb_bits
from vqlearn.experiments.data import COMPOSITION, Budget, SequenceData, by_counting
from vqlearn.experiments.report import DIGITS, Facts
from vqlearn.experiments.tokens import ShippedTokens, tokens_as_text
from vqlearn.probability import random_stream

COUNTED = 20_000  # images that the baselines count


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
        return by_counting(partial(rgb_bits, self.counted, self.test))

    def describe(self) -> Facts:
        """The floor is the entropy of the images."""
        floor = image_bits(COMPOSITION) / self.test.shape[1]
        return replace(super().describe(), floor=round(floor, DIGITS))

    def as_text(self, x: Int[Tensor, "b n"]) -> list[str]:
        """One string an image, two hexadecimal digits a token."""
        return [bytes(row).hex() for row in x.tolist()]


class CaptionedTokens(ShippedTokens, SequenceData):
    """New scenes for ever, each as 64 tokens of the shipped VQ-VAE, with the caption.

    Networks learn to write them in the loop of the denoiser, which reads the shipped folder itself.
    """

    unit = "bits per token"

    def __init__(self, budget: Budget) -> None:
        super().__init__()
        scenes = self.scenes("test", budget.test_rows)
        self.examples = self.examples_of(scenes.images, scenes.captions)
        self.test = self.examples.x

    def scenes(self, name: str, count: int) -> Batch:
        """Random images with captions; the name decides which."""
        generator = random_stream("raster", "tokens", name)
        return Scenes(32, COMPOSITION).batch(count, generator=generator)

    def baselines(self) -> dict[str, float]:
        """The counts know no caption; they are those of 20,000 other images."""
        counted = self.encode(self.scenes("counted", COUNTED).images)
        return by_counting(partial(grid_bits, counted, self.test, self.num_codes))

    def as_text(self, x: Int[Tensor, "b n"]) -> list[str]:
        """Numbers with spaces between."""
        return list(tokens_as_text(x))

"""What only the autoregressive networks learn: images in RGB, and tokens with captions."""

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor

from vqlearn.data import Scenes
from vqlearn.data.rgb import NUM_LEVELS, SMALL_SIDE, rgb_scenes
from vqlearn.evaluation import grid_bits, image_bits, rgb_bits
from vqlearn.experiments.data import COMPOSITION, SHOWN, Budget
from vqlearn.experiments.report import DIGITS, Facts, Samples, rounded
from vqlearn.experiments.tokens import ShippedTokens, tokens_as_text
from vqlearn.probability import Bits, bits_per_token, random_stream

COUNTED = 20_000  # images that the baselines count
COUNTS = {"by position": False, "by neighbours": True}


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

    def describe(self) -> Facts:
        """The floor is the entropy of the images; the counts are those of 20,000 others."""
        counts = {
            name: round(rgb_bits(self.counted, self.test, neighbours=neighbours), DIGITS)
            for name, neighbours in COUNTS.items()
        }
        return Facts(
            unit="bits per colour",
            num_codes=self.num_codes,
            baselines={"uniform guess": math.log2(NUM_LEVELS), **counts},
            floor=round(image_bits(COMPOSITION) / self.test.shape[1], DIGITS),
            samples=self.samples(self.test),
        )

    def bits(self, nll: Float[Tensor, " b"]) -> dict[str, Bits]:
        """Bits per colour of a pixel."""
        return {"bits": rounded(bits_per_token(nll, self.test.shape[1]))}

    def samples(self, x: Int[Tensor, "b n"]) -> Samples:
        """One string an image, two hexadecimal digits a token."""
        return Samples(tuple(bytes(row).hex() for row in x[:SHOWN].tolist()))


class CaptionedTokens(ShippedTokens):
    """New scenes for ever, each as 64 tokens of the shipped VQ-VAE, with the caption.

    Networks learn to write them in the loop of the denoiser, which reads the shipped folder itself.
    """

    def __init__(self, budget: Budget) -> None:
        super().__init__()
        self.source = Scenes(32, COMPOSITION)
        self.test, self.captions = self._draw("test", budget.test_rows)

    def describe(self) -> Facts:
        """The counts know no caption; they are those of 20,000 other images."""
        counted, _ = self._draw("counted", COUNTED)
        counts = {
            name: grid_bits(counted, self.test, self.num_codes, neighbours=neighbours)
            for name, neighbours in COUNTS.items()
        }
        baselines = {"uniform guess": math.log2(self.num_codes), **counts}
        return Facts(
            unit="bits per token",
            num_codes=self.num_codes,
            baselines={name: round(value, DIGITS) for name, value in baselines.items()},
            samples=Samples(tokens_as_text(self.test)),
        )

    def _draw(self, name: str, count: int) -> tuple[Int[Tensor, "b n"], list[str]]:
        batch = self.source.batch(count, generator=random_stream("raster", "tokens", name))
        return self.encode(batch.images), batch.captions

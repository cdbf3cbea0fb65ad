"""Each autoregressive network learns once, small: bits, samples and seconds.

    python -m vqlearn.experiments autoregressive
    python -m vqlearn.experiments autoregressive --only digits/pixelcnn

Digits and RGB images are learnt pixel by pixel, without text. The tokens of scenes come with
their captions: there the networks attend to the text states and learn in the loop of the denoiser.
On one data set all networks see as many sequences and have about as many weights. Of digits there
are few: there every network keeps the weights at which 150 held-back digits cost least.

Bits are exact; those of an ImageBART are a bound.
"""

from collections.abc import Mapping
from typing import Any

from vqlearn.experiments.autoregressive.token_runs import TokenRun
from vqlearn.experiments.data import Budget
from vqlearn.experiments.identity import Named
from vqlearn.experiments.sequences import AutoregressiveRun, with_rate
from vqlearn.experiments.systems import AUTOREGRESSIVE, WITHOUT_TEXT
from vqlearn.training import Recipe, Size
from vqlearn.training.stages import ImageBARTOptions, RasterOptions, train_imagebart, train_raster

RECIPE = Recipe(steps=3000, batch_size=32, learning_rate=2e-3, ema_decay=0.99)
TOKEN_RECIPE = Recipe(steps=3000, batch_size=64, learning_rate=2e-3, ema_decay=0.99)
BUDGETS = {
    "digits": Budget(RECIPE, test_rows=300, samples=12),
    "rgb": Budget(RECIPE, test_rows=300, samples=12),
    "tokens": Budget(TOKEN_RECIPE, test_rows=300, samples=300),
}
FOR_ADAM = 5e-3
TRAIN_RASTER = Named("train_raster", train_raster)
TRAIN_IMAGEBART = Named("train_imagebart", train_imagebart)


def digit_runs(budget: Budget) -> tuple[AutoregressiveRun, ...]:
    """Networks of about 0.15 million weights."""

    def run(name: str, network: str, options: dict[str, Any]) -> AutoregressiveRun:
        return AutoregressiveRun("digits", name, AUTOREGRESSIVE[network], options, budget)

    blocks = {"width": 64, "num_layers": 3, "num_heads": 4}
    two, four = {"num_scales": 2, "width": 36}, {"num_scales": 4, "width": 24}
    scale = {"num_layers": 2, "num_heads": 4}
    return (
        run("pixelrnn", "PixelRNN", {"width": 44, "num_layers": 2}),
        run("pixelcnn", "PixelCNN", {"width": 52, "num_layers": 5, "kernel_size": 3}),
        run("gated-pixelcnn", "GatedPixelCNN", {"width": 35, "num_layers": 5, "kernel_size": 3}),
        run("pixelcnn++", "PixelCNNPlusPlus", {"width": 13, "num_blocks": 2, "num_mixtures": 5}),
        run(
            "image-transformer",
            "ImageTransformer",
            {**blocks, "block_length": 8, "memory_length": 16},
        ),
        run("raster-transformer", "RasterTransformer", {**blocks, **WITHOUT_TEXT}),
        run("imagebart-2", "ImageBART", {**two, **scale}),
        run("imagebart-4", "ImageBART", {**four, **scale}),
    )


def rgb_runs(budget: Budget) -> tuple[AutoregressiveRun, ...]:
    """Networks of about 0.35 million weights; those without a transformer have Adam's rate."""

    def run(name: str, network: str, budget: Budget, **options: int) -> AutoregressiveRun:
        return AutoregressiveRun("rgb", name, AUTOREGRESSIVE[network], options, budget)

    adam = with_rate(budget, FOR_ADAM)
    return (
        run("pixelrnn", "PixelRNN", adam, width=60, num_layers=2),
        run("pixelcnn", "PixelCNN", adam, width=66, num_layers=5, kernel_size=3),
        run("gated-pixelcnn", "GatedPixelCNN", adam, width=48, num_layers=5, kernel_size=3),
        run("pixelcnn++", "PixelCNNPlusPlus", adam, width=20, num_blocks=2, num_mixtures=10),
        run(
            *("image-transformer", "ImageTransformer", budget),
            **{"width": 84, "num_layers": 3, "num_heads": 4},
            **{"block_length": 24, "memory_length": 48},
        ),
    )


def token_runs(budget: Budget) -> tuple[TokenRun, ...]:
    """Networks of about 1.3 million weights, after captions."""

    raster, imagebart = RasterOptions(Size(128, 6, 4)), ImageBARTOptions(3, Size(64, 3, 4))
    return (
        TokenRun("raster-transformer", TRAIN_RASTER, raster, budget),
        TokenRun("imagebart-3", TRAIN_IMAGEBART, imagebart, budget),
    )


def autoregressive_runs(
    budgets: Mapping[str, Budget] = BUDGETS,
) -> tuple[AutoregressiveRun | TokenRun, ...]:
    """Every network on the data that it can learn."""
    return (
        *digit_runs(budgets["digits"]),
        *rgb_runs(budgets["rgb"]),
        *token_runs(budgets["tokens"]),
    )


RUNS = autoregressive_runs()

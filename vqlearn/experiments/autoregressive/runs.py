"""Each autoregressive network learns once, small: bits, drawings and seconds.

    python -m vqlearn.experiments.autoregressive.runs
    python -m vqlearn.experiments.autoregressive.runs --only digits/pixelcnn

Digits and RGB images are learnt pixel by pixel, without text. The tokens of scenes come with
their captions: there the networks hear the text encoder and learn in the loop of the denoiser. In
one world all networks see as many rows and have about as many weights. Of digits there are few:
there every network keeps the weights with which 150 held-back digits cost least.

Bits are exact; those of an ImageBART are a bound. Seconds are processor time, so that other work on
the machine does not count; those of drawing are for all rows of a run together. A run is written as
soon as it is measured: a command that was stopped goes on with the runs that are missing or were
made with other settings.
"""

import argparse
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import matplotlib

from vqlearn.autoregressive.image_transformer import ImageTransformer, ImageTransformerConfig
from vqlearn.autoregressive.imagebart import ImageBART
from vqlearn.autoregressive.imagebart_scale import ImageBARTConfig
from vqlearn.autoregressive.pixelcnn import GatedPixelCNN, PixelCNN, PixelCNNConfig
from vqlearn.autoregressive.pixelcnnpp import PixelCNNPlusPlus, PixelCNNPlusPlusConfig
from vqlearn.autoregressive.pixelrnn import PixelRNN, PixelRNNConfig
from vqlearn.autoregressive.raster_transformer import RasterTransformer, RasterTransformerConfig
from vqlearn.experiments.autoregressive import plots as raster_pictures
from vqlearn.experiments.autoregressive.data import (
    BUDGETS,
    Budget,
    CaptionedTokens,
    FewDigits,
    RgbScenes,
)
from vqlearn.experiments.autoregressive.sequence_runs import RowRun, by_cache, from_noise
from vqlearn.experiments.autoregressive.token_runs import TOKEN_RUNS, TokenRun
from vqlearn.experiments.identity import Named
from vqlearn.experiments.kernels.data import World
from vqlearn.experiments.runner import Experiment, with_budgets
from vqlearn.training.rows import imagebart_nats

COMMAND = "python -m vqlearn.experiments.autoregressive.runs"
FOLDER = Path("figures")
NAME = "raster.json"

FOR_ADAM = 5e-3
WITHOUT_TEXT = {"text_width": None, "text_length": 0}
TWO_SCALES = {"num_scales": 2, "width": 36, "num_layers": 2, "num_heads": 4}
FOUR_SCALES = {"num_scales": 4, "width": 24, "num_layers": 2, "num_heads": 4}

WORLDS: dict[str, Callable[[Budget], World]] = {
    "digits": FewDigits,
    "rgb": RgbScenes,
    "tokens": CaptionedTokens,
}
PIXELRNN = Named("PixelRNN", PixelRNN)
PIXELCNN = Named("PixelCNN", PixelCNN)
GATED = Named("GatedPixelCNN", GatedPixelCNN)
PLUS_PLUS = Named("PixelCNNPlusPlus", PixelCNNPlusPlus)
IMAGE_TRANSFORMER = Named("ImageTransformer", ImageTransformer)
RASTER = Named("RasterTransformer", RasterTransformer)
IMAGEBART = Named("ImageBART", ImageBART)
RUNS: dict[str, RowRun | TokenRun] = {
    "digits/pixelrnn": RowRun(PIXELRNN, PixelRNNConfig, {"width": 44, "num_layers": 2}),
    "digits/pixelcnn": RowRun(
        PIXELCNN, PixelCNNConfig, {"width": 52, "num_layers": 5, "kernel_size": 3}
    ),
    "digits/gated-pixelcnn": RowRun(
        GATED, PixelCNNConfig, {"width": 35, "num_layers": 5, "kernel_size": 3}
    ),
    "digits/pixelcnn++": RowRun(
        PLUS_PLUS,
        PixelCNNPlusPlusConfig,
        {"width": 13, "num_blocks": 2, "num_mixtures": 5},
    ),
    "digits/image-transformer": RowRun(
        IMAGE_TRANSFORMER,
        ImageTransformerConfig,
        {"width": 64, "num_layers": 3, "num_heads": 4, "block_length": 8, "memory_length": 16},
    ),
    "digits/raster-transformer": RowRun(
        RASTER,
        RasterTransformerConfig,
        {"width": 64, "num_layers": 3, "num_heads": 4, **WITHOUT_TEXT},
        draw=by_cache,
    ),
    "digits/imagebart-2": RowRun(
        IMAGEBART, ImageBARTConfig, TWO_SCALES, imagebart_nats, from_noise
    ),
    "digits/imagebart-4": RowRun(
        IMAGEBART, ImageBARTConfig, FOUR_SCALES, imagebart_nats, from_noise
    ),
    "rgb/pixelrnn": RowRun(
        PIXELRNN, PixelRNNConfig, {"width": 60, "num_layers": 2}, learning_rate=FOR_ADAM
    ),
    "rgb/pixelcnn": RowRun(
        PIXELCNN,
        PixelCNNConfig,
        {"width": 66, "num_layers": 5, "kernel_size": 3},
        learning_rate=FOR_ADAM,
    ),
    "rgb/gated-pixelcnn": RowRun(
        GATED,
        PixelCNNConfig,
        {"width": 48, "num_layers": 5, "kernel_size": 3},
        learning_rate=FOR_ADAM,
    ),
    "rgb/pixelcnn++": RowRun(
        PLUS_PLUS,
        PixelCNNPlusPlusConfig,
        {"width": 20, "num_blocks": 2, "num_mixtures": 10},
        learning_rate=FOR_ADAM,
    ),
    "rgb/image-transformer": RowRun(
        IMAGE_TRANSFORMER,
        ImageTransformerConfig,
        {"width": 84, "num_layers": 3, "num_heads": 4, "block_length": 24, "memory_length": 48},
    ),
    **TOKEN_RUNS,
}


def experiment(budgets: Mapping[str, Budget]) -> Experiment:
    """All runs, each with the budget of its world."""
    return with_budgets(
        COMMAND, RUNS, WORLDS, budgets, lambda name, *rest: RUNS[name].measure(name, *rest)
    )


def main(
    folder: Path = FOLDER,
    names: Sequence[str] = tuple(RUNS),
    budgets: Mapping[str, Budget] = BUDGETS,
) -> None:
    """Measure the runs that are missing, one by one; draw the images once none is."""
    matplotlib.use("Agg")
    raster = experiment(budgets)
    report = raster.go_on(folder / NAME, names)
    if not raster.missing(report):
        raster_pictures.draw_bits(report, folder / "raster_bits.png")
        raster_pictures.draw_samples(report, folder / "raster_samples.png")
        raster_pictures.draw_scenes(report, folder / "raster_scenes.png")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--only", nargs="+", choices=RUNS, default=tuple(RUNS), metavar="RUN")
    main(names=parser.parse_args().only)

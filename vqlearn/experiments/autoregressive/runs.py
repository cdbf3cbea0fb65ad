"""Each autoregressive network learns once, small: bits, samples and seconds.

    python -m vqlearn.experiments autoregressive
    python -m vqlearn.experiments autoregressive --only digits/pixelcnn

Digits and RGB images are learnt pixel by pixel, without text. The tokens of scenes come with
their captions: there the networks attend to the text states and learn in the loop of the denoiser.
On one data set all networks see as many sequences and have about as many weights. Of digits there
are few: there every network keeps the weights at which 150 held-back digits cost least.

Bits are exact; those of an ImageBART are a bound.
"""

from dataclasses import replace

from vqlearn.experiments.autoregressive.token_runs import TokenRun
from vqlearn.experiments.data import Budget, EarlyStopping
from vqlearn.experiments.sequences import AutoregressiveRun
from vqlearn.experiments.systems import WITHOUT_TEXT, Autoregressive
from vqlearn.training import Recipe, Size

RECIPE = Recipe(steps=3000, batch_size=32, learning_rate=2e-3, ema_decay=0.99)
PIXELS = Budget(RECIPE, test_rows=300, samples=12)
FEW = replace(PIXELS, early_stopping=EarlyStopping(held_back=150, every=100))
ADAM = replace(PIXELS, recipe=replace(RECIPE, learning_rate=5e-3))
"""What suits Muon is slow for networks of convolutions, which have Adam alone."""
TOKENS = Budget(replace(RECIPE, batch_size=64), test_rows=300, samples=300)

GATED = "gated-pixelcnn-live-fan-in"
"""Without the last words: a run with PyTorch's first weights, which is not stored any more."""
DIGITS = {  # about 0.15 million weights
    "pixelrnn": ("PixelRNN", {"width": 44, "num_layers": 2}),
    "pixelcnn": ("PixelCNN", {"width": 52, "num_layers": 5, "kernel_size": 3}),
    GATED: ("GatedPixelCNN", {"width": 35, "num_layers": 5, "kernel_size": 3}),
    "pixelcnn++": ("PixelCNNPlusPlus", {"width": 13, "num_blocks": 2, "num_mixtures": 5}),
    "image-transformer": (
        "ImageTransformer",
        {"width": 64, "num_layers": 3, "num_heads": 4, "block_length": 8, "memory_length": 16},
    ),
    "raster-transformer": (
        "RasterTransformer",
        {"width": 64, "num_layers": 3, "num_heads": 4, **WITHOUT_TEXT},
    ),
    "imagebart-2": ("ImageBART", {"num_scales": 2, "width": 36, "num_layers": 2, "num_heads": 4}),
    "imagebart-4": ("ImageBART", {"num_scales": 4, "width": 24, "num_layers": 2, "num_heads": 4}),
}
RGB = {  # about 0.35 million weights
    "pixelrnn": ("PixelRNN", {"width": 60, "num_layers": 2}),
    "pixelcnn": ("PixelCNN", {"width": 66, "num_layers": 5, "kernel_size": 3}),
    GATED: ("GatedPixelCNN", {"width": 48, "num_layers": 5, "kernel_size": 3}),
    "pixelcnn++": ("PixelCNNPlusPlus", {"width": 20, "num_blocks": 2, "num_mixtures": 10}),
    "image-transformer": (
        "ImageTransformer",
        {"width": 84, "num_layers": 3, "num_heads": 4, "block_length": 24, "memory_length": 48},
    ),
}
RUNS = (
    *(
        AutoregressiveRun("digits", name, FEW, options, network)
        for name, (network, options) in DIGITS.items()
    ),
    *(
        AutoregressiveRun("rgb", name, PIXELS if "transformer" in name else ADAM, options, network)
        for name, (network, options) in RGB.items()
    ),
    # after captions, about 1.3 million weights
    TokenRun("raster-transformer", TOKENS, "train_raster", Autoregressive(Size(128, 6, 4))),
    TokenRun("imagebart-3", TOKENS, "train_imagebart", Autoregressive(Size(64, 3, 4), 3)),
)

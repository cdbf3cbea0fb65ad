"""Each kernel learns the same data once, small: how many bits does it need, what does it sample?

    python -m vqlearn.experiments kernels
    python -m vqlearn.experiments kernels --only captions/absorbing

Captions come letter by letter, and the entropy of their grammar is known exactly: no model can
need fewer bits on average. Digits are grey values, or black and white; their floor nobody knows.
What a model needs that only counts stands beside both. Digits keep the weights at which 150
digits, held back from the training, cost least.

The Gaussian kernel is for digits only: it needs codes in an order, and letters have none. Theirs
is the nearest-neighbour kernel. On one data set every kernel has the same budget; each has a
schedule of its own, so a level of one is not as noisy as the same level of another.
"""

from dataclasses import replace

from vqlearn.experiments.data import Budget, EarlyStopping
from vqlearn.experiments.sequences import DiffusionRun
from vqlearn.training import Recipe

RECIPE = Recipe(steps=10_000, batch_size=32, learning_rate=2e-3, ema_decay=0.99)
CAPTIONS = Budget(RECIPE, test_rows=360, samples=200)
IMAGES = replace(  # 71 times through 1,347 digits; a bound takes as many evaluations as steps T
    CAPTIONS,
    recipe=replace(RECIPE, steps=3000),
    test_rows=300,
    early_stopping=EarlyStopping(held_back=150, every=500),
)
BETAS = [3e-4, 0.015]  # the first step moves 1 % of the pixels; at T nothing is left

GAUSSIAN = DiffusionRun("digits", "gaussian", IMAGES, {"betas": BETAS}, "gaussian")
RUNS = (
    DiffusionRun("captions", "uniform", CAPTIONS, {}, "uniform"),
    DiffusionRun("captions", "absorbing", CAPTIONS, {}, "absorbing"),
    DiffusionRun("captions", "mask-and-replace", CAPTIONS, {}, "mask_and_replace"),
    DiffusionRun(
        "captions", "nearest-neighbour", CAPTIONS, {"num_neighbours": 4}, "letter_neighbours"
    ),
    DiffusionRun("digits", "uniform", IMAGES, {}, "uniform"),
    DiffusionRun("digits", "absorbing", IMAGES, {}, "absorbing"),
    DiffusionRun("digits", "mask-and-replace", IMAGES, {}, "mask_and_replace"),
    GAUSSIAN,
    replace(GAUSSIAN, name="gaussian-logistic", network="OrdinalDenoiser"),
    DiffusionRun("binary", "binomial", IMAGES, {}, "binomial"),
    DiffusionRun("binary", "absorbing", IMAGES, {}, "absorbing"),
)

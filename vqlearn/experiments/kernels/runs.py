"""Each kernel learns the same data once, small: how many bits does it need, what does it sample?

    python -m vqlearn.experiments kernels
    python -m vqlearn.experiments kernels --only captions/absorbing

Captions come letter by letter, and the entropy of their grammar is known exactly: no model can
need fewer bits on average. Digits are grey values, or black and white; their floor nobody knows.
What a model needs that only counts stands beside both.

The Gaussian kernel is for digits only: it needs codes in an order, and letters have none. Theirs
is the nearest-neighbour kernel. On one data set every kernel has the same budget; each has a
schedule of its own, so a level of one is not as noisy as the same level of another.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from vqlearn.experiments.data import Budget
from vqlearn.experiments.processes import PROCESSES
from vqlearn.experiments.sequences import DEFAULT_SIZE, DenoiserSize, DiffusionRun
from vqlearn.experiments.systems import DENOISERS
from vqlearn.training import Recipe

TRAINING = Recipe(steps=10_000, batch_size=32, learning_rate=2e-3, ema_decay=0.99)
FEW_IMAGES = replace(TRAINING, steps=3000)  # 67 times through 1,437 digits
BUDGETS = {
    "captions": Budget(TRAINING, test_rows=360, samples=200),
    "digits": Budget(FEW_IMAGES, test_rows=360, samples=200),
    "binary": Budget(FEW_IMAGES, test_rows=360, samples=200),
}
BETAS = (3e-4, 0.015)  # the first step moves 1 % of the pixels; at T nothing is left


def kernel_runs(
    budgets: Mapping[str, Budget] = BUDGETS, size: DenoiserSize = DEFAULT_SIZE
) -> tuple[DiffusionRun, ...]:
    """Every kernel on every data set that it can learn."""

    def run(data: str, name: str, process: str, **options: Any) -> DiffusionRun:
        return DiffusionRun(data, name, PROCESSES[process], budgets[data], options, size=size)

    gaussian = run("digits", "gaussian", "gaussian", betas=BETAS)
    return (
        run("captions", "uniform", "uniform"),
        run("captions", "absorbing", "absorbing"),
        run("captions", "mask-and-replace", "mask_and_replace"),
        run("captions", "nearest-neighbour", "letter_neighbours", num_neighbours=4),
        run("digits", "uniform", "uniform"),
        run("digits", "absorbing", "absorbing"),
        run("digits", "mask-and-replace", "mask_and_replace"),
        gaussian,
        replace(gaussian, name="gaussian-logistic", network=DENOISERS["OrdinalDenoiser"]),
        run("binary", "binomial", "binomial"),
        run("binary", "absorbing", "absorbing"),
    )


RUNS = kernel_runs()

"""How many bits does a letter cost each family, where the truth is known?

Captions come letter by letter, and the entropy of their grammar is known exactly. On English text
the published order, fewest bits first, is: autoregressive, absorbing, nearest neighbour, uniform
(Austin et al. 2021, text8). Here all systems learn the same batches in the same order, have as many
weights but for 2 %, and are measured on the same test rows, whatever the seed. The kernels also
learn with other weights of the auxiliary loss: with one seed only.

The bits of the raster transformer are exact, all others are bounds. Networks learn in bfloat16 and
are measured in float32.
"""

import copy
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from vqlearn.autoregressive.imagebart_scale import ImageBARTConfig
from vqlearn.autoregressive.raster_transformer import RasterTransformerConfig
from vqlearn.data.characters import caption_rows
from vqlearn.experiments.autoregressive import data as raster_worlds
from vqlearn.experiments.autoregressive.runs import IMAGEBART, RASTER, WITHOUT_TEXT
from vqlearn.experiments.autoregressive.sequence_runs import RowRun, by_cache, from_noise
from vqlearn.experiments.kernels import runs as family
from vqlearn.experiments.kernels.data import COMPOSITION, TRAINING, Budget, Captions, World
from vqlearn.probability.random import random_stream
from vqlearn.training.rows import Nats, Rows, autoregressive_nats, imagebart_nats

BUDGET = Budget(replace(TRAINING, steps=3000))
SEEDS = (0, 1, 2)
DEFAULT_WEIGHT = 5e-4
OTHER_WEIGHTS = (0, 0.01)
KERNELS = ("absorbing", "mask-and-replace", "nearest-neighbour", "uniform")


def in_bfloat16(nats: Nats) -> Nats:
    """The same nats in half precision while a network learns; without gradients in float32.

    Quicker where the CPU can do it, as `training.sequences.InBfloat16` is for denoisers.
    """

    def fast(
        network: nn.Module, x: Int[Tensor, "b n"], stream: torch.Generator
    ) -> Float[Tensor, " b"]:
        with torch.autocast("cpu", torch.bfloat16, enabled=torch.is_grad_enabled()):
            return nats(network, x, stream)

    return fast


@dataclass(frozen=True)
class Diffusion:
    """A kernel of `family`, and how much the auxiliary loss weighs."""

    run: family.Run
    auxiliary_weight: float = DEFAULT_WEIGHT

    def settings(self, budget: Budget) -> dict[str, Any]:
        """All that decides the result, as JSON gives it back."""
        return {**self.run.settings(budget), "auxiliary_weight": self.auxiliary_weight}

    def measure(self, name: str, world: World, budget: Budget) -> dict[str, Any]:
        """Train, then measure the bound, then draw."""
        return family.measure_run(self.run, name, world, budget, self.auxiliary_weight)


@dataclass(frozen=True)
class Writer:
    """A network that writes letter after letter: a run of `raster`, which has its own size."""

    run: RowRun

    def settings(self, budget: Budget) -> dict[str, Any]:
        """All that decides the result, as JSON gives it back."""
        return self.run.settings(self._of_raster(budget))

    def measure(self, name: str, world: World, budget: Budget) -> dict[str, Any]:
        """Train, then draw, then measure."""
        return self.run.measure(name, world, self._of_raster(budget))

    def _of_raster(self, budget: Budget) -> raster_worlds.Budget:
        return raster_worlds.Budget(budget.recipe, budget.test_rows, budget.samples)


SYSTEMS: dict[str, Diffusion | Writer] = {
    "raster": Writer(
        RowRun(
            RASTER,
            RasterTransformerConfig,
            {"width": 108, "num_layers": 3, "num_heads": 4, **WITHOUT_TEXT},
            in_bfloat16(autoregressive_nats),
            by_cache,
        )
    ),
    "imagebart": Writer(
        RowRun(
            IMAGEBART,
            ImageBARTConfig,
            {"num_scales": 2, "width": 60, "num_layers": 2, "num_heads": 4},
            in_bfloat16(imagebart_nats),
            from_noise,
        )
    ),
    **{kernel: Diffusion(family.RUNS[f"captions/{kernel}"]) for kernel in KERNELS},
}
"""In the published order; ImageBART and mask-and-replace are not in it, and stand between."""


def with_weight(kernel: str, auxiliary_weight: float) -> str:
    """The name of a kernel that learns with this weight of the auxiliary loss."""
    is_default = auxiliary_weight == DEFAULT_WEIGHT
    return kernel if is_default else f"{kernel}-auxiliary-{auxiliary_weight:g}"


VARIANTS: dict[str, Diffusion] = {
    with_weight(kernel, weight): replace(SYSTEMS[kernel], auxiliary_weight=weight)
    for kernel in KERNELS
    for weight in OTHER_WEIGHTS
}
ALL = {**SYSTEMS, **VARIANTS}


def name_of(system: str, seed: int) -> str:
    """The run of a system or a variant with one seed: of its weights, its rows and its noise."""
    return f"captions/{system}/{seed}"


NAMES = (
    *(name_of(system, seed) for system in SYSTEMS for seed in SEEDS),
    *(name_of(variant, SEEDS[0]) for variant in VARIANTS),
)


def settings(name: str, budget: Budget = BUDGET) -> dict[str, Any]:
    """All that decides the result of a run, as JSON gives it back."""
    system, budget = _parts(name, budget)
    return {**ALL[system].settings(budget), "mixed_precision": "bf16"}


class Sentences(Captions):
    """Captions as the runs of `raster` ask for them: new ones for ever, so none is held back."""

    held_back = None

    def with_rows(self, rows: Rows) -> "Sentences":
        """The same world with other rows to learn from."""
        other = copy.copy(self)
        other.rows = rows
        return other


def open_world(budget: Budget = BUDGET) -> Sentences:
    """The captions, with test rows that no seed of a run can change."""
    return Sentences(_with_seed(budget, 0))


def rows_of(seed: int) -> Rows:
    """All batches of one seed, in one order, however much chance a system uses besides."""
    stream = random_stream("face-off", "captions", seed)

    def rows(count: int, *, generator: torch.Generator) -> Int[Tensor, "b n"]:
        return caption_rows(count, generator=stream, composition=COMPOSITION)

    return rows


def measure(name: str, world: Sentences, budget: Budget = BUDGET) -> dict[str, Any]:
    """Train one run; then its bits on the test rows of `world`, and what it draws.

    `world` is that of `open_world` with the same budget; it serves all runs. The same name and
    budget give the same numbers but for the seconds, on one thread.
    """
    system, budget = _parts(name, budget)
    found = ALL[system].measure(name, world.with_rows(rows_of(budget.recipe.seed)), budget)
    return {**found, "settings": settings(name, budget)}


def _parts(name: str, budget: Budget) -> tuple[str, Budget]:
    _, system, seed = name.split("/")
    return system, _with_seed(budget, int(seed))


def _with_seed(budget: Budget, seed: int) -> Budget:
    return replace(budget, recipe=replace(budget.recipe, seed=seed))

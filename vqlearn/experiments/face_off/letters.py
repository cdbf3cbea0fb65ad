"""How many bits does a letter cost each family, where the truth is known?

Captions come letter by letter, and the entropy of their grammar is known exactly. On English text
the published order, fewest bits first, is: autoregressive, absorbing, nearest neighbour, uniform
(Austin et al. 2021, text8). Here all systems learn the same batches in the same order, have as many
weights but for 2 %, and are measured on the same test sequences, whatever the seed. The kernels
also learn with other weights of the auxiliary loss: with one seed only.

The bits of the raster transformer are exact, all others are bounds. Networks learn in bfloat16 and
are measured in float32.
"""

from dataclasses import asdict, dataclass
from typing import Any, ClassVar

import torch
from jaxtyping import Int
from torch import Tensor

from vqlearn.data import caption_rows
from vqlearn.experiments import sequences
from vqlearn.experiments.data import COMPOSITION, Budget, Captions
from vqlearn.experiments.face_off.training import SEEDS, run_id
from vqlearn.experiments.report import Run
from vqlearn.experiments.sequences import DEFAULT_AUXILIARY_WEIGHT
from vqlearn.experiments.systems import WITHOUT_TEXT
from vqlearn.probability import random_stream
from vqlearn.training import Recipe, Sequences, Size

DATA = "captions"
RECIPE = Recipe(steps=3000, batch_size=32, learning_rate=2e-3, ema_decay=0.99)
BUDGET = Budget(RECIPE, test_rows=360, samples=200)
OTHER_WEIGHTS = (0, 0.01)
WEIGHTS = sorted((DEFAULT_AUXILIARY_WEIGHT, *OTHER_WEIGHTS))
KERNELS = {
    "absorbing": "absorbing",
    "mask-and-replace": "mask_and_replace",
    "nearest-neighbour": "letter_neighbours",
    "uniform": "uniform",
}
NETWORKS = {
    "raster": ("RasterTransformer", {**asdict(Size(108, 3, 4)), **WITHOUT_TEXT}),
    "imagebart": ("ImageBART", {"num_scales": 2, **asdict(Size(60, 2, 4))}),
}
SYSTEMS = (*NETWORKS, *KERNELS)
"""In the published order; ImageBART and mask-and-replace are not in it, and stand between."""


@dataclass(frozen=True)
class LetterRun(Run):
    """A system with one seed: of its weights, its sequences and its noise."""

    run: sequences.SequenceRun
    seed: int
    measure_id: ClassVar[str] = "captions"
    data: ClassVar[str] = DATA

    @property
    def id(self) -> str:
        """Such as "captions/raster/0"."""
        return self.run.id

    @property
    def budget(self) -> Budget:
        """That of the run."""
        return self.run.budget

    def settings(self) -> dict[str, Any]:
        """All that decides the result."""
        weight = {}
        if isinstance(self.run, sequences.DiffusionRun):
            weight["auxiliary_weight"] = self.run.auxiliary_weight
        return {**self.run.settings(), **weight, "mixed_precision": "bf16"}

    def measure(self, data: Captions) -> sequences.Learned:
        """Learn this seed's batches; the test sequences are those of all seeds."""
        return self.run.measure(data, rows_of(self.seed))


def letter_runs(
    budget: Budget = BUDGET, size: sequences.DenoiserSize = sequences.DEFAULT_SIZE
) -> tuple[LetterRun, ...]:
    """Every system with every seed, then the kernels with other weights of the auxiliary loss."""
    main = [(system, seed, DEFAULT_AUXILIARY_WEIGHT) for system in SYSTEMS for seed in SEEDS]
    others = [(kernel, SEEDS[0], weight) for kernel in KERNELS for weight in OTHER_WEIGHTS]
    return tuple(
        LetterRun(sequence_run(system, weight, budget.with_seed(seed), size), seed)
        for system, seed, weight in (*main, *others)
    )


def sequence_run(
    system: str, auxiliary_weight: float, budget: Budget, size: sequences.DenoiserSize
) -> sequences.SequenceRun:
    """One system with the seed of the budget."""
    name = run_id(with_weight(system, auxiliary_weight), budget.recipe.seed)
    if system in NETWORKS:
        network, options = NETWORKS[system]
        return sequences.AutoregressiveRun(DATA, name, budget, options, network, bfloat16=True)
    options = {"num_neighbours": 4} if system == "nearest-neighbour" else {}
    how = {"size": size, "auxiliary_weight": auxiliary_weight}
    return sequences.DiffusionRun(DATA, name, budget, options, KERNELS[system], **how)


def with_weight(kernel: str, auxiliary_weight: float) -> str:
    """The name of a kernel that learns with this weight of the auxiliary loss."""
    is_default = auxiliary_weight == DEFAULT_AUXILIARY_WEIGHT
    return kernel if is_default else f"{kernel}-auxiliary-{auxiliary_weight:g}"


def rows_of(seed: int) -> Sequences:
    """All batches of one seed, in one order, however many random numbers a system uses besides."""
    stream = random_stream("face-off", "captions", seed)

    def rows(count: int, *, generator: torch.Generator) -> Int[Tensor, "b n"]:
        return caption_rows(count, generator=stream, composition=COMPOSITION)

    return rows

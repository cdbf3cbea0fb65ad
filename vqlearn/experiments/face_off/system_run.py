"""What all measures of a trained system share: its training, its id, its settings."""

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from torch import Tensor

from vqlearn.experiments.face_off.data import EvaluatedTokens
from vqlearn.experiments.face_off.training import FOLDER, RECIPE, Training
from vqlearn.experiments.runner import best_device
from vqlearn.experiments.sequences import count_weights
from vqlearn.experiments.systems import ALL, System
from vqlearn.probability import TokenModel
from vqlearn.training import Recipe

SEEDS = (0, 1, 2)
RASTER, DIFFUSION = "raster", "vq-diffusion"  # the two that are compared most closely
REFERENCES = (RASTER, DIFFUSION)
"""The models that read what a system sampled."""


@dataclass(frozen=True)
class Budget:
    """How much is measured, and of which trainings."""

    rows: int = 100
    recipe: Recipe = RECIPE
    folder: Path = FOLDER
    systems: Mapping[str, System] = field(default_factory=lambda: ALL)

    def training(self, system: str, seed: int) -> Training:
        """The training of a system with one seed."""
        return Training(system, seed, self.recipe, self.folder, self.systems)


BUDGET = Budget()


@dataclass(frozen=True)
class Trained:
    """A system after its training, the null embedding, and the number of all weights."""

    model: TokenModel
    null: Tensor
    weights: int


@dataclass(frozen=True)
class SystemRun:
    """One measure of one system with one seed."""

    system: str
    seed: int
    budget: Budget = BUDGET
    measure_id: ClassVar[str]
    result: ClassVar[type]
    data: ClassVar[str] = "tokens"

    @property
    def id(self) -> str:
        """Such as "quality/raster/0"."""
        return run_id(self.measure_id, self.system, self.seed)

    @property
    def device(self) -> str:
        """Systems learn and are measured on CUDA if there is a device."""
        return best_device()

    def settings(self) -> dict[str, Any]:
        """All that decides the result."""
        training = self.budget.training(self.system, self.seed).settings()
        return {"rows": self.budget.rows, **self.details(), "training": training}

    @abstractmethod
    def details(self) -> dict[str, Any]:
        """What is done with a system after its training, in the words of stored runs."""

    @abstractmethod
    def measure(self, data: EvaluatedTokens) -> Any:
        """The result, on the evaluated scenes."""

    def trained(self) -> Trained:
        """The system, from its kept weights."""
        return load(self.budget.training(self.system, self.seed))

    def reference_seed(self) -> int:
        """The seed of the reference models that read what this system sampled: the next one."""
        return (self.seed + 1) % len(SEEDS)

    def reference(self, system: str) -> TokenModel:
        """A model of this kind with the seed of references."""
        return load(self.budget.training(system, self.reference_seed())).model


def run_id(*parts: str | int) -> str:
    """The key of a run in the file."""
    return "/".join(map(str, parts))


def load(training: Training) -> Trained:
    """Everything that a measure needs of a training."""
    network = training.trained().network
    return Trained(network.model, network.null_text(1), count_weights(network))

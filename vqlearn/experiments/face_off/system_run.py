"""What all measures of a trained system share: its training, its id, its settings."""

from abc import abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

from vqlearn.experiments.face_off.training import BUDGET, Budget, Trained, Training
from vqlearn.experiments.report import Run
from vqlearn.experiments.runner import best_device

SEEDS = (0, 1, 2)
RASTER, DIFFUSION = "raster", "vq-diffusion"  # the two that are compared most closely
REFERENCES = (RASTER, DIFFUSION)
"""The models that read what a system sampled."""


@dataclass(frozen=True)
class SystemRun(Run):
    """One measure of one system with one seed."""

    system: str
    seed: int
    budget: Budget = BUDGET
    measure_id: ClassVar[str]
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
        training = Training(self.system, self.seed, self.budget).settings()
        return {"rows": self.budget.rows, **self.details(), "training": training}

    @abstractmethod
    def details(self) -> dict[str, Any]:
        """What is done with a system after its training, in the words of stored runs."""

    def trained(self) -> Trained:
        """The system, from its kept weights."""
        return Training(self.system, self.seed, self.budget).trained()

    def reference_seed(self) -> int:
        """The seed of the reference models that read what this system sampled: the next one."""
        return (self.seed + 1) % len(SEEDS)

    def reference(self, system: str) -> Trained:
        """A system of this kind with the seed of references."""
        return Training(system, self.reference_seed(), self.budget).trained()


def run_id(*parts: str | int) -> str:
    """The key of a run in the file."""
    return "/".join(map(str, parts))

"""Train a system once, and keep its weights; `SystemRun` is what all measures of it share.

Weights lie in `runs/face-off/<system>-<seed>/`. A training that was stopped goes on from its last
state; one that is finished is never repeated, unless what decides its result has changed.
"""

import json
import os
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

from safetensors import safe_open
from safetensors.torch import load_file, save_file

from vqlearn.experiments.data import recipe_settings
from vqlearn.experiments.report import Run
from vqlearn.experiments.runner import best_device, lock_for
from vqlearn.experiments.sequences import count_weights
from vqlearn.experiments.systems import ALL, System, fresh_task
from vqlearn.experiments.tokens import Trained
from vqlearn.training import Recipe, Task, fit, forget

SEEDS = (0, 1, 2)
RASTER, DIFFUSION = "raster", "vq-diffusion"  # the two that are compared most closely
REFERENCES = (RASTER, DIFFUSION)
"""The models that read what a system sampled."""
RECIPE = Recipe(steps=3000, batch_size=64, learning_rate=2e-3, ema_decay=0.99)


@dataclass(frozen=True)
class Budget:
    """How every system learns, where its weights lie, and on how many captions it is measured."""

    rows: int = 100
    recipe: Recipe = RECIPE
    folder: Path = Path("runs/face-off")
    systems: Mapping[str, System] = field(default_factory=lambda: ALL)


BUDGET = Budget()


@dataclass(frozen=True)
class Training:
    """One system, with one seed: of the images, their order, the noise and the weights."""

    system: str
    seed: int
    budget: Budget = BUDGET

    @property
    def recipe(self) -> Recipe:
        """The recipe of the budget with this seed."""
        return replace(self.budget.recipe, seed=self.seed)

    def settings(self) -> dict[str, Any]:
        """All that decides the weights."""
        system = self.budget.systems[self.system].settings()
        return {"contender": system, **recipe_settings(self.recipe), "mixed_precision": "bf16"}

    def trained(self) -> Trained:
        """The system after its training, on CUDA if there is a device.

        Its weights are the running mean, frozen.
        """
        folder = self.budget.folder / f"{self.system}-{self.seed}"
        file = folder / "weights.safetensors"
        with lock_for(file, "training"):
            if not file.exists() or settings_of(file) != self.settings():
                self._train(folder, file)
        network = self._task(folder).network
        network.load_state_dict(load_file(file))
        network.eval().requires_grad_(False)
        return Trained(network.model, network.null_text(1), count_weights(network))

    def _task(self, folder: Path) -> Task:
        system, cpu = self.budget.systems[self.system], best_device() == "cpu"
        return fresh_task(system, folder, self.recipe, cpu=cpu)

    def _train(self, folder: Path, file: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        task = self._task(folder)
        network = fit(self.system, task)
        unfinished = file.with_suffix(".unfinished")
        save_file(network.state_dict(), unfinished, {"settings": json.dumps(self.settings())})
        os.replace(unfinished, file)
        forget(folder, self.system)


def settings_of(file: Path) -> dict[str, Any]:
    """The settings that the stored weights were trained with."""
    with safe_open(file, "pt") as weights:
        return json.loads(weights.metadata()["settings"])


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

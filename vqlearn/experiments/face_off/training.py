"""Train a system once, and keep its weights: measurements come later, and often.

Weights lie in `runs/face-off/<system>-<seed>/`. A training that was stopped goes on from its last
state; one that is finished is never repeated, unless what decides its result has changed.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from accelerate import Accelerator
from accelerate.utils import set_seed
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from vqlearn.checkpoints import resolve
from vqlearn.data import Scenes
from vqlearn.experiments.identity import recipe_settings
from vqlearn.experiments.runner import best_device, lock_for
from vqlearn.experiments.systems import ALL, System
from vqlearn.training import Recipe, Run, Task, TrainingState, fit
from vqlearn.training.stages.order import copy_frozen_parts

COMPOSITION, IMAGE_SIZE = "seen", 32
RECIPE = Recipe(steps=3000, batch_size=64, learning_rate=2e-3, ema_decay=0.99)
FOLDER = Path("runs/face-off")


@dataclass(frozen=True)
class Training:
    """One system, with one seed: of the images, their order, the noise and the weights."""

    name: str
    seed: int
    recipe: Recipe = RECIPE
    folder: Path = FOLDER
    systems: Mapping[str, System] = field(default_factory=lambda: ALL)

    def settings(self) -> dict[str, Any]:
        """All that decides the weights."""
        recipe = recipe_settings(replace(self.recipe, seed=self.seed))
        system = self.systems[self.name].settings()
        return {"contender": system, **recipe, "mixed_precision": "bf16"}

    def trained(self) -> Task:
        """The task after its training: its network holds the running mean, frozen.

        It is on CUDA if there is a device.
        """
        folder = self.folder / f"{self.name}-{self.seed}"
        file = folder / "weights.safetensors"
        with lock_for(file, "training"):
            if self._made_by(file) != self.settings():
                self._train(folder, file)
        task = self._task(folder)
        task.network.load_state_dict(load_file(file))
        task.network.eval().requires_grad_(False)
        return task

    def _made_by(self, file: Path) -> dict[str, Any] | None:
        if not file.exists():
            return None
        with safe_open(file, "pt") as weights:
            return json.loads(weights.metadata()["settings"])

    def _task(self, folder: Path) -> Task:
        recipe = replace(self.recipe, seed=self.seed)
        source = Scenes(IMAGE_SIZE, COMPOSITION)
        accelerator = Accelerator(cpu=best_device() == "cpu", mixed_precision="bf16")
        set_seed(self.seed)
        return self.systems[self.name].task(Run(folder, source, recipe, accelerator))

    def _train(self, folder: Path, file: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        copy_frozen_parts(resolve("scenes"), folder)
        task = self._task(folder)
        network = fit(self.name, task, task.run)
        unfinished = file.with_suffix(".unfinished")
        save_file(network.state_dict(), unfinished, {"settings": json.dumps(self.settings())})
        os.replace(unfinished, file)
        TrainingState(folder, self.name, task.run.accelerator).forget()

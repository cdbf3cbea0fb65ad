"""The loop that all stages share: devices and processes, progress, a state on disk.

A killed training goes on from its last state. `accelerate` does devices, processes and mixed
precision; what a step does to the weights stands in `learner.py`.
"""

import copy
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.utils.data import DataLoader
from tqdm.auto import tqdm

from vqlearn.data import Batch, NumberedBatches, Source
from vqlearn.probability import random_stream
from vqlearn.training.learner import Learner
from vqlearn.training.recipes import Recipe
from vqlearn.training.state import TrainingState

SHOW_EVERY = 10


def best_accelerator(**options: Any) -> Accelerator:
    """On a GPU if there is one. (Without being told, accelerate joins no processes without GPU.)"""
    return Accelerator(cpu=not torch.accelerator.is_available(), **options)


@dataclass(frozen=True)
class Run:
    """What a stage is given: where it reads and writes, its data, its recipe, its processes.

    - `folder`: where the checkpoint grows.
    - `accelerator`: devices, processes, precision and curves; by default the best device.
    - `workers`: processes that load batches in advance.
    - `start_from`: a checkpoint. Its tokens and text encoder are used, and its denoiser learns on
      in the stage "diffusion".
    """

    folder: Path
    source: Source
    recipe: Recipe
    accelerator: Accelerator = field(default_factory=best_accelerator)
    workers: int = 0
    start_from: Path | None = None

    def noise(self, step: int) -> torch.Generator:
        """The random numbers of one step in this process, apart from its batch."""
        return random_stream("noise", self.recipe.seed, self.accelerator.process_index, step)

    def config(self) -> dict[str, Any]:
        """All that decides what comes out, as far as every stage has it; ready for JSON."""
        recipe = asdict(self.recipe)
        del recipe["save_every"]
        start = None if self.start_from is None else str(self.start_from)
        return {**recipe, "data": self.source.name, "start_from": start}


@runtime_checkable
class Task(Protocol):
    """What a stage tells the loop."""

    network: nn.Module
    muon_weights: list[nn.Parameter]
    """Weights of `network` that learn by Muon, the others by Adam."""
    config: dict[str, Any]
    """What the user chose for this stage: a stopped training goes on with the same only."""
    extra_state: list[Any]
    """Whatever learns besides `network`, with `state_dict` and `load_state_dict`."""

    def losses(self, network: nn.Module, batch: Batch, step: int) -> tuple[dict[str, Tensor], Any]:
        """Scalars to show, of which "loss" is minimised; and what `after_step` needs."""

    def after_step(self, step: int, seen: Any) -> None:
        """What learns without that gradient does so here, from what `losses` has seen."""


def fit(name: str, task: Task, run: Run) -> nn.Module:
    """Train `task.network` and return the running mean of its weights, on the CPU."""
    accelerator, recipe = run.accelerator, run.recipe
    learner = Learner.from_recipe(task.network.train(), task.muon_weights, recipe)
    network = learner.use(accelerator)
    accelerator.register_for_checkpointing(*learner.rates, learner.average, *task.extra_state)
    state = TrainingState(run.folder, name, accelerator)
    config = {**run.config(), **task.config}
    done = state.resume(config)
    with _progress(name, done, run) as bar:
        for step, batch in enumerate(_batches(run, done), start=done):
            shown, seen = task.losses(network, batch, step)
            learner.step(shown["loss"], after=partial(task.after_step, step, seen))
            _show(bar, shown, step, run, name)
            if (step + 1) % recipe.save_every == 0:
                state.save(step + 1, config)
    return copy.deepcopy(learner.average.module).cpu().eval()


def _batches(run: Run, done: int) -> DataLoader:
    accelerator, recipe = run.accelerator, run.recipe
    batches = NumberedBatches(run.source, recipe.batch_size, recipe.seed, accelerator.process_index)
    steps = range(done, recipe.steps)
    return DataLoader(batches, sampler=steps, batch_size=None, num_workers=run.workers)


def _progress(name: str, done: int, run: Run) -> tqdm:
    images = run.recipe.batch_size * run.accelerator.num_processes
    return tqdm(
        desc=name,
        initial=done * images,
        total=run.recipe.steps * images,
        unit=" images",
        unit_scale=True,
        disable=not run.accelerator.is_main_process,
    )


def _show(bar: tqdm, shown: dict[str, Tensor], step: int, run: Run, name: str) -> None:
    bar.update(run.recipe.batch_size * run.accelerator.num_processes)
    if step % SHOW_EVERY == 0:
        numbers = {key: value.item() for key, value in shown.items()}
        bar.set_postfix({key: f"{value:.4f}" for key, value in numbers.items()}, refresh=False)
        named = {f"{name}/{key}": value for key, value in numbers.items()}
        run.accelerator.log(named, step=step)

"""The loop that all three stages share.

Adam (and Muon, where a stage asks for it) with warm-up and cosine, clipped gradients, a running
mean of the weights, a progress bar, and a state on disk from which a killed training goes on.
`accelerate` does devices, processes and mixed precision.
"""

import copy
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR
from torch.optim.swa_utils import AveragedModel
from torch.utils.data import DataLoader
from tqdm.auto import tqdm

from vqlearn.data.batches import Batch, NumberedBatches, Source
from vqlearn.probability.random import random_stream
from vqlearn.training.optimizers import (
    CLIP_NORM,
    build_optimizers,
    running_mean,
    warm_up_and_cosine,
)
from vqlearn.training.recipes import Recipe
from vqlearn.training.state import TrainingState

SHOW_EVERY = 10


@dataclass(frozen=True)
class Run:
    """What a stage is given: where it reads and writes, its data, its recipe, its processes.

    `data` is the name under which the source was opened; `workers` load batches in advance;
    `start_from` is a checkpoint whose weights the last stage begins with.
    """

    folder: Path
    source: Source
    data: str
    recipe: Recipe
    accelerator: Accelerator
    workers: int = 0
    start_from: Path | None = None

    def noise(self, step: int) -> torch.Generator:
        """The chance of one step in this process, apart from its batch."""
        return random_stream("noise", self.recipe.seed, self.accelerator.process_index, step)

    def choices(self) -> dict[str, Any]:
        """All that decides what comes out, as far as every stage has it; ready for JSON."""
        recipe = asdict(self.recipe)
        del recipe["save_every"]
        start = None if self.start_from is None else str(self.start_from)
        return {**recipe, "data": self.data, "start_from": start}


@runtime_checkable
class Task(Protocol):
    """What a stage tells the loop."""

    network: nn.Module
    matrices: list[nn.Parameter]
    """Weights of `network` that learn by Muon, the others by Adam."""
    choices: dict[str, Any]
    """What the user chose for this stage: a stopped training goes on with the same only."""
    extra_state: list[Any]
    """Whatever learns besides `network`, with `state_dict` and `load_state_dict`."""

    def losses(self, network: nn.Module, batch: Batch, step: int) -> dict[str, Tensor]:
        """Scalars to show; the one named "loss" is minimised."""

    def after_step(self, step: int) -> None:
        """What learns without that gradient does so here."""


def fit(name: str, task: Task, run: Run) -> nn.Module:
    """Train `task.network` and return the running mean of its weights, on the CPU."""
    accelerator, recipe = run.accelerator, run.recipe
    weights = [weight for weight in task.network.parameters() if weight.requires_grad]
    optimizers = build_optimizers(weights, task.matrices, recipe)
    rates = [LambdaLR(each, lambda i: warm_up_and_cosine(i, recipe)) for each in optimizers]
    average = AveragedModel(task.network, multi_avg_fn=running_mean(recipe.ema_decay))
    network, *optimizers = accelerator.prepare(task.network.train(), *optimizers)
    accelerator.register_for_checkpointing(*rates, average, *task.extra_state)
    state = TrainingState(run.folder, name, accelerator)
    made_by = {**run.choices(), **task.choices}
    done = state.resume(made_by)
    with _progress(name, done, run) as bar:
        for step, batch in enumerate(_batches(run, done), start=done):
            losses = task.losses(network, batch, step)
            accelerator.backward(losses["loss"])
            accelerator.clip_grad_norm_(weights, CLIP_NORM)
            for each in (*optimizers, *rates):
                each.step()
            network.zero_grad()
            task.after_step(step)
            average.update_parameters(accelerator.unwrap_model(network))
            _show(bar, losses, step, run, name)
            if (step + 1) % recipe.save_every == 0:
                state.save(step + 1, made_by)
    return copy.deepcopy(average.module).cpu().eval()


def _batches(run: Run, done: int) -> DataLoader:
    accelerator, recipe = run.accelerator, run.recipe
    batches = NumberedBatches(run.source, recipe.batch_size, recipe.seed, accelerator.process_index)
    steps = range(done, recipe.steps)
    return DataLoader(batches, sampler=steps, batch_size=None, num_workers=run.workers)


def _progress(name: str, done: int, run: Run) -> tqdm:
    pictures = run.recipe.batch_size * run.accelerator.num_processes
    return tqdm(
        desc=name,
        initial=done * pictures,
        total=run.recipe.steps * pictures,
        unit=" images",
        unit_scale=True,
        disable=not run.accelerator.is_main_process,
    )


def _show(bar: tqdm, losses: dict[str, Tensor], step: int, run: Run, name: str) -> None:
    bar.update(run.recipe.batch_size * run.accelerator.num_processes)
    if step % SHOW_EVERY == 0:
        numbers = {key: value.item() for key, value in losses.items()}
        bar.set_postfix({key: f"{value:.4f}" for key, value in numbers.items()}, refresh=False)
        named = {f"{name}/{key}": value for key, value in numbers.items()}
        run.accelerator.log(named, step=step)

"""The loop that all stages share: devices and processes, progress, a state on disk.

A killed training goes on from its last state. `accelerate` does devices, processes and mixed
precision; what a step does to the weights stands in `learner.py`.
"""

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
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
from vqlearn.training.descent import NotFiniteError
from vqlearn.training.learner import Learner
from vqlearn.training.recipes import Recipe
from vqlearn.training.state import TrainingState

SHOW_EVERY = 10


def best_accelerator(**options: Any) -> Accelerator:
    """On a GPU if there is one, else on the CPU; several processes join there only if told so."""
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
        del recipe["save_every"]  # how often a state is written changes no weight
        return {
            **recipe,
            "data": self.source.name,
            "start_from": None if self.start_from is None else str(self.start_from),
            "processes": self.accelerator.num_processes,
        }


Losses = tuple[dict[str, Tensor], Any]
"""Numbers to show, of which "loss" is minimised; and what `Task.after_step` needs."""


@runtime_checkable
class Task(Protocol):
    """What a stage tells the loop."""

    run: Run
    network: nn.Module
    muon_weights: list[nn.Parameter]
    """Weights of `network` that learn by Muon, the others by Adam."""
    config: dict[str, Any]
    """What the user chose for this stage: a stopped training goes on with the same only."""
    extra_state: Sequence[Any] = ()
    """Whatever learns besides `network`, with `state_dict` and `load_state_dict`."""

    def losses(self, network: nn.Module, batch: Batch, step: int) -> Losses:
        """The losses of a batch, each a mean; `network` is `self.network` on all processes."""

    def after_step(self, step: int, seen: Any) -> None:
        """What learns without that gradient does so here, from what `losses` has seen."""

    def save(self, trained: nn.Module) -> None:
        """Write what was learnt to `run.folder`, as a part of its checkpoint."""


def fit(name: str, task: Task) -> nn.Module:
    """Train `task.network` and return the running mean of its weights, on the CPU.

    Raises `ValueError` in the step in which a loss, a gradient or a weight is not finite; nothing
    of it is written, and states from before stay.
    """
    run, accelerator, recipe = task.run, task.run.accelerator, task.run.recipe
    learner = Learner.from_recipe(task.network.train(), task.muon_weights, recipe)
    network = learner.use(accelerator)
    accelerator.register_for_checkpointing(*learner.rates, learner.average, *task.extra_state)
    state = TrainingState(run.folder, name, accelerator)
    config = {**run.config(), **task.config}
    done = state.resume(config)
    batches = NumberedBatches(run.source, recipe.batch_size, recipe.seed, accelerator.process_index)
    # Batches are numbered, so a resumed training sees the very ones that are left.
    left = range(done, recipe.steps)
    loader = DataLoader(batches, sampler=left, batch_size=None, num_workers=run.workers)
    with _progress(name, done, run) as bar, _telling_the_last_state(name, state):
        for step, batch in enumerate(loader, start=done):
            shown, seen = task.losses(network, batch, step)
            learner.step(shown, step + 1, after=partial(task.after_step, step, seen))
            bar.update()
            if step % SHOW_EVERY == 0:
                _show(bar, shown, step, run, name)
            if (step + 1) % recipe.save_every == 0:
                learner.mean(step + 1)  # raises if it is not finite: older states are better
                state.save(step + 1, config)
        return copy.deepcopy(learner.mean(recipe.steps)).cpu().eval()


@contextmanager
def _telling_the_last_state(name: str, state: TrainingState) -> Iterator[None]:
    try:
        yield
    except NotFiniteError as error:
        latest = state.latest()
        kept = f"the last state is {state.folder / str(latest)}" if latest else "no state is kept"
        raise NotFiniteError(f"{name}: {error}; {kept}") from error


def _progress(name: str, done: int, run: Run) -> tqdm:
    """A bar whose steps are shown as images of all processes."""
    images = run.recipe.batch_size * run.accelerator.num_processes
    bar = {"initial": done, "total": run.recipe.steps, "unit": " images", "unit_scale": images}
    return tqdm(desc=name, disable=not run.accelerator.is_main_process, **bar)


def _show(bar: tqdm, shown: dict[str, Tensor], step: int, run: Run, name: str) -> None:
    numbers = {key: value.item() for key, value in shown.items()}
    bar.set_postfix({key: f"{value:.4f}" for key, value in numbers.items()}, refresh=False)
    run.accelerator.log({f"{name}/{key}": value for key, value in numbers.items()}, step=step)

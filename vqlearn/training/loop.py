"""The loop that all stages share: devices and processes, progress, a state on disk.

A killed training goes on from its last state, and one that is asked to stop writes it first.
`accelerate` does devices, processes and mixed precision; what a step does to the weights stands in
`learner.py`.
"""

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from accelerate import Accelerator
from accelerate.utils import is_tensorboard_available
from torch import Tensor, nn
from torch.utils.data import DataLoader
from tqdm.auto import tqdm

from vqlearn.data import Batch, NumberedBatches, Source
from vqlearn.probability import random_stream
from vqlearn.probability.checks import check_integer, shown
from vqlearn.training import record
from vqlearn.training.descent import NotFiniteError
from vqlearn.training.interruption import (
    Interrupted,
    Interruption,
    leave_signals_to_the_main_process,
)
from vqlearn.training.learner import Learner
from vqlearn.training.preview import preview_batch, write_preview
from vqlearn.training.processes import in_main_process, largest
from vqlearn.training.recipes import Recipe
from vqlearn.training.state import Stateful, TrainingState

SHOW_EVERY = 10
MOST_WORKERS = 256


def best_accelerator(**options: Any) -> Accelerator:
    """On a GPU if there is one, else on the CPU; several processes join there only if told so.

    Raises `ValueError` for what this machine cannot do: float16 on a CPU, curves of TensorBoard
    where it is not installed.
    """
    if options.get("log_with") == "tensorboard" and not is_tensorboard_available():
        raise ValueError("tensorboard is not installed; allowed: after `pip install tensorboard`")
    accelerator = Accelerator(cpu=not torch.accelerator.is_available(), **options)
    if accelerator.mixed_precision == "fp16" and accelerator.device.type == "cpu":
        raise ValueError("mixed_precision is 'fp16'; allowed on a CPU: 'no', 'bf16'")
    return accelerator


def check_workers(workers: int) -> None:
    """Raise `TypeError` or `ValueError` for what is no number of processes."""
    check_integer("workers", workers, 0)
    if workers > MOST_WORKERS:
        raise ValueError(f"workers is {shown(workers)}; allowed: 0 to {MOST_WORKERS}")


@dataclass(frozen=True)
class Run:
    """What a stage is given: where it reads and writes, its data, its recipe, its processes.

    - `folder`: where the checkpoint grows.
    - `accelerator`: devices, processes, precision and curves; by default the best device.
    - `workers`: processes that load batches in advance.
    - `preview`: after how many steps a picture is written, and after the last; 0: none.
    - `start_from`: a checkpoint. Its tokens and text encoder are used, and its denoiser learns on
      in the stage "diffusion".
    """

    folder: Path
    source: Source
    recipe: Recipe
    accelerator: Accelerator = field(default_factory=best_accelerator)
    workers: int = 0
    start_from: Path | None = None
    preview: int = 0

    def __post_init__(self) -> None:
        check_workers(self.workers)
        check_integer("preview", self.preview, 0)

    def noise(self, step: int) -> torch.Generator:
        """The random numbers of one step in this process, apart from its batch."""
        return random_stream("noise", self.recipe.seed, self.accelerator.process_index, step)


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

    def begin(self) -> None:
        """What is computed once, in every process, before its first step."""

    def losses(self, network: nn.Module, batch: Batch, step: int) -> Losses:
        """The losses of a batch, each a mean; `network` is `self.network` on all processes."""

    def after_step(self, step: int, seen: Any) -> None:
        """What learns without that gradient does so here, from what `losses` has seen."""

    def preview(self, trained: nn.Module) -> Tensor | None:
        """Rows of as many images each, RGB in 0 to 1, that show what it can; None: nothing can."""
        return None

    def save(self, trained: nn.Module) -> None:
        """Write what was learnt to `run.folder`, as a part of its checkpoint."""

    def load(self) -> None:
        """Take over the weights that `save` has written, to learn on."""


def fit(name: str, task: Task) -> nn.Module:
    """Train `task.network` and return the running mean of its weights, on the CPU.

    Raises `ValueError` in the step in which a loss, a gradient or a weight is not finite; nothing
    of it is written, and states from before stay. Raises `Interrupted`, a `KeyboardInterrupt`,
    after Ctrl-C or SIGTERM: once the step is finished and the state saved, in all processes at the
    same step. A second Ctrl-C stops at once.
    """
    run, accelerator, recipe = task.run, task.run.accelerator, task.run.recipe
    learner = Learner.from_recipe(task.network.train(), task.muon_weights, recipe)
    network = learner.use(accelerator)
    state = TrainingState(run.folder, name, _all_that_learns(task, learner))
    config = record.choices(run, task.config)
    done = state.resume(config)
    task.begin()
    telling = _telling_the_last_state(name, state)
    with _progress(name, done, run) as bar, telling, Interruption() as interruption:
        for step, batch in enumerate(_batches(run, done), start=done):
            shown, seen = task.losses(network, batch, step)
            learner.step(shown, step + 1, after=partial(task.after_step, step, seen))
            bar.update()
            if step % SHOW_EVERY == 0:
                shown["learning_rate"] = torch.tensor(learner.rates[0].get_last_lr()[0])
                _show(bar, shown, step, run, name)
            asked = largest(accelerator, interruption.asked)
            if asked or (step + 1) % recipe.save_every == 0:
                learner.mean(step + 1)  # raises if it is not finite: older states are better
                in_main_process(accelerator, partial(state.save, step + 1, config))
            last = step + 1 == recipe.steps
            if run.preview and (last or (step + 1) % run.preview == 0):
                mean = learner.mean(step + 1)
                in_main_process(accelerator, partial(_preview, name, task, mean, step + 1))
            if asked:
                raise _interrupted(name, step + 1, run, asked)
        return copy.deepcopy(learner.mean(recipe.steps)).cpu().eval()


@contextmanager
def _telling_the_last_state(name: str, state: TrainingState) -> Iterator[None]:
    try:
        yield
    except NotFiniteError as error:
        latest = state.latest()
        kept = f"the last state is {state.folder / str(latest)}" if latest else "no state is kept"
        raise NotFiniteError(f"{name}: {error}; {kept}") from error


def _all_that_learns(task: Task, learner: Learner) -> dict[str, Stateful]:
    """The parts of a state. No random numbers: they follow from the number of the step."""
    optimizers = learner.descent.optimizers
    several = {"optimizer": optimizers, "rate": learner.rates, "extra": task.extra_state}
    parts = {f"{name}_{i}": part for name, parts in several.items() for i, part in enumerate(parts)}
    if (scaler := task.run.accelerator.scaler) is not None:  # of float16
        parts["scaler"] = scaler
    return {"network": learner.network, "average": learner.average, **parts}


def _batches(run: Run, done: int) -> DataLoader:
    """The batches that are left. They are numbered, so a resumed training sees the very ones."""
    recipe = run.recipe
    index = run.accelerator.process_index
    batches = NumberedBatches(run.source, recipe.batch_size, recipe.seed, index)
    return DataLoader(
        batches,
        sampler=range(done, recipe.steps),
        batch_size=None,
        num_workers=run.workers,
        worker_init_fn=leave_signals_to_the_main_process,
    )


def _interrupted(name: str, step: int, run: Run, asked: int) -> Interrupted:
    message = (
        f"{name}: stopped at step {step} of {run.recipe.steps}, and saved; "
        "the same command goes on from there"
    )
    return Interrupted(message if run.accelerator.is_main_process else "", asked)


@torch.no_grad()
def _preview(name: str, task: Task, mean: nn.Module, step: int) -> None:
    rows = task.preview(copy.deepcopy(mean).eval())
    if rows is not None:
        captions = preview_batch(task.run.source).captions
        write_preview(rows, captions, task.run.folder, name, step, task.run.accelerator)


def _progress(name: str, done: int, run: Run) -> tqdm:
    """A bar whose steps are shown as images of all processes."""
    images = run.recipe.batch_size * run.accelerator.num_processes
    bar = {"initial": done, "total": run.recipe.steps, "unit": " images", "unit_scale": images}
    return tqdm(desc=name, disable=not run.accelerator.is_main_process, **bar)


def _show(bar: tqdm, shown: dict[str, Tensor], step: int, run: Run, name: str) -> None:
    numbers = {key: value.item() for key, value in shown.items()}
    bar.set_postfix({key: f"{value:.4g}" for key, value in numbers.items()}, refresh=False)
    run.accelerator.log({f"{name}/{key}": value for key, value in numbers.items()}, step=step)

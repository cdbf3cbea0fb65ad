"""The plain trainer of any token model: no devices, no processes, no state on disk.

    trained = train(DiffusionModel(process, network), data.batch, recipe)
    bits_per_token(trained.model.nll(data.test), data.test.shape[1])

What takes minutes may start again. `loop.fit` is the same with all of these; what a step does to
the weights stands in `learner.py`.
"""

import copy
import math
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Int
from torch import Tensor, nn

from vqlearn.probability import TokenModel, random_stream
from vqlearn.training.learner import Learner
from vqlearn.training.optimizers import muon_weights
from vqlearn.training.recipes import Recipe

VALIDATE_EVERY = 100  # steps


@runtime_checkable
class Sequences(Protocol):
    """Where sequences come from, such as `Digits.batch`."""

    def __call__(self, count: int, *, generator: torch.Generator) -> Int[Tensor, "b n"]:
        """`count` random sequences; the same generator state gives the same."""


class Trained(NamedTuple):
    """A model with the running mean that is kept, and after how many steps it was the mean."""

    model: Any
    steps: int


def train(
    model: TokenModel,
    sequences: Sequences,
    recipe: Recipe,
    *,
    validation: Int[Tensor, "m n"] | None = None,
    stream: str = "sequences",
    bfloat16: bool = False,
) -> Trained:
    """Lower the mean `model.loss` and keep the running mean of the weights.

    Each step looks at `recipe.batch_size` sequences. Where these are few, a network soon overfits:
    with `validation`, sequences that are not among them, the mean with their lowest `nll` is kept
    (see `minimise`).

    The same model, sequences, recipe and `stream` give the same weights bit for bit on one thread;
    no other generator is touched. `stream` names the random numbers, so that what was trained once
    can be trained again. With `bfloat16` the networks compute in half precision while they learn:
    twice as fast where the CPU can do it, slower elsewhere. Weights stay float32. Raises as
    `minimise` does.
    """
    generator = random_stream(stream, recipe.seed)

    def loss() -> Tensor:
        x = sequences(recipe.batch_size, generator=generator)
        with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
            return model.loss(x, generator=generator).mean()

    def validate(mean: TokenModel) -> float:
        stream = random_stream("held back", recipe.seed)
        return mean.nll(validation, generator=stream).mean().item()

    return minimise(model.train(), loss, recipe, None if validation is None else validate)


def minimise(
    model: nn.Module,
    loss: Callable[[], Tensor],
    recipe: Recipe,
    validate: Callable[[nn.Module], float] | None = None,
) -> Trained:
    """Minimise the mean of `loss()` and keep the running mean of the model's weights, frozen.

    Without `validate` the last mean is kept. With it, `validate(mean)` is asked every 100 steps,
    and at the end; the mean with the lowest number is kept ("early stopping"). `model` is left
    with the last weights. Raises `ValueError` if a loss is not finite, with the number of the step.
    """
    learner = Learner.from_recipe(model, muon_weights(model), recipe)
    mean, lowest, kept = learner.average.module, math.inf, None
    for step in range(1, recipe.steps + 1):
        value = loss()
        if not value.isfinite():
            raise ValueError(f"the loss is {value.item()} in step {step}; allowed: finite numbers")
        learner.step(value)
        if validate is not None and (step == recipe.steps or step % VALIDATE_EVERY == 0):
            found = validate(mean)
            if found < lowest:
                lowest, kept = found, Trained(copy.deepcopy(mean), step)
    kept = kept or Trained(mean, recipe.steps)
    kept.model.eval().requires_grad_(False)
    return kept

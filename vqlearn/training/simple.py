"""The plain loop: no devices, no processes, no state on disk. What takes minutes may start again.

`loop.fit` is the same with all of these; what a step does to the weights stands in `learner.py`.
"""

import copy
import math
from collections.abc import Callable
from typing import NamedTuple

from torch import Tensor, nn

from vqlearn.training.learner import Learner
from vqlearn.training.optimizers import muon_weights
from vqlearn.training.recipes import Recipe

VALIDATE_EVERY = 100  # steps


class Trained(NamedTuple):
    """A network with the running mean that is kept, and after how many steps it was the mean."""

    network: nn.Module
    steps: int


def minimise(
    network: nn.Module,
    loss: Callable[[], Tensor],
    recipe: Recipe,
    validate: Callable[[nn.Module], float] | None = None,
) -> Trained:
    """Minimise the mean of `loss()` and keep the running mean of the weights, frozen.

    Without `validate` the last mean is kept. With it, `validate(mean)` is asked every 100 steps,
    and at the end; the mean with the lowest number is kept ("early stopping"). `network` is left
    with the last weights. Raises `ValueError` if a loss is not finite, with the number of the step.
    """
    learner = Learner.from_recipe(network, muon_weights(network), recipe)
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
    kept.network.eval().requires_grad_(False)
    return kept

"""The plain trainer of token models without captions: no devices, no processes, no state on disk.

    trained = train(DiffusionModel(process, network), data.batch, recipe)
    bits_per_token(trained.model.nll(data.test), data.test.shape[1])

What takes minutes may start again. `loop.fit` trains with captions, on several devices, and goes on
after a kill; what a step does to the weights stands in `learner.py`.
"""

import copy
import math
from typing import Any, NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Int
from torch import Tensor

from vqlearn.probability import TokenModel, random_stream
from vqlearn.training.descent import NotFiniteError
from vqlearn.training.learner import Learner
from vqlearn.training.optimizers import muon_weights
from vqlearn.training.recipes import Recipe


@runtime_checkable
class Sequences(Protocol):
    """Where sequences come from, such as `Digits.batch`."""

    def __call__(self, count: int, *, generator: torch.Generator) -> Int[Tensor, "b n"]:
        """`count` random sequences; the same generator state gives the same."""


class Validation(NamedTuple):
    """Sequences that nobody learns from, and after how many steps they are asked."""

    sequences: Int[Tensor, "m n"]
    every: int = 100


class Trained(NamedTuple):
    """A model whose weights are the running mean that is kept, and the step it was taken after."""

    model: Any
    steps: int


def train(
    model: TokenModel,
    sequences: Sequences,
    recipe: Recipe,
    *,
    validation: Validation | None = None,
    stream: str = "sequences",
    bfloat16: bool = False,
) -> Trained:
    """Lower the mean `model.loss` and keep the running mean of the weights.

    Each step looks at `recipe.batch_size` sequences. Without `validation` the last mean is kept.
    Where sequences are few, a network soon overfits: with `validation`, sequences that are not
    among them, the `nll` of the mean is taken every few steps and at the end, and the mean with the
    lowest is kept ("early stopping"). What is kept is frozen; `model` has the last weights.

    The same model, sequences, recipe and `stream` give the same weights bit for bit on one thread;
    no other generator is touched. `stream` names the random numbers, so that what was trained once
    can be trained again. With `bfloat16` the networks compute in half precision while they learn:
    twice as fast where the CPU can do it, slower elsewhere. Weights stay float32. Raises
    `ValueError`, with the number of the step, if a loss, a gradient or a weight is not finite.
    """
    generator = random_stream(stream, recipe.seed)
    learner = Learner.from_recipe(model.train(), muon_weights(model), recipe)
    mean, lowest, kept = learner.average.module.eval(), math.inf, None
    for step in range(1, recipe.steps + 1):
        x = sequences(recipe.batch_size, generator=generator)  # (b, n)
        with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
            loss = model.loss(x, generator=generator).mean()
        learner.step({"loss": loss}, step)
        if validation and (step == recipe.steps or step % validation.every == 0):
            same = random_stream("held back", recipe.seed)  # every mean is asked with one noise
            found = mean.nll(validation.sequences, generator=same).mean().item()
            if math.isnan(found):
                raise NotFiniteError(f"the validation NLL is {found} after step {step}")
            if found < lowest:
                lowest, kept = found, Trained(copy.deepcopy(mean), step)
    kept = kept or Trained(learner.mean(recipe.steps), recipe.steps)
    kept.model.eval().requires_grad_(False)
    return kept

"""Teach a network rows of tokens whose likelihood it knows: any autoregressive model, no text.

    kept = train_rows(network, autoregressive_nats, data.batch, recipe)
    bits_per_token(autoregressive_nats(kept.network, data.test), data.test.shape[1])

The optimizer is that of every stage (`minimise`).
"""

from collections.abc import Callable
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from vqlearn.autoregressive.imagebart import ImageBART
from vqlearn.autoregressive.model import AutoregressiveModel
from vqlearn.probability.random import random_stream
from vqlearn.training.recipes import Recipe
from vqlearn.training.simple import Trained, minimise


@runtime_checkable
class Rows(Protocol):
    """Where rows come from, such as `Digits.batch`."""

    def __call__(self, count: int, *, generator: torch.Generator) -> Int[Tensor, "b n"]:
        """`count` random rows; the same generator state gives the same."""


Nats = Callable[[nn.Module, Int[Tensor, "b n"], torch.Generator], Float[Tensor, " b"]]
"""nats(network, x, chance): how surprising is each row, exactly or at most?"""


def autoregressive_nats(
    network: AutoregressiveModel, x: Int[Tensor, "b n"], generator: torch.Generator | None = None
) -> Float[Tensor, " b"]:
    r"""$-\log p(x)$ of each row, exactly, in one call: nothing is left to chance."""
    return -network.log_likelihood(x)


def imagebart_nats(
    network: ImageBART, x: Int[Tensor, "b n"], generator: torch.Generator
) -> Float[Tensor, " b"]:
    """The bound of an ImageBART, estimated with one draw at every scale."""
    return x.shape[1] * network.loss(x, generator=generator)


def train_rows(
    network: nn.Module,
    nats: Nats,
    rows: Rows,
    recipe: Recipe,
    *,
    held_back: Int[Tensor, "m n"] | None = None,
) -> Trained:
    """Minimise the mean nats of a token; keep the running mean of the weights.

    Each step looks at `recipe.batch_size` rows. Where rows are few, a network soon knows them by
    heart, and rows that it has not seen cost more again. With `held_back`, rows that are not among
    those learnt, the mean is kept at which these cost least.

    The same network, rows and recipe give the same weights bit for bit on one thread; no other
    generator is touched. Raises as `minimise` does.
    """
    generator = random_stream("rows", recipe.seed)

    def loss() -> Tensor:
        x = rows(recipe.batch_size, generator=generator)
        return nats(network, x, generator).mean() / x.shape[1]

    @torch.no_grad()
    def validate(mean: nn.Module) -> float:
        return nats(mean, held_back, random_stream("held back", recipe.seed)).mean().item()

    return minimise(network, loss, recipe, None if held_back is None else validate)

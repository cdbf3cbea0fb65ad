"""Networks of `raster` that learn rows without text: digits and RGB images."""

import math
import os
import platform
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from vqlearn.autoregressive.pixel_config import PixelConfig
from vqlearn.experiments.autoregressive.data import Budget
from vqlearn.experiments.identity import Named
from vqlearn.probability.model import TokenModel
from vqlearn.probability.random import random_stream
from vqlearn.training.rows import Nats, Rows, autoregressive_nats, train_rows

Draw = Callable[[nn.Module, int, torch.Generator], Int[Tensor, "b n"]]
"""draw(network, count, chance): so many rows of the network."""


class PixelWorld(Protocol):
    """Square images to learn from and to measure on, as rows; see `family_worlds.World`.

    `held_back` says when to stop; None where images never end.
    """

    num_codes: int
    channels: int
    num_samples: int
    rows: Rows
    held_back: Int[Tensor, "m n"] | None
    test: Int[Tensor, "b n"]

    def bits(self, nats: Float[Tensor, " b"]) -> dict[str, Any]: ...

    def samples(self, rows: Int[Tensor, "b n"]) -> dict[str, Any]: ...


def drawn(network: TokenModel, count: int, generator: torch.Generator) -> Int[Tensor, "b n"]:
    """The network's own way: with a KV cache where it has one."""
    return network.sample(count, generator=generator)


by_cache = from_noise = drawn


def machine() -> str:
    """On what were the seconds counted?"""
    return f"{platform.machine()}, {os.cpu_count()} cores, {torch.get_num_threads()} in use"


def count_weights(network: nn.Module) -> int:
    """All numbers that a network has learnt."""
    return sum(weight.numel() for weight in network.parameters())


@dataclass(frozen=True)
class RowRun:
    """A network and its config, the options that give its size, its bits, and how it draws.

    `learning_rate` is that of the budget unless it is given: what suits Muon is slow for a network
    of convolutions, which has Adam alone.
    """

    network: Named
    config: type
    options: dict[str, Any] = field(default_factory=dict)
    nats: Nats = autoregressive_nats
    draw: Draw = drawn
    learning_rate: float | None = None

    def settings(self, budget: Budget) -> dict[str, Any]:
        """All that decides the result."""
        budget = self.with_own_rate(budget)
        return {"network": self.network.id, "options": self.options, **budget.settings()}

    def with_own_rate(self, budget: Budget) -> Budget:
        """The budget with the learning rate of this run."""
        rate = self.learning_rate or budget.recipe.learning_rate
        return replace(budget, recipe=replace(budget.recipe, learning_rate=rate))

    def build(self, world: PixelWorld) -> nn.Module:
        """A fresh network for the rows of this world; its weights come from torch's generator."""
        shape = {"num_positions": world.test.shape[1]}
        if issubclass(self.config, PixelConfig):
            side = math.isqrt(world.test.shape[1] // world.channels)
            shape = {"side": side, "channels": world.channels}
        return self.network(self.config(num_codes=world.num_codes, **shape, **self.options))

    def measure(self, name: str, world: PixelWorld, budget: Budget) -> dict[str, Any]:
        """Train, then measure on the test rows, then draw."""
        recipe, begin = self.with_own_rate(budget).recipe, time.process_time()
        seed = recipe.seed
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            network = self.build(world)
        network, steps = train_rows(
            network, self.nats, world.rows, recipe, held_back=world.held_back
        )
        trained = time.process_time()
        rows = self.draw(network, world.num_samples, random_stream("raster", "rows", name, seed))
        drawn = time.process_time()
        with torch.no_grad():
            nats = self.nats(network, world.test, random_stream("raster", "bits", name, seed))
        return {
            "settings": self.settings(budget),
            "weights": count_weights(network),
            "steps_kept": steps,
            **world.bits(nats),
            "seconds": {"training": round(trained - begin), "drawing": round(drawn - trained, 2)},
            "machine": machine(),
            "samples": world.samples(rows),
        }

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

from vqlearn.autoregressive import model as raster
from vqlearn.autoregressive.cache import CachedDecoder
from vqlearn.autoregressive.imagebart import ImageBART
from vqlearn.autoregressive.pixel_config import PixelConfig
from vqlearn.autoregressive.raster_transformer import RasterTransformer
from vqlearn.experiments.autoregressive.data import Budget
from vqlearn.experiments.identity import Named
from vqlearn.probability.log_probs import log_normalise
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


def by_rereading(network: nn.Module, count: int, generator: torch.Generator) -> Int[Tensor, "b n"]:
    """The network reads the whole row again for every token."""
    n = network.config.num_positions
    distribution = raster.without_cache(lambda x: log_normalise(network(x)), n)
    return raster.sample(distribution, empty_rows(count), n, generator=generator)


def by_cache(
    network: RasterTransformer, count: int, generator: torch.Generator
) -> Int[Tensor, "b n"]:
    """The network reads every token once."""
    n = network.config.num_positions
    return raster.sample(CachedDecoder(network), empty_rows(count), n, generator=generator)


def from_noise(network: ImageBART, count: int, generator: torch.Generator) -> Int[Tensor, "b n"]:
    """Scale by scale, each with a cache."""
    return network.sample((count, network.config.num_positions), generator=generator)


def machine() -> str:
    """On what were the seconds counted?"""
    return f"{platform.machine()}, {os.cpu_count()} cores, {torch.get_num_threads()} in use"


def empty_rows(count: int) -> Int[Tensor, "b 0"]:
    """So many rows of which nothing is known."""
    return torch.zeros(count, 0, dtype=torch.long)


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
    draw: Draw = by_rereading
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

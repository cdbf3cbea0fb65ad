"""Runs that learn sequences without text: train a network, measure its bits, look at samples.

Seconds are processor time, so that other work on the machine does not count; those of sampling are
for all samples of a run together.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import torch
from torch import nn

from vqlearn.autoregressive.pixel_config import PixelConfig
from vqlearn.diffusion import DiffusionModel, Process, prior_term
from vqlearn.experiments.data import Budget, SequenceData
from vqlearn.experiments.identity import Named
from vqlearn.experiments.processes import Codes
from vqlearn.experiments.report import Samples
from vqlearn.experiments.systems import CONFIGS, DENOISERS
from vqlearn.probability import Bits, bits_per_token, random_stream
from vqlearn.training import train
from vqlearn.transformer import SequenceConfig

DEFAULT_AUXILIARY_WEIGHT = 5e-4


@dataclass(frozen=True)
class Learned:
    """What a network that learnt sequences needs on the test sequences, and what it samples.

    `bits` are in the unit of the data, the whole bound or exactly; `prior_bits_per_position` is
    the part of the bound that no training changes. `steps_kept`: of which step the weights are.
    """

    weights: int
    bits: Bits
    samples: Samples
    bits_per_position: Bits | None = None
    bits_above_floor: Bits | None = None
    prior_bits_per_position: float | None = None
    steps_kept: int | None = None
    training_seconds: int | None = None
    sampling_seconds: float | None = None


@dataclass(frozen=True)
class DenoiserSize:
    """The levels of a diffusion and the size of its network."""

    num_timesteps: int = 100
    width: int = 96
    num_layers: int = 3
    num_heads: int = 4

    def settings(self) -> dict[str, int]:
        """In the words of stored runs."""
        return {
            "num_timesteps": self.num_timesteps,
            "width": self.width,
            "num_layers": self.num_layers,
            "num_heads": self.num_heads,
        }


DEFAULT_SIZE = DenoiserSize()


@dataclass(frozen=True)
class DiffusionRun:
    """A process with its options, and the network that learns its reverse."""

    data: str
    name: str
    process: Named
    budget: Budget
    options: dict[str, Any] = field(default_factory=dict)
    network: Named = DENOISERS["SequenceDenoiser"]
    size: DenoiserSize = DEFAULT_SIZE
    auxiliary_weight: float = DEFAULT_AUXILIARY_WEIGHT
    device: ClassVar[str] = "cpu"
    result: ClassVar[type] = Learned

    @property
    def id(self) -> str:
        """Such as "captions/absorbing"."""
        return f"{self.data}/{self.name}"

    def settings(self) -> dict[str, Any]:
        """All that decides the result."""
        parts = {"kernel": self.process.id, "network": self.network.id}
        options = {name: _as_json(value) for name, value in self.options.items()}
        return {**parts, "options": options, **self.budget.settings(), **self.size.settings()}

    def build_process(self, data: SequenceData) -> Process:
        """The process for the codes of this data."""
        return self.process(Codes(data.num_codes, self.size.num_timesteps), **self.options)

    def build(self, data: SequenceData, process: Process) -> nn.Module:
        """A fresh network; the seed decides its weights."""
        config = SequenceConfig(
            num_codes=data.num_codes,
            num_classes=process.num_classes,
            num_positions=data.test.shape[1],
            **self.size.settings(),
        )
        return _seeded(lambda: self.network(config), self.budget.recipe.seed)

    def measure(self, data: SequenceData) -> Learned:
        """Train, then the bound on the test sequences, then samples."""
        recipe, process = self.budget.recipe, self.build_process(data)
        network = self.build(data, process)
        model = DiffusionModel(process, network, auxiliary_weight=self.auxiliary_weight)
        model = train(model, data.rows, recipe, bfloat16=True).model
        generator = random_stream("family", "bound", self.id, recipe.seed)
        nll = model.nll(data.test, generator=generator)
        prior = bits_per_token(prior_term(process, data.test).sum(dim=1), model.num_positions)
        generator = random_stream("family", "samples", self.id, recipe.seed)
        drawn = model.sample(data.num_samples, generator=generator)
        return Learned(
            weights=count_weights(model),
            samples=data.samples(drawn),
            prior_bits_per_position=round(prior.mean, 6),
            **data.bits(nll),
        )


@dataclass(frozen=True)
class AutoregressiveRun:
    """A network that writes one token after the other, with the options that give its size."""

    data: str
    name: str
    network: Named
    options: dict[str, Any]
    budget: Budget
    bfloat16: bool = False
    device: ClassVar[str] = "cpu"
    result: ClassVar[type] = Learned

    @property
    def id(self) -> str:
        """Such as "digits/pixelcnn"."""
        return f"{self.data}/{self.name}"

    def settings(self) -> dict[str, Any]:
        """All that decides the result."""
        return {"network": self.network.id, "options": self.options, **self.budget.settings()}

    def build(self, data: SequenceData) -> nn.Module:
        """A fresh network for the sequences of this data; the seed decides its weights."""
        config, shape = CONFIGS[self.network.id], {"num_positions": data.test.shape[1]}
        if issubclass(config, PixelConfig):
            side = math.isqrt(data.test.shape[1] // data.channels)
            shape = {"side": side, "channels": data.channels}
        config = config(num_codes=data.num_codes, **shape, **self.options)
        return _seeded(lambda: self.network(config), self.budget.recipe.seed)

    def measure(self, data: SequenceData) -> Learned:
        """Train, then sample, then measure on the test sequences."""
        recipe, begin = self.budget.recipe, time.process_time()
        model, steps = train(
            self.build(data),
            data.rows,
            recipe,
            validation=data.held_back,
            stream="rows",
            bfloat16=self.bfloat16,
        )
        training = time.process_time() - begin
        generator = random_stream("raster", "rows", self.id, recipe.seed)
        drawn = model.sample(data.num_samples, generator=generator)
        sampling = time.process_time() - begin - training
        generator = random_stream("raster", "bits", self.id, recipe.seed)
        nll = model.nll(data.test, generator=generator)
        return Learned(
            weights=count_weights(model),
            samples=data.samples(drawn),
            steps_kept=steps,
            training_seconds=round(training),
            sampling_seconds=round(sampling, 2),
            **data.bits(nll),
        )


SequenceRun = DiffusionRun | AutoregressiveRun


def with_rate(budget: Budget, learning_rate: float) -> Budget:
    """The budget with another learning rate: what suits Muon is slow for a network of convolutions.

    Those have Adam alone.
    """
    return replace(budget, recipe=replace(budget.recipe, learning_rate=learning_rate))


def count_weights(network: nn.Module) -> int:
    """All numbers that a network has learnt."""
    return sum(weight.numel() for weight in network.parameters())


def _seeded(make: Callable[[], nn.Module], seed: int) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return make()


def _as_json(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value

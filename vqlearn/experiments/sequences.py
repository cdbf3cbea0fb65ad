"""Runs that learn sequences without text: train a network, measure its bits, look at samples.

Seconds are processor time, so that other work on the machine does not count; those of sampling are
for all samples of a run together.
"""

import math
import time
from abc import abstractmethod
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

import torch
from jaxtyping import Int
from torch import Tensor, nn

from vqlearn.autoregressive.pixel_config import PixelConfig
from vqlearn.diffusion import DiffusionModel, prior_term
from vqlearn.experiments.data import Budget, SequenceData
from vqlearn.experiments.processes import PROCESSES, Codes
from vqlearn.experiments.report import Run, Samples
from vqlearn.experiments.systems import AUTOREGRESSIVE, DENOISERS
from vqlearn.probability import Bits, TokenModel, bits_per_token, random_stream
from vqlearn.training import Sequences, train
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
class SequenceRun(Run):
    """A network that learns a data set; `options` are what it or its process is made with."""

    data: str
    name: str
    budget: Budget
    options: dict[str, Any]
    streams: ClassVar[tuple[str, tuple[str, ...], tuple[str, ...]]]
    """What seeds the random numbers of training, sampling and measuring: never changed."""

    @property
    def id(self) -> str:
        """Such as "captions/absorbing"."""
        return f"{self.data}/{self.name}"

    @abstractmethod
    def fresh(self, data: SequenceData) -> TokenModel:
        """A model for the sequences of this data, with weights that nobody has trained."""

    def build(self, data: SequenceData) -> TokenModel:
        """The same; the seed decides its weights."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.budget.recipe.seed)
            return self.fresh(data)

    def measure(self, data: SequenceData, rows: Sequences | None = None) -> Learned:
        """Train, then sample, then measure on the test sequences.

        It learns from the sequences of the data, or from these.
        """
        recipe, (stream, samples, bits) = self.budget.recipe, self.streams
        how = {"validation": data.validation, "stream": stream, "bfloat16": self.bfloat16}
        begin = time.process_time()
        model, steps = train(self.build(data), rows or data.rows, recipe, **how)
        training = time.process_time() - begin
        generator = random_stream(*samples, self.id, recipe.seed)
        x = model.sample(data.num_samples, generator=generator)
        sampling = time.process_time() - begin - training
        nll = model.nll(data.test, generator=random_stream(*bits, self.id, recipe.seed))
        return Learned(
            weights=count_weights(model),
            samples=data.samples(x),
            prior_bits_per_position=prior_bits(model, data.test),
            steps_kept=steps,
            training_seconds=round(training),
            sampling_seconds=round(sampling, 2),
            **data.bits(nll),
        )


@dataclass(frozen=True)
class DenoiserSize:
    """The levels of a diffusion and the size of its network."""

    num_timesteps: int = 100
    width: int = 96
    num_layers: int = 3
    num_heads: int = 4


DEFAULT_SIZE = DenoiserSize()


@dataclass(frozen=True)
class DiffusionRun(SequenceRun):
    """A process, made with the options, and the network that learns its reverse."""

    process: str
    network: str = "SequenceDenoiser"
    size: DenoiserSize = DEFAULT_SIZE
    auxiliary_weight: float = DEFAULT_AUXILIARY_WEIGHT
    bfloat16: ClassVar[bool] = True
    streams: ClassVar = ("sequences", ("family", "samples"), ("family", "bound"))

    def settings(self) -> dict[str, Any]:
        """All that decides the result."""
        parts = {"kernel": self.process, "network": self.network, "options": self.options}
        return {**parts, **self.budget.settings(), **asdict(self.size)}

    def fresh(self, data: SequenceData) -> DiffusionModel:
        codes = Codes(data.num_codes, self.size.num_timesteps)
        process = PROCESSES[self.process](codes, **self.options)
        config = SequenceConfig(
            num_codes=data.num_codes,
            num_classes=process.num_classes,
            num_positions=data.test.shape[1],
            **asdict(self.size),
        )
        network = DENOISERS[self.network](config)
        return DiffusionModel(process, network, auxiliary_weight=self.auxiliary_weight)


@dataclass(frozen=True)
class AutoregressiveRun(SequenceRun):
    """A network that writes one token after the other; the options give its size."""

    network: str
    bfloat16: bool = False
    streams: ClassVar = ("rows", ("raster", "rows"), ("raster", "bits"))

    def settings(self) -> dict[str, Any]:
        """All that decides the result."""
        return {"network": self.network, "options": self.options, **self.budget.settings()}

    def fresh(self, data: SequenceData) -> nn.Module:
        network, config = AUTOREGRESSIVE[self.network]
        shape = {"num_positions": data.test.shape[1]}
        if issubclass(config, PixelConfig):
            side = math.isqrt(data.test.shape[1] // data.channels)
            shape = {"side": side, "channels": data.channels}
        return network(config(num_codes=data.num_codes, **shape, **self.options))


def prior_bits(model: TokenModel, x: Int[Tensor, "b n"]) -> float | None:
    """Bits for each position that the last level of a diffusion still tells of these sequences."""
    if not isinstance(model, DiffusionModel):
        return None
    nats = prior_term(model.process, x).sum(dim=1)
    return round(bits_per_token(nats, x.shape[1]).mean, 6)


def count_weights(network: nn.Module) -> int:
    """All numbers that a network has learnt."""
    return sum(weight.numel() for weight in network.parameters())

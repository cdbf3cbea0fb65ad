"""Does a system go astray on its own? A second model reads what it samples, and the true data.

A network that learns with true tokens before it ("teacher forcing") meets its own when it samples:
that is exposure bias. If errors add up, its sequences become less likely the further they go: a
reference model, trained with another seed, needs more bits for them than for true ones, and most
for the last tokens.

A sequence may also be unlikely for another reason: its image shows something else than the
caption. `BitsByCorrectnessRun` keeps such sequences apart.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from vqlearn.autoregressive import AutoregressiveModel
from vqlearn.experiments.face_off.data import EvaluatedTokens, Examples, by_grid_row
from vqlearn.experiments.face_off.quality import nll, sample_all
from vqlearn.experiments.face_off.system_run import RASTER, REFERENCES, SystemRun, Trained
from vqlearn.experiments.report import DIGITS, rounded
from vqlearn.probability import Bits, Sampling, TokenModel, bits_per_token, random_stream

OWN = Sampling(num_inference_steps=100)
"""How a system samples its own sequences: its distribution as it is, as many steps as there are."""


@dataclass(frozen=True)
class ReferenceBits:
    """Bits per token of a reference model, of true sequences and of sampled ones.

    A raster network also gives them for each row of the grid, from the top.
    """

    data: Bits
    own: Bits
    data_by_row: tuple[float, ...] | None = None
    own_by_row: tuple[float, ...] | None = None


@dataclass(frozen=True)
class ExposureBias:
    """By reference model."""

    by_reference: dict[str, ReferenceBits]


class ExposureBiasRun(SystemRun):
    """What models of the next seed make of what it sampled."""

    measure_id: ClassVar[str] = "forcing"
    result: ClassVar[type] = ExposureBias

    def details(self) -> dict[str, Any]:
        return {
            "calls": OWN.num_inference_steps,
            "judges": dict.fromkeys(REFERENCES, self.reference_seed()),
        }

    def measure(self, data: EvaluatedTokens) -> ExposureBias:
        references = {name: self.reference(name) for name in REFERENCES}
        return measure_exposure_bias(self.trained(), data, references)


@dataclass(frozen=True)
class SequenceBits:
    """So many sequences, and their bits per token; of fewer than two only the number is known."""

    sequences: int
    bits_per_token: Bits | None = None
    median_bits_per_token: float | None = None


@dataclass(frozen=True)
class BitsByCorrectness:
    """Of true sequences, and of sampled ones that show their caption or do not."""

    true: SequenceBits
    right: SequenceBits
    wrong: SequenceBits


class BitsByCorrectnessRun(SystemRun):
    """What a raster network makes of sampled sequences, right ones and wrong ones apart."""

    measure_id: ClassVar[str] = "strangeness"
    result: ClassVar[type] = BitsByCorrectness

    def details(self) -> dict[str, Any]:
        return {"calls": OWN.num_inference_steps, "judge": self.reference_seed()}

    def measure(self, data: EvaluatedTokens) -> BitsByCorrectness:
        return measure_bits_by_correctness(self.trained(), data, self.reference(RASTER))


def measure_exposure_bias(
    trained: Trained, data: EvaluatedTokens, references: Mapping[str, TokenModel]
) -> ExposureBias:
    """Bits of a token to every reference, of true sequences and of sampled ones."""
    examples = data.examples["seen"]
    own, found = own_sequences(trained, examples), {}
    for name, reference in references.items():
        by_row = {}
        if isinstance(reference, AutoregressiveModel):
            by_row["data_by_row"] = bits_by_grid_row(reference, examples)
            by_row["own_by_row"] = bits_by_grid_row(reference, own)
        found[name] = ReferenceBits(
            reference_bits(reference, examples), reference_bits(reference, own), **by_row
        )
    return ExposureBias(found)


def own_sequences(trained: Trained, examples: Examples) -> Examples:
    """What a system samples from its distribution as it is, after the captions of the examples."""
    sampled = sample_all(trained, examples, OWN, random_stream("face-off", "own rows"))
    return Examples(sampled, examples.captions, examples.text)


def reference_bits(reference: TokenModel, examples: Examples) -> Bits:
    """Bits per token of these sequences."""
    cost = nll(reference, examples, random_stream("face-off", "judge"))
    return rounded(bits_per_token(cost, examples.x.shape[1]))


def measure_bits_by_correctness(
    trained: Trained, data: EvaluatedTokens, reference: TokenModel
) -> BitsByCorrectness:
    """Bits of a token to a reference model, of each kind of sequences."""
    examples = data.examples["seen"]
    own = own_sequences(trained, examples)
    right = data.shows(own.x, own.captions)
    true, sampled = (
        nll(reference, each, random_stream("face-off", "judge")) for each in (examples, own)
    )
    n = own.x.shape[1]
    return BitsByCorrectness(
        _summary(true, n), _summary(sampled[right], n), _summary(sampled[~right], n)
    )


@torch.no_grad()
def bits_by_grid_row(reference: AutoregressiveModel, examples: Examples) -> tuple[float, ...]:
    """Bits of a token in each row of the grid, from the top."""
    log_p = torch.cat([reference.log_probs(*part) for part in examples.split()])  # (b, n, K)
    nats = -log_p.gather(-1, examples.x[..., None])[..., 0]
    return by_grid_row(nats / math.log(2))


def _summary(nll: Float[Tensor, " b"], n: int) -> SequenceBits:
    if len(nll) < 2:
        return SequenceBits(len(nll))
    median = nll.double().median().item() / n / math.log(2)
    return SequenceBits(len(nll), rounded(bits_per_token(nll, n)), round(median, DIGITS))

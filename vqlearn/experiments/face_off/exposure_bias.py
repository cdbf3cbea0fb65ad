"""Does a system go astray on its own? A reference model reads its samples, and data.

A network that learns with true tokens before it ("teacher forcing") meets its own when it samples:
that is exposure bias. If errors add up, its sequences become less likely the further they go: a
reference model, trained with another seed, needs more bits for them than for true ones, and most
for the last tokens.

A sequence may also be unlikely for another reason: its image shows something else than the
caption. `BitsByCorrectnessRun` keeps such sequences apart.
"""

import math
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from vqlearn.autoregressive import AutoregressiveModel
from vqlearn.experiments.face_off.training import RASTER, REFERENCES, SystemRun, Trained
from vqlearn.experiments.report import DIGITS, rounded
from vqlearn.experiments.tokens import EvaluatedTokens, Examples, by_grid_row
from vqlearn.probability import Bits, Conditioning, Sampling, bits_per_token, random_stream

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


class ExposureBiasRun(SystemRun):
    """What models of the next seed make of what it sampled, by reference model."""

    measure_id: ClassVar[str] = "forcing"

    def details(self) -> dict[str, Any]:
        judges = dict.fromkeys(REFERENCES, self.reference_seed())
        return {"calls": OWN.num_inference_steps, "judges": judges}

    def measure(self, data: EvaluatedTokens) -> dict[str, ReferenceBits]:
        true, found = data.examples["seen"], {}
        own = own_sequences(self.trained(), true)
        for name in REFERENCES:
            reference = self.reference(name)
            bits = [
                rounded(bits_per_token(reference_nll(reference, each), each.x.shape[1]))
                for each in (true, own)
            ]
            if isinstance(reference.model, AutoregressiveModel):
                bits += [bits_by_grid_row(reference.model, each) for each in (true, own)]
            found[name] = ReferenceBits(*bits)
        return found


@dataclass(frozen=True)
class SequenceBits:
    """So many sequences, and their bits per token; of fewer than two only the number is known."""

    sequences: int
    bits_per_token: Bits | None = None
    median_bits_per_token: float | None = None

    @classmethod
    def of(cls, nll: Float[Tensor, " b"], n: int) -> "SequenceBits":
        """From the nats of sequences of n tokens."""
        if len(nll) < 2:
            return cls(len(nll))
        median = nll.double().median().item() / n / math.log(2)
        return cls(len(nll), rounded(bits_per_token(nll, n)), round(median, DIGITS))


@dataclass(frozen=True)
class BitsByCorrectness:
    """Of true sequences, and of sampled ones that show their caption or do not."""

    true: SequenceBits
    right: SequenceBits
    wrong: SequenceBits


class BitsByCorrectnessRun(SystemRun):
    """The bits of sampled sequences by whether they show their caption: a raster reference."""

    measure_id: ClassVar[str] = "strangeness"

    def details(self) -> dict[str, Any]:
        return {"calls": OWN.num_inference_steps, "judge": self.reference_seed()}

    def measure(self, data: EvaluatedTokens) -> BitsByCorrectness:
        examples, reference = data.examples["seen"], self.reference(RASTER)
        own = own_sequences(self.trained(), examples)
        true, sampled = (reference_nll(reference, each) for each in (examples, own))
        right = data.shows(own.x, own.captions)
        parts = (true, sampled[right], sampled[~right])
        return BitsByCorrectness(*(SequenceBits.of(nll, own.x.shape[1]) for nll in parts))


def own_sequences(trained: Trained, examples: Examples) -> Examples:
    """What a system samples from its distribution as it is, after the captions of the examples."""
    return replace(examples, x=trained.sample(examples, OWN, random_stream("face-off", "own rows")))


def reference_nll(reference: Trained, examples: Examples) -> Float[Tensor, " b"]:
    """Nats of each sequence, always with the same random numbers."""
    return reference.nll(examples, random_stream("face-off", "judge"))


@torch.no_grad()
def bits_by_grid_row(reference: AutoregressiveModel, examples: Examples) -> tuple[float, ...]:
    """Bits of a token in each row of the grid, from the top."""
    log_p = reference.log_probs(examples.x, Conditioning(examples.text))  # (b, n, k)
    return by_grid_row(-log_p.gather(-1, examples.x[..., None])[..., 0] / math.log(2))

"""What every system is measured on: the same scenes, seen and held out, with their captions."""

import math

import torch
from einops import rearrange
from jaxtyping import Bool, Float
from torch import Tensor

from vqlearn.evaluation.prompts import COMPOSITIONS
from vqlearn.experiments.report import DIGITS, Facts
from vqlearn.experiments.tokens import ShippedTokens


class EvaluatedTokens(ShippedTokens):
    """The scenes of `vqlearn evaluate`, as tokens of the shipped VQ-VAE."""

    def __init__(self, count: int, device: torch.device | str = "cpu") -> None:
        super().__init__(device)
        self.examples = {name: self.evaluated(name, count) for name in COMPOSITIONS}

    def describe(self) -> Facts:
        """What an image is, and how many captions come out right after a round trip."""
        return Facts(
            unit="bits per token",
            num_codes=self.num_codes,
            num_positions=self.examples["seen"].x.shape[1],
            baselines={"uniform guess": round(math.log2(self.num_codes), DIGITS)},
            round_trip={
                name: self.accuracy(each.x, each.captions) for name, each in self.examples.items()
            },
        )


def by_grid_row(values: Float[Tensor, "b n"] | Bool[Tensor, "b n"]) -> tuple[float, ...]:
    """The mean in each row of the square grid, from the top."""
    rows = rearrange(values, "b (r c) -> r (b c)", r=math.isqrt(values.shape[1]))
    return tuple(round(mean, DIGITS) for mean in rows.double().mean(dim=1).tolist())

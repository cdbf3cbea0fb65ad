"""What every system is measured on: the same scenes, seen and held out, with their captions."""

import math
from dataclasses import dataclass

import torch
from einops import rearrange
from jaxtyping import Bool, Float, Int
from torch import Tensor

from vqlearn.evaluation import Evaluation, evaluated_scenes
from vqlearn.evaluation.prompts import COMPOSITIONS
from vqlearn.experiments.report import DIGITS, Facts
from vqlearn.experiments.tokens import ShippedTokens


@dataclass(frozen=True, eq=False)
class Examples:
    """Scenes as tokens, their captions, and the text states of these."""

    x: Int[Tensor, "b n"]
    captions: list[str]
    text: Float[Tensor, "b l c"]


class EvaluatedTokens(ShippedTokens):
    """The scenes of `vqlearn evaluate`, as tokens of the shipped VQ-VAE."""

    def __init__(self, count: int, device: torch.device | str = "cpu") -> None:
        super().__init__(device)
        self.examples = {name: self._examples(name, count) for name in COMPOSITIONS}

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

    def _examples(self, composition: str, count: int) -> Examples:
        scenes = evaluated_scenes(composition, Evaluation(prompts=count))
        with torch.no_grad():
            text = self.encoder(scenes.captions)
        return Examples(self.encode(scenes.images), scenes.captions, text)


def by_grid_row(values: Float[Tensor, "b n"] | Bool[Tensor, "b n"]) -> tuple[float, ...]:
    """The mean in each row of the square grid, from the top."""
    rows = rearrange(values, "b (r c) -> r (b c)", r=math.isqrt(values.shape[1]))
    return tuple(round(mean, DIGITS) for mean in rows.double().mean(dim=1).tolist())

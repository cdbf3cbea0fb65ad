r"""The levels at which a batch is trained: drawn more often where the loss is large.

The variational bound is a sum over T levels, and one batch looks at a few. Drawing level t with
probability $p_t$ and dividing its loss $L_t$ by $T p_t$ gives the same mean whatever $p_t$ is; the
variance is least for $p_t \propto \sqrt{E[L_t^2]}$. Source: Nichol and Dhariwal 2021, "Improved
DDPM", section 3.3, which VQ-Diffusion's training follows.
"""

import math
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from vqlearn.probability.checks import check_sizes

UNIFORM_SHARE = 0.1  # of all draws: no weight is above 10, and no level is ever forgotten
HISTORY_DECAY = 0.9
LEAST_COUNT = 10  # losses of every level, before the levels are drawn by them


class SampledLevels(NamedTuple):
    """Levels t of 1..T, and the weight $1 / (T p_t)$ that makes the weighted mean unbiased."""

    t: Int[Tensor, " b"]
    weight: Float[Tensor, " b"]


class ImportanceSampler(nn.Module):
    r"""The history of $L_t^2$, and the distribution of t that follows from it.

    Every level keeps a running mean of its squared loss. Until each has had 10 losses the levels
    are drawn uniformly. `state_dict()` holds the history; it stays in float64 on the CPU, wherever
    the model goes: MPS has no float64.

    Raises `ValueError` for fewer than one level.
    """

    def __init__(self, num_timesteps: int):
        super().__init__()
        check_sizes({"num_timesteps": num_timesteps})
        self.squares = torch.zeros(num_timesteps, dtype=torch.float64)
        self.counts = torch.zeros(num_timesteps, dtype=torch.long)

    def get_extra_state(self) -> Float[Tensor, "2 T"]:
        """The history as one tensor, for `state_dict`."""
        return torch.stack([self.squares, self.counts.double()])

    def set_extra_state(self, state: Float[Tensor, "2 T"]) -> None:
        """The inverse, for `load_state_dict`."""
        squares, counts = state.cpu()
        self.squares, self.counts = squares.clone(), counts.long()

    def probabilities(self) -> Float[Tensor, " T"]:
        """The distribution of t = 1..T, float64."""
        uniform = torch.full_like(self.squares, 1 / len(self.squares))  # (T,)
        root = self.squares.sqrt()
        if self.counts.min() < LEAST_COUNT or root.sum() == 0:
            return uniform
        return (1 - UNIFORM_SHARE) * root / root.sum() + UNIFORM_SHARE * uniform

    def draw(self, count: int, *, generator: torch.Generator) -> SampledLevels:
        """Draw `count` levels that are spread as evenly as the distribution allows.

        One uniform number u serves the batch: sample i sits at $(u + i)/b$ of the cumulative
        distribution. Every sample has the distribution p alone, and no batch has high levels only.
        """
        distribution = self.probabilities()
        position = torch.arange(count, dtype=torch.float64)
        position = (position + torch.rand((), dtype=torch.float64, generator=generator)) / count
        index = torch.searchsorted(distribution.cumsum(0), position, right=True)
        index = index.clamp(max=len(distribution) - 1)  # the sum may be rounded to less than 1
        # Positions rise along the batch; shuffled, no image is tied to the low levels.
        index = index[torch.randperm(count, generator=generator)]  # (b,), of the levels 1..T
        weight = 1 / (len(distribution) * distribution[index])
        return SampledLevels(index + 1, weight.float())

    @torch.no_grad()
    def update(self, t: Int[Tensor, " b"], loss: Float[Tensor, " b"]) -> None:
        """Put the losses of a batch, without their weights, into the history.

        Losses whose square is not finite are left out: they would stay in the mean for ever. In a
        distributed training every process must be given the losses of all.
        """
        for level, square in zip((t - 1).tolist(), loss.double().square().tolist(), strict=True):
            if not math.isfinite(square):
                continue
            decay = HISTORY_DECAY if self.counts[level] else 0.0  # the first one counts whole
            self.squares[level] = decay * self.squares[level] + (1 - decay) * square
            self.counts[level] += 1

"""Half a row to go on from: what is given, what stands in place of the rest, what must stay."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from vqlearn.diffusion.process import Process
from vqlearn.probability.random import sample_categorical


@dataclass(frozen=True, eq=False)
class Start:
    """Rows at a level where half is lost: some tokens are given, in the position of others is
    noise.

    With `fixed` the given ones stay. Otherwise a system may draw them anew, if it can. A raster
    network knows no levels: 0.
    """

    x: Int[Tensor, "b n"]
    given: Bool[Tensor, "b n"]
    fixed: bool
    level: int = 0


def noise(
    process: Process,
    shape: tuple[int, int],
    generator: torch.Generator,
    device: torch.device | str = "cpu",
) -> Int[Tensor, "b n"]:
    """Rows from the prior of a process."""
    return sample_categorical(
        process.log_prior().to(device).expand(*shape, -1), generator=generator
    )


def corrupted(process: Process, x: Int[Tensor, "b n"], generator: torch.Generator) -> Start:
    """The rows where half is lost; given are the tokens that are still true."""
    level = half_level(process, x)
    x_t = process.corrupt(x, level, generator=generator)
    return Start(x_t, x_t == x, fixed=False, level=level)


def hidden(
    process: Process,
    x: Int[Tensor, "b n"],
    given: Bool[Tensor, "b n"],
    generator: torch.Generator,
) -> Start:
    """The rows with noise in the position of all that is not given."""
    noisy = torch.where(given, x, noise(process, x.shape, generator, x.device))
    return Start(noisy, given, fixed=True, level=half_level(process, x))


def half_level(process: Process, x: Int[Tensor, "b n"]) -> int:
    """At which level are nearest to half of these tokens still what they were? The first of equals.

    Nearest, not half at most: level 1 of two scales keeps a little more than half, level 2 nothing.
    """

    def distance(t: int) -> float:
        kept = process.log_marginal(x, t).gather(-1, x[..., None]).exp().mean()
        return round(abs(kept.item() - 0.5), 6)

    return min(range(1, process.num_timesteps + 1), key=distance)

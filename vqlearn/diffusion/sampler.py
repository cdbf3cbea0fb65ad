"""From noise to tokens: ask the denoiser, take a reverse step (exact token by token), repeat.

The plain loop is `sample`. Full ancestral sampling visits every level; fast sampling visits a
few, with longer strides between them. Guidance and truncation sit inside the denoiser that
is handed in, so the loop does not know of them.

"Exact" means: the right posterior for every stride, token by token. The joint distribution of
several tokens that are drawn in one step is a product.
"""

from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from itertools import pairwise

import torch
from jaxtyping import Float, Int
from torch import Tensor

from vqlearn.diffusion.process import Process
from vqlearn.probability import Generators, Given, finest_float, sample_categorical
from vqlearn.probability.checks import Level, check_choice

Denoise = Callable[[Int[Tensor, "b n"], Level], Float[Tensor, "b n k"]]
"""denoise(x_t, t): normalised log p(x_0 | x_t) over the K codes."""


SPACINGS: dict[str, Callable[[Fraction], Fraction]] = {
    "even": lambda share: 1 - share,
    "slow_start": lambda share: 1 - share**2,
}
"""The part of T that is left to go when this share of the sampling steps is done."""


def levels_to_visit(num_timesteps: int, num_steps: int, spacing: str = "slow_start") -> list[int]:
    r"""The levels at which the denoiser is asked: T first, 0 last.

    Step i of N = `num_steps` ends at level $T\,(1 - i/N)$ if the spacing is "even", and at
    $T\,(1 - (i/N)^2)$ with a "slow_start": rounded, at least one level below its beginning, and
    with a level left for each of the N - i steps to come.
    Tokens of one stride are drawn independently of each other. The first ones decide what lies
    where, so few of them should be revealed together; the last ones only fill in. Every choice is
    exact for each token alone, and N = T visits all levels.

    10 levels in 4 steps: [10, 8, 5, 2, 0] evenly, [10, 9, 8, 4, 0] with a slow start.
    Raises `ValueError` unless 1 <= num_steps <= T, and for another spacing.
    """
    if not 1 <= num_steps <= num_timesteps:
        raise ValueError(f"num_inference_steps is {num_steps}; allowed: 1 to {num_timesteps}")
    check_choice("spacing", spacing, tuple(SPACINGS))
    levels = [num_timesteps]
    for i in range(1, num_steps + 1):
        wanted = round(num_timesteps * SPACINGS[spacing](Fraction(i, num_steps)))
        # One level down at least, and one level left for each of the steps to come.
        levels.append(max(min(wanted, levels[-1] - 1), num_steps - i))
    return levels


def step(
    process: Process,
    log_p_x0: Float[Tensor, "b n k"],
    x_t: Int[Tensor, "b n"],
    levels: tuple[int, int],
    *,
    generator: Generators = None,
) -> Int[Tensor, "b n"]:
    """Draw x_s ~ p(x_s | x_t) for levels (t, s), each token on its own.

    The distribution that is drawn from is `process.log_reverse`.
    """
    t, s = levels
    return sample_categorical(process.log_reverse(log_p_x0, x_t, s, t), generator=generator)


def sample(
    process: Process,
    denoise: Denoise,
    x_t: Int[Tensor, "b n"],
    levels: Sequence[int],
    *,
    given: Given | None = None,
    generator: Generators = None,
) -> Iterator[tuple[int, Int[Tensor, "b n"]]]:
    """Walk from x_t at levels[0] down to levels[-1]; yield (s, x_s) after every step.

    Start from `all_masked` as the released models do, or from `draw_prior`. Given tokens are put
    back into their positions before the first step and after every one
    (`model.DiffusionModel.sample` says what that samples). Without them the exact distribution of
    the result is `exact.world.sampler_distribution`.
    """
    hold = given.keep if given is not None else lambda x: x
    x_t = hold(x_t)  # (b, n)
    for t, s in pairwise(levels):
        # (b, n, k) of predictions, (b, n, classes) inside of `step`, and a token drawn from each.
        x_t = hold(step(process, denoise(x_t, t), x_t, (t, s), generator=generator))
        yield s, x_t


def draw_prior(
    process: Process,
    shape: tuple[int, int],
    *,
    device: torch.device | str = "cpu",
    generator: Generators = None,
) -> Int[Tensor, "b n"]:
    """Draw x_T from the prior p(x_T), each token on its own."""
    home = torch.device(device)
    log_prior = process.log_prior().to(home, finest_float(home))  # (classes,)
    return sample_categorical(log_prior.expand(*shape, -1), generator=generator)


def all_masked(
    process: Process, shape: tuple[int, int], *, device: torch.device | str = "cpu"
) -> Int[Tensor, "b n"]:
    """The start of the released models: every token is MASK, the last class.

    Raises `ValueError` for a process without MASK.
    """
    if process.num_classes == process.num_codes:
        raise ValueError(f"num_classes is {process.num_classes}; allowed: K + 1, the last is MASK")
    return torch.full(shape, process.num_classes - 1, device=device)

r"""Products of transition matrices, made when they are asked for: never all of them at once.

Products only add numbers that are not negative, so even an entry of $10^{-200}$ has all its
digits. That matters, for the reverse step divides by such entries. (An eigen-decomposition would
be quicker for some kernels, but it knows nothing below $10^{-16}$.)
"""

import math
from collections.abc import Callable
from functools import lru_cache
from itertools import accumulate
from operator import matmul

import torch
from jaxtyping import Float64
from torch import Tensor

StepMatrix = Callable[[int], Float64[Tensor, "classes classes"]]
"""step_matrix(t): the step from level t - 1 to level t, float64, rows sum to 1."""

RECENT = 4  # products that are kept for the next call, beside the checkpoints
ROUNDING = 1e-9


class TransitionProducts:
    r"""$\bar Q_t$ and $Q_{t|s}$ of a list of steps $Q_1 \ldots Q_T$.

    Only $\bar Q_t$ at every $\lfloor\sqrt T\rfloor$-th level is kept, and the last few products:
    about $\sqrt T$ matrices instead of T. From the checkpoint below, $\bar Q_t$ costs less than
    $\sqrt T$ matrix products; from a level just asked for, fewer. $Q_{t|s}$ costs t - s of them.

    A training asks for all levels again and again; `keep_all` spends memory there to save time.

    Raises `ValueError`, naming the level, if a step is no transition matrix.
    """

    def __init__(self, step_matrix: StepMatrix, num_timesteps: int, num_classes: int) -> None:
        self.step_matrix = lru_cache(maxsize=2)(step_matrix)  # one reverse step asks for it twice
        self.num_timesteps, self.spacing = num_timesteps, math.isqrt(num_timesteps)
        self.recent: dict[tuple[int, int], Tensor] = {}
        product = torch.eye(num_classes, dtype=torch.float64)
        self.checkpoints = [product]
        for t in range(1, num_timesteps + 1):
            step = self.step_matrix(t)
            _check_step(step, t, num_classes)
            product = product @ step
            if t % self.spacing == 0:
                self.checkpoints.append(product)

    def keep_all(self, device: torch.device | str = "cpu") -> None:
        r"""Keep every step and every $\bar Q_t$ on a device from now on: 2T matrices."""
        steps = [self.step_matrix(t).to(device) for t in range(1, self.num_timesteps + 1)]
        self.step_matrix = lambda t: steps[t - 1]
        initial = self.checkpoints[0].to(device)
        self.checkpoints = list(accumulate(steps, matmul, initial=initial))
        self.spacing = 1  # a checkpoint at every level

    def between(self, s: int, t: int) -> Float64[Tensor, "classes classes"]:
        r"""$Q_{t|s}$, the transition matrix from level s to level t >= s."""
        if s > t:
            raise ValueError(f"a product from level s = {s} to t = {t}; allowed: s not above t")
        if t == s + 1:
            return self.step_matrix(t)
        # Taken out and put in again below, so that the oldest entry is always the first.
        product = self.recent.pop((s, t), None)
        if product is None:
            level, product = self._nearest(s, t)
            for later in range(level + 1, t + 1):
                product = product @ self.step_matrix(later)
        self.recent[s, t] = product
        if len(self.recent) > RECENT:
            del self.recent[next(iter(self.recent))]
        return product

    def _nearest(self, s: int, t: int) -> tuple[int, Tensor]:
        """The longest product at hand that leads from s to a level not above t."""
        # Checkpoints begin at level 0. From any other level there is only the identity, number 0.
        number = t // self.spacing if s == 0 else 0
        checkpoint = max(s, number * self.spacing)
        # A recent product that ends between the checkpoint and t saves more multiplications.
        ends = [level for start, level in self.recent if start == s and checkpoint < level < t]
        if ends:
            return max(ends), self.recent[s, max(ends)]
        return checkpoint, self.checkpoints[number]


def _check_step(step: Tensor, t: int, num_classes: int) -> None:
    if step.shape != (num_classes, num_classes) or step.dtype != torch.float64:
        raise ValueError(
            f"the step to level t = {t} has the shape {tuple(step.shape)} and {step.dtype}; "
            f"allowed: ({num_classes}, {num_classes}) and torch.float64"
        )
    check_distribution(f"a row of the step to level t = {t}", step)


def check_distribution(name: str, distribution: Tensor) -> None:
    """Raise `ValueError` if a row holds a number below 0, or does not sum to 1."""
    lowest, furthest = float(distribution.min()), float((distribution.sum(dim=-1) - 1).abs().max())
    if not (lowest >= 0 and furthest < ROUNDING):
        raise ValueError(
            f"{name} holds {lowest} and sums to 1 but for {furthest}; "
            f"allowed: nothing below 0, a sum of 1 but for {ROUNDING}"
        )

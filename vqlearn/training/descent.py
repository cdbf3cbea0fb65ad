"""One step of optimizers along a gradient, taken only if all of it is finite.

One NaN in a gradient makes every weight NaN, for ever and in silence. So the step is looked at
before the weights move.
"""

import math
from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.amp import GradScaler

MAX_SKIPPED = 40  # steps in a row: the scale, once 65,536, has been halved as often


class NotFiniteError(ValueError):
    """A number that is NaN or infinite, so that the training cannot go on."""


class Descent:
    """Optimizers that lower a loss, together, step by step.

    The gradient is clipped to the norm `clip_norm`. With a `scaler` (float16, see
    `accelerator.scaler`) the loss is multiplied before its gradient is taken, and a step in which
    that was too much is skipped: the next one gets half of it.
    """

    def __init__(
        self,
        weights: Iterable[nn.Parameter],
        optimizers: Sequence[torch.optim.Optimizer],
        clip_norm: float = math.inf,
        scaler: GradScaler | None = None,
    ) -> None:
        self.weights, self.optimizers, self.clip_norm = list(weights), optimizers, clip_norm
        self.scaler = scaler or GradScaler("cpu", enabled=False)
        self.skipped = 0  # steps in a row

    def step(self, loss: Tensor, number: int, shown: Mapping[str, Tensor]) -> bool:
        """Lower the loss by one step; False if the scaler skips this one.

        Raises `NotFiniteError` for a loss or gradient that is not finite, before any weight has
        moved. It tells the `number` of the step, and which of the numbers in `shown` are not.
        """
        self.scaler.scale(loss).backward()
        for each in self.optimizers:
            self.scaler.unscale_(each)
        norm = nn.utils.clip_grad_norm_(self.weights, self.clip_norm)
        # One number, so that a GPU is waited for once.
        finite = bool((norm + loss.detach()).isfinite())
        if not finite:
            self._refuse_or_skip(norm, number, shown)
        else:
            self.skipped = 0
            for each in self.optimizers:
                self.scaler.step(each)
        self.scaler.update()
        for weight in self.weights:
            weight.grad = None
        return finite

    def _refuse_or_skip(self, norm: Tensor, number: int, shown: Mapping[str, Tensor]) -> None:
        self.skipped += 1
        if not self.scaler.is_enabled() or norm.isfinite():
            raise NotFiniteError(
                f"{_told(shown) or f'the norm of the gradient is {norm.item()}'} in step {number}; "
                "allowed: finite numbers"
            )
        if self.skipped > MAX_SKIPPED:
            raise NotFiniteError(
                f"the gradient was not finite in {self.skipped} steps in a row, up to {number}; "
                "allowed: finite numbers, or mixed_precision 'bf16' or 'no'"
            )


def check_weights(network: nn.Module, number: int) -> None:
    """Raise `NotFiniteError` if a weight is NaN or infinite after step `number`."""
    for name, value in network.state_dict().items():
        if value.is_floating_point() and not value.isfinite().all():
            raise NotFiniteError(
                f"the weight {name} is not finite after step {number}; allowed: finite numbers"
            )


def _told(shown: Mapping[str, Tensor]) -> str:
    values = {name: value.item() for name, value in shown.items()}
    bad = {name: value for name, value in values.items() if not math.isfinite(value)}
    return ", ".join(f"the {name} is {value}" for name, value in bad.items())

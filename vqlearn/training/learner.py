"""One step of learning, the same in every training: a gradient, optimizers, a running mean."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR
from torch.optim.swa_utils import AveragedModel

from vqlearn.training.descent import Descent, check_weights
from vqlearn.training.optimizers import build_optimizers, warm_up_and_cosine
from vqlearn.training.recipes import Recipe

CLIP_NORM = 1.0


class Learner:
    """A network, the optimizers that move its weights, and the running mean of these weights.

    `rate(i)` is the factor of the learning rate in step i = 0, 1, … The gradient is clipped to the
    norm `clip_norm`; `math.inf` leaves it as it is.
    """

    def __init__(
        self,
        network: nn.Module,
        optimizers: Sequence[torch.optim.Optimizer],
        rate: Callable[[int], float],
        *,
        ema_decay: float,
        clip_norm: float = CLIP_NORM,
    ) -> None:
        self.network = network
        self.descent = Descent(network.parameters(), optimizers, clip_norm)
        self.rates = [LambdaLR(each, rate) for each in optimizers]
        self.average = AveragedModel(network, multi_avg_fn=running_mean(ema_decay))

    @classmethod
    def from_recipe(
        cls, network: nn.Module, muon: Sequence[nn.Parameter], recipe: Recipe
    ) -> "Learner":
        """Adam, and Muon for the weights in `muon`, with warm-up and cosine."""
        optimizers = build_optimizers(network, muon, recipe)
        rate = partial(warm_up_and_cosine, recipe=recipe)
        return cls(network, optimizers, rate, ema_decay=recipe.ema_decay)

    def use(self, accelerator: Accelerator) -> nn.Module:
        """Learn on its device, with its processes and precision; returns the network to call."""
        prepared, *_ = accelerator.prepare(self.network, *self.descent.optimizers)
        if accelerator.scaler is not None:
            self.descent.scaler = accelerator.scaler
        return prepared

    def step(
        self, losses: Mapping[str, Tensor], number: int, after: Callable[[], None] = lambda: None
    ) -> None:
        """Lower `losses["loss"]`; then `after()`, which may move weights; then follows the mean.

        Where the scaler of float16 skips the step, nothing changes. Raises `NotFiniteError`, with
        the `number` of the step, for a loss or a gradient that is not finite.
        """
        if not self.descent.step(losses["loss"], number, losses):
            return
        for each in self.rates:
            each.step()
        after()  # before the mean, so that it averages weights as they end this step
        self.average.update_parameters(self.network)

    def mean(self, number: int) -> nn.Module:
        """The network with the mean weights, which are finite after this step, or it raises."""
        check_weights(self.average.module, number)
        return self.average.module


def running_mean(decay: float) -> Callable[[list[Tensor], list[Tensor], Tensor], None]:
    """A mean over the last 1 / (1 - decay) steps, for `AveragedModel`; at first over fewer."""

    def update(means: list[Tensor], weights: list[Tensor], count: Tensor) -> None:
        steps = float(count)  # a GPU has to wait for it: once, not for every weight
        # A short memory at first: the mean would else hold on to the random first weights.
        torch._foreach_lerp_(means, weights, 1 - min(decay, (1 + steps) / (10 + steps)))

    return update

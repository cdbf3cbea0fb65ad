"""How weights learn, in every stage: Adam and Muon, warm-up and cosine, a running mean.

`minimise` is the plain loop of them all. `loop.fit` is the same with devices and a state on disk.
"""

import copy
import math
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR
from torch.optim.swa_utils import AveragedModel

from vqlearn.autoregressive.image_transformer import LocalAttention
from vqlearn.training.recipes import Recipe
from vqlearn.transformer.layers import Attention, FeedForward

CLIP_NORM = 1.0
JUDGE_EVERY = 100  # steps
MUON_RATE = 2.0  # how much faster than the other weights


def build_optimizers(
    weights: Iterable[nn.Parameter], matrices: Sequence[nn.Parameter], recipe: Recipe
) -> list[torch.optim.Optimizer]:
    """Adam, and Muon if there is anything for it.

    Muon (Jordan et al. 2024) makes every singular value of a matrix's update the same, so that
    rare directions learn as fast as common ones. Its updates are scaled to the size of Adam's.
    """
    chosen = {id(matrix) for matrix in matrices}
    others = [weight for weight in weights if id(weight) not in chosen]
    optimizers = [torch.optim.Adam(others, recipe.learning_rate, betas=(0.9, 0.96))]
    if matrices:
        fast = MUON_RATE * recipe.learning_rate
        muon = torch.optim.Muon(matrices, fast, weight_decay=0.0, adjust_lr_fn="match_rms_adamw")
        optimizers.append(muon)
    return optimizers


def linear_weights(
    parts: Iterable[nn.Module], except_for: Sequence[nn.Module] = ()
) -> list[nn.Parameter]:
    """The matrices of all linear maps in these parts: what Muon is for."""
    layers = [layer for part in parts for layer in part.modules() if isinstance(layer, nn.Linear)]
    return [layer.weight for layer in layers if layer not in except_for]


def hidden_matrices(network: nn.Module) -> list[nn.Parameter]:
    """What Muon is for in a transformer: the maps inside attention and feed-forward.

    Not embeddings, nor the output, nor the maps that turn a level into a scale and a shift. A
    network of convolutions or an LSTM has none.
    """
    kinds = Attention | LocalAttention | FeedForward
    return linear_weights(part for part in network.modules() if isinstance(part, kinds))


def warm_up_and_cosine(index: int, recipe: Recipe) -> float:
    """From 0 up to 1, then down to one twentieth, as a factor of the learning rate."""
    cosine = (1 + math.cos(math.pi * index / recipe.steps)) / 2
    return min(1.0, (index + 1) / recipe.warmup_steps) * (0.05 + 0.95 * cosine)


def running_mean(decay: float) -> Callable[[list[Tensor], list[Tensor], Tensor], None]:
    """A mean over the last 1 / (1 - decay) steps, for `AveragedModel`; at first over fewer."""

    def update(means: list[Tensor], weights: list[Tensor], count: Tensor) -> None:
        steps = float(count)  # a GPU has to wait for it: once, not for every weight
        torch._foreach_lerp_(means, weights, 1 - min(decay, (1 + steps) / (10 + steps)))

    return update


class Trained(NamedTuple):
    """Weights, and after how many steps they were the mean that is kept."""

    network: nn.Module
    steps: int


def minimise(
    network: nn.Module,
    loss: Callable[[], Tensor],
    recipe: Recipe,
    judge: Callable[[nn.Module], float] | None = None,
) -> Trained:
    """Minimise the mean of `loss()`, in nats, and keep the running mean of the weights.

    Without a `judge` the last mean is kept. With one, it is asked every 100 steps, and at the end,
    what it makes of the mean so far; the mean with the lowest number is kept ("early stopping").
    `network` is left with the last weights. Raises `ValueError` if a loss is not finite, with the
    number of the step.
    """
    optimizers = build_optimizers(network.parameters(), hidden_matrices(network), recipe)
    rates = [LambdaLR(each, lambda i: warm_up_and_cosine(i, recipe)) for each in optimizers]
    average = AveragedModel(network, multi_avg_fn=running_mean(recipe.ema_decay))
    lowest, kept = math.inf, None
    for step in range(1, recipe.steps + 1):
        nats = loss()
        if not nats.isfinite():
            raise ValueError(f"the loss is {nats.item()} in step {step}; allowed: finite numbers")
        network.zero_grad()
        nats.backward()
        nn.utils.clip_grad_norm_(network.parameters(), CLIP_NORM)
        for each in (*optimizers, *rates):
            each.step()
        average.update_parameters(network)
        last = step == recipe.steps
        if judge is not None and (last or step % JUDGE_EVERY == 0):
            found = judge(average.module)
            if found < lowest:
                lowest, kept = found, Trained(copy.deepcopy(average.module), step)
    kept = kept or Trained(average.module, recipe.steps)
    kept.network.eval().requires_grad_(False)
    return kept

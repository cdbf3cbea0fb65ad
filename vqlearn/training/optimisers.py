"""How weights learn, in every stage: Adam and Muon, warm-up and cosine, a running mean."""

import math
from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor, nn

from vqlearn.training.recipes import Recipe
from vqlearn.transformer.layers import Attention, FeedForward

CLIP_NORM = 1.0
MUON_RATE = 2.0  # how much faster than the other weights


def build_optimisers(
    weights: Iterable[nn.Parameter], matrices: Sequence[nn.Parameter], recipe: Recipe
) -> list[torch.optim.Optimizer]:
    """Adam, and Muon if there is anything for it.

    Muon (Jordan et al. 2024) makes every singular value of a matrix's update the same, so that
    rare directions learn as fast as common ones. Its updates are scaled to the size of Adam's.
    """
    chosen = {id(matrix) for matrix in matrices}
    others = [weight for weight in weights if id(weight) not in chosen]
    optimisers = [torch.optim.Adam(others, recipe.learning_rate, betas=(0.9, 0.96))]
    if matrices:
        fast = MUON_RATE * recipe.learning_rate
        muon = torch.optim.Muon(matrices, fast, weight_decay=0.0, adjust_lr_fn="match_rms_adamw")
        optimisers.append(muon)
    return optimisers


def linear_weights(
    parts: Iterable[nn.Module], except_for: Sequence[nn.Module] = ()
) -> list[nn.Parameter]:
    """The matrices of all linear maps in these parts: what Muon is for."""
    layers = [layer for part in parts for layer in part.modules() if isinstance(layer, nn.Linear)]
    return [layer.weight for layer in layers if layer not in except_for]


def hidden_matrices(network: nn.Module) -> list[nn.Parameter]:
    """What Muon is for in a denoiser: the maps inside attention and feed-forward.

    Not embeddings, nor the output, nor the maps that turn a level into a scale and a shift.
    """
    parts = [part for part in network.modules() if isinstance(part, Attention | FeedForward)]
    return linear_weights(parts)


def warm_up_and_cosine(index: int, recipe: Recipe) -> float:
    """From 0 up to 1, then down to one twentieth, as a factor of the learning rate."""
    cosine = (1 + math.cos(math.pi * index / recipe.steps)) / 2
    return min(1.0, (index + 1) / recipe.warmup_steps) * (0.05 + 0.95 * cosine)


def running_mean(decay: float) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
    """A mean over the last 1 / (1 - decay) steps, for `AveragedModel`; at first over fewer."""

    def update(mean: Tensor, weight: Tensor, count: Tensor) -> Tensor:
        early = (1 + float(count)) / (10 + float(count))
        return torch.lerp(mean, weight, 1 - min(decay, early))

    return update

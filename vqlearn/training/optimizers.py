"""How weights learn in every stage: Adam and Muon, with warm-up and cosine."""

import math
from collections.abc import Iterable, Sequence

import torch
from torch import nn

from vqlearn.training.recipes import Recipe

MUON_RATE = 2.0  # how much faster than the other weights


def build_optimizers(
    network: nn.Module, muon: Sequence[nn.Parameter], recipe: Recipe
) -> list[torch.optim.Optimizer]:
    """Adam, and Muon for those of the network's weights that are listed, if there are any.

    Muon (Jordan et al. 2024) makes every singular value of a matrix's update the same, so that
    rare directions learn as fast as common ones. Its updates are scaled to the size of Adam's.
    """
    listed = {id(weight) for weight in muon}
    others = [weight for weight in network.parameters() if id(weight) not in listed]
    learning = [weight for weight in others if weight.requires_grad]
    optimizers = [torch.optim.Adam(learning, recipe.learning_rate, betas=(0.9, 0.96))]
    if muon:
        fast = MUON_RATE * recipe.learning_rate
        optimizers.append(
            torch.optim.Muon(muon, fast, weight_decay=0.0, adjust_lr_fn="match_rms_adamw")
        )
    return optimizers


def linear_weights(
    parts: Iterable[nn.Module], except_for: Sequence[nn.Module] = ()
) -> list[nn.Parameter]:
    """The weights of all linear maps in these parts, each a matrix."""
    layers = [layer for part in parts for layer in part.modules() if isinstance(layer, nn.Linear)]
    return [layer.weight for layer in layers if layer not in except_for]


def muon_weights(network: nn.Module) -> list[nn.Parameter]:
    """What Muon is for: the linear maps inside the modules that say `muon = True`.

    In a transformer these are attention and feed-forward: not the embeddings, nor the output, nor
    the maps that turn a level into a scale and a shift. Convolutions and an LSTM learn by Adam.
    """
    return linear_weights(part for part in network.modules() if getattr(part, "muon", False))


def warm_up_and_cosine(index: int, recipe: Recipe) -> float:
    """From 0 up to 1, then down to one twentieth, as a factor of the learning rate."""
    cosine = (1 + math.cos(math.pi * index / recipe.steps)) / 2
    return min(1.0, (index + 1) / recipe.warmup_steps) * (0.05 + 0.95 * cosine)

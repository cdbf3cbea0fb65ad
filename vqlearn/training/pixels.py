"""Train a U-Net on the images that are given: a plain loop with Adam and a running mean."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from torch.optim.swa_utils import AveragedModel

from vqlearn.continuous.gaussian import Corruption
from vqlearn.continuous.objective import simple_loss
from vqlearn.continuous.sampler import Model, Target
from vqlearn.continuous.unet import UNet, UNetConfig
from vqlearn.training.optimizers import running_mean


@dataclass(frozen=True)
class UNetRecipe:
    """What the network predicts, how fast it learns, and its seed.

    The weights that are kept are a running mean over about 1 / (1 - `ema_decay`) steps, over
    fewer in the beginning.
    """

    target: Target = "epsilon"
    learning_rate: float = 2e-3
    ema_decay: float = 0.995
    seed: int = 0


class TrainedUNet(NamedTuple):
    """The network with the mean of its weights, and the loss of every step."""

    network: UNet
    losses: list[float]


def train_unet(
    batches: Iterable[Float[Tensor, "b c h w"]],
    process: Corruption,
    config: UNetConfig,
    recipe: UNetRecipe,
) -> TrainedUNet:
    """One step for each batch of images in -1 to 1, at random levels 1..T.

    The same seed and batches give the same weights; no other generator is touched. Raises
    `ValueError` for a target of "epsilon" where the process adds no noise.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        network = UNet(config)
    generator = torch.Generator().manual_seed(recipe.seed)
    model = Model(network, recipe.target)
    average = AveragedModel(network, multi_avg_fn=running_mean(recipe.ema_decay))
    optimizer = torch.optim.Adam(network.parameters(), recipe.learning_rate)
    losses = []
    for x_0 in batches:
        t = torch.randint(1, process.num_timesteps + 1, (len(x_0),), generator=generator)
        loss = simple_loss(process, model, x_0, t, generator=generator).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        average.update_parameters(network)
        losses.append(loss.item())
    return TrainedUNet(average.module.eval().requires_grad_(False), losses)

"""Train a U-Net on the images that are given, by Adam alone, as diffusion of pixels often is."""

import math
from collections.abc import Iterable
from dataclasses import replace
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from vqlearn.continuous import Corruption, Model, simple_loss
from vqlearn.training.learner import Learner


class TrainedUNet(NamedTuple):
    """The model with the mean of its network's weights, and the loss of every step."""

    model: Model
    losses: list[float]


def train_unet(
    model: Model,
    batches: Iterable[Float[Tensor, "b c h w"]],
    process: Corruption,
    *,
    learning_rate: float = 2e-3,
    ema_decay: float = 0.995,
    seed: int = 0,
) -> TrainedUNet:
    """One step for each batch of images in -1 to 1, at random levels 1..T.

    `model.predict` is a `UNet`, or another module; it is left with the last weights. The learning
    rate is constant and gradients are not clipped; the weights that are kept are a running mean
    over about 1 / (1 - `ema_decay`) steps. The same weights, batches and seed give the same
    weights; no other generator is touched. Raises `ValueError` for a target of "epsilon" where the
    process adds no noise, and if a loss, a gradient or a weight is not finite.
    """
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.Adam(model.predict.parameters(), learning_rate)
    learner = Learner(
        model.predict, [optimizer], lambda step: 1.0, ema_decay=ema_decay, clip_norm=math.inf
    )
    losses = []
    for number, x_0 in enumerate(batches, start=1):
        t = torch.randint(1, process.num_timesteps + 1, (len(x_0),), generator=generator)
        loss = simple_loss(process, model, x_0, t, generator=generator).mean()
        learner.step({"loss": loss}, number)
        losses.append(loss.item())
    mean = learner.mean(len(losses)).eval().requires_grad_(False)
    return TrainedUNet(replace(model, predict=mean), losses)

"""Teach a denoiser rows of tokens: any kernel, no text, one readable loop.

    trained = train_sequences(network, process, data.batch, recipe)
    bound_per_token(process, denoise_with(trained), data.test)

The loss, the levels and the optimizer are those of the third stage (`diffusion.py`). There are no
devices, no processes and no state on disk: what takes minutes may start again.
"""

from dataclasses import replace

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from vqlearn.diffusion.level_sampling import ImportanceSampler
from vqlearn.diffusion.objective import training_loss
from vqlearn.diffusion.parameterisations import truncated_logistic
from vqlearn.diffusion.process import Process
from vqlearn.diffusion.sampler import Denoise
from vqlearn.probability.log_probs import log_normalise
from vqlearn.probability.random import random_stream
from vqlearn.training.recipes import Recipe
from vqlearn.training.rows import Rows
from vqlearn.training.simple import minimise
from vqlearn.transformer.sequence import SequenceConfig, SequenceDenoiser


class OrdinalDenoiser(nn.Module):
    r"""A denoiser of ordered codes that names a mean and a width in place of K scores.

    $\tilde p(x_0 \mid x_t)$ is `truncated_logistic` with the mean $\tanh(m + x_t)$, where the
    codes of $x_t$ lie evenly on [-1, 1], and the scale $e^s$; m and s come out of a
    `SequenceDenoiser` with two outputs. Neighbours of a likely grey value are likely too, before
    anything is learnt. MASK has no position among ordered codes: `num_classes` must be K.

    Source: Austin et al. 2021. Raises `ValueError` for more classes than codes.
    """

    def __init__(self, config: SequenceConfig) -> None:
        super().__init__()
        if config.num_classes != config.num_codes:
            raise ValueError(
                f"num_classes is {config.num_classes}; allowed: num_codes, {config.num_codes}"
            )
        self.config = config
        self.network = SequenceDenoiser(replace(config, num_codes=2))

    def forward(self, x_t: Int[Tensor, "b n"], t: Int[Tensor, " b"]) -> Float[Tensor, "b n k"]:
        """log p(x_0 | x_t) for the K codes, normalised. Raises as `SequenceDenoiser` does."""
        shift, log_scale = self.network(x_t, t).unbind(dim=-1)  # (b, n, 2) -> twice (b, n)
        position = 2 * x_t.to(shift) / (self.config.num_codes - 1) - 1
        return truncated_logistic((shift + position).tanh(), log_scale, self.config.num_codes)


class InBfloat16(nn.Module):
    """A network of sequences that works in half precision on the CPU: float32 in and out.

    Twice as fast for training where the CPU can do it, slower elsewhere. `network` is the same
    network in float32.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x_t: Int[Tensor, "b n"], t: Int[Tensor, " b"]) -> Float[Tensor, "b n k"]:
        """What the network says, to about three digits."""
        with torch.autocast("cpu", torch.bfloat16):
            return self.network(x_t, t).float()


def train_sequences(
    network: nn.Module,
    process: Process,
    rows: Rows,
    recipe: Recipe,
    *,
    auxiliary_weight: float = 5e-4,
) -> nn.Module:
    """Train `network(x_t, t) -> logits` and return the running mean of its weights.

    Each step looks at `recipe.batch_size` fresh rows, each at a level of its own, drawn by
    importance (`ImportanceSampler`, unbiased). `network` is left with the last weights. The same
    network, rows and recipe give the same weights bit for bit on one thread; no other generator
    is touched. Raises `ValueError` if the loss is not finite, with the number of the step.
    """
    generator = random_stream("sequences", recipe.seed)
    levels = ImportanceSampler(process.num_timesteps)

    def loss() -> Tensor:
        x_0 = rows(recipe.batch_size, generator=generator)
        t, weight = levels.draw(len(x_0), generator=generator)
        x_t = process.corrupt(x_0, t, generator=generator)
        log_p_x0 = log_normalise(network(x_t, t))
        parts = training_loss(process, log_p_x0, (x_0, x_t), t, auxiliary_weight=auxiliary_weight)
        levels.update(t, parts.bound.detach())
        return (weight * parts.total).mean()

    return minimise(network, loss, recipe).network


def denoise_with(network: nn.Module) -> Denoise:
    """The predicted distribution of a trained network, as the objective and the sampler ask for
    it."""

    def denoise(x_t: Int[Tensor, "b n"], t: int) -> Float[Tensor, "b n k"]:
        with torch.no_grad():
            return log_normalise(network(x_t, torch.full((len(x_t),), t)))

    return denoise

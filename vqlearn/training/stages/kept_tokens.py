"""How well the tokens of a checkpoint suit other images than those they were trained on."""

import logging
import math
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from vqlearn.checkpoints.folder import load_vqvae
from vqlearn.probability import random_stream
from vqlearn.tokens import VQVAE
from vqlearn.training.loop import Run

COUNT, AT_ONCE = 32, 8  # images

logger = logging.getLogger("vqlearn")


def tell_reconstruction(run: Run, checkpoint: Path) -> None:
    """Say how well the tokens of `run.folder`, taken from `checkpoint`, describe `run.source`.

    A token is worth its place only if it says more than the mean colour of its square. If the
    images come back no better than from mean colours, that is a warning.
    """
    vqvae = load_vqvae(run.folder).to(run.accelerator.device)
    images = run.source.batch(COUNT, generator=random_stream("kept tokens")).images
    from_tokens = decibels(images, _decoded(vqvae, images))
    from_colours = decibels(images, mean_colours(images, vqvae.config.downsampling_factor))
    message = (
        f"the tokens of {checkpoint} on {run.source.name}: {from_tokens:.1f} dB (PSNR of "
        f"{COUNT} images); one mean colour a token: {from_colours:.1f} dB"
    )
    if from_tokens > from_colours:
        logger.info(message)
    else:
        logger.warning("%s. They do not suit these images: train tokens on them instead", message)


def decibels(images: Float[Tensor, "b 3 h w"], others: Float[Tensor, "b 3 h w"]) -> float:
    """The peak signal-to-noise ratio of images in 0 to 1: 20 dB are errors of 0.1."""
    return -10 * math.log10(max((images - others).square().mean().item(), 1e-10))


def mean_colours(images: Float[Tensor, "b 3 h w"], side: int) -> Float[Tensor, "b 3 h w"]:
    """The images with each square of `side` pixels in its mean colour."""
    return F.interpolate(F.avg_pool2d(images, side), scale_factor=side)


@torch.no_grad()
def _decoded(vqvae: VQVAE, images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b 3 h w"]:
    parts = images.to(next(vqvae.parameters()).device).split(AT_ONCE)
    return torch.cat([vqvae.decode(vqvae.encode(part)).float().cpu() for part in parts])

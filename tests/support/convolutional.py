"""Denoisers with a convolutional feed-forward, from the synthetic official files."""

import torch
from official import files
from official.sizes import ReleaseSizes
from torch import Tensor, nn

from vqlearn.checkpoints.renames import rename_from_diffusers
from vqlearn.released import convolutional_keys as keys
from vqlearn.transformer import (
    ClassDenoiser,
    ConvolutionalTextDenoiser,
    DenoiserConfig,
    UnconditionalDenoiser,
)


def official_state(sizes: ReleaseSizes, seed: int, dtype=torch.float64) -> dict[str, Tensor]:
    """All weights of the average, CLIP and the schedule among them, under their official names."""
    state = files.diffusion_state(sizes, seed, part="ema")
    return {key: value.to(dtype) for key, value in state.items()}


def official_denoiser(sizes: ReleaseSizes, state: dict[str, Tensor]) -> nn.Module:
    """Our network with the official weights, in their dtype."""
    state = {k: v for k, v in state.items() if k.startswith("transformer.") and "mask" not in k}
    each = sizes.denoiser
    if each.kind == "convolutional text":
        config = DenoiserConfig(
            *(keys.NUM_HEADS, each.width // keys.NUM_HEADS, each.blocks, each.condition),
            *(True, each.codes + 1, each.grid, each.steps),
        )
        network = ConvolutionalTextDenoiser(config)
        ours = rename_from_diffusers(state, keys.CONVOLUTIONAL_TEXT_KEYS)
    else:
        config = keys.config_of({key: value.shape for key, value in state.items()}, each.grid)
        by_class = each.kind == "class"
        network = (ClassDenoiser if by_class else UnconditionalDenoiser)(config)
        table = keys.CLASS_KEYS if by_class else keys.UNCONDITIONAL_KEYS
        ours = rename_from_diffusers(state, table)
        ours = {name: keys.adapted(name, weight, config) for name, weight in ours.items()}
    network.load_state_dict(ours, assign=True)
    return network.eval()

"""Denoisers with a convolutional feed-forward, and their pipelines, from the official states."""

import torch
from official import files
from official.sizes import SMALL, ReleaseSizes
from torch import Tensor, nn

from vqlearn.checkpoints.renames import rename_from_diffusers
from vqlearn.diffusion import DiffusionModel, MaskAndReplace, ScheduleConfig, build_schedule
from vqlearn.pipeline import ClassToImagePipeline, UnconditionalPipeline
from vqlearn.pipeline.reverse_steps import ReverseSteps
from vqlearn.released import convolutional_keys as keys
from vqlearn.tokens import VQVAE, VQVAEConfig
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


def official_pipeline(name: str, dtype=torch.float64) -> tuple[ReverseSteps, dict[str, Tensor]]:
    """The pipeline of a small official model, with a random VQ network; its state beside it.

    The schedule stays in float32, as it is in the file.
    """
    sizes = SMALL[name]
    state = official_state(sizes, seed=0, dtype=dtype)
    state |= {k: v.float() for k, v in state.items() if k.startswith("log_")}
    kind = ClassToImagePipeline if sizes.denoiser.kind == "class" else UnconditionalPipeline
    process = MaskAndReplace(build_schedule(ScheduleConfig(sizes.denoiser.codes + 1)))
    pipe = kind(small_vqvae().to(dtype), DiffusionModel(process, official_denoiser(sizes, state)))
    pipe.set_progress_bar_config(disable=True)
    return pipe, state


def small_vqvae(codes: int = 11) -> VQVAE:
    """One that makes 8 x 8 pixels of 4 x 4 tokens."""
    torch.manual_seed(0)
    vqvae = VQVAE(VQVAEConfig((4, 8), 1, 4, 4, codes, 4, (1,), (1,)))
    torch.nn.init.normal_(vqvae.quantizer.codebook.weight)
    return vqvae

"""Denoisers with a convolutional feed-forward, from the synthetic official files."""

import torch
from official import files
from official.sizes import ReleaseSizes
from support.official_files import Known
from torch import Tensor, nn

from vqlearn.checkpoints.folder import KINDS
from vqlearn.checkpoints.renames import rename_from_diffusers
from vqlearn.released.conversion import denoisers
from vqlearn.released.conversion.sources import Found
from vqlearn.released.training_file import TrainingFile


def official_state(sizes: ReleaseSizes, seed: int, dtype=torch.float64) -> dict[str, Tensor]:
    """All weights of the average, CLIP and the schedule among them, under their official names."""
    state = files.diffusion_state(sizes, seed, part="ema")
    return {key: value.to(dtype) for key, value in state.items()}


def official_denoiser(sizes: ReleaseSizes, state: dict[str, Tensor]) -> nn.Module:
    """Our network with the official weights, in their dtype."""
    found = Found("state", TrainingFile(Known(state), None, {}), "transformer.".__add__)
    kind = KINDS[denoisers.folder_of(found)]
    if denoisers.folder_of(found) in denoisers.TEXT_FOLDERS:
        config = denoisers.text_config(found, sizes.denoiser.condition)
    else:
        config = denoisers.config_without_text(found)
    sources = denoisers.denoiser_part(found, config).weights
    in_file = {name: source.change(state[source.key]) for name, source in sources.items()}
    network = kind.network(config)
    network.load_state_dict(rename_from_diffusers(in_file, kind.renames), assign=True)
    return network.eval()

"""Denoisers with a convolutional feed-forward, and their pipelines, from the official states."""

import torch
from official import files
from official.sizes import SMALL, ReleaseSizes
from support.official_files import Known
from torch import Tensor, nn

from vqlearn.checkpoints.folder import KINDS
from vqlearn.checkpoints.renames import rename_from_diffusers
from vqlearn.diffusion import DiffusionModel, MaskAndReplace, ScheduleConfig, build_schedule
from vqlearn.pipeline import ClassToImagePipeline, UnconditionalPipeline
from vqlearn.pipeline.reverse_steps import ReverseSteps
from vqlearn.released.conversion import denoisers
from vqlearn.released.conversion.sources import Found
from vqlearn.released.training_file import TrainingFile
from vqlearn.tokens import VQVAE, VQVAEConfig


def official_state(sizes: ReleaseSizes, seed: int, dtype=torch.float64) -> dict[str, Tensor]:
    """All weights of the average, CLIP and the schedule among them, under their official names."""
    state = files.diffusion_state(sizes, seed, part="ema")
    return {key: value.to(dtype) for key, value in state.items()}


def official_denoiser(sizes: ReleaseSizes, state: dict[str, Tensor]) -> nn.Module:
    """Our network with the official weights, in their dtype."""
    found = Found("state", TrainingFile(Known(state), None), "transformer.".__add__)
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

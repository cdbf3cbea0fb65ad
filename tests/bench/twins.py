"""The same random weights twice: in diffusers' classes, and in ours."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import torch
from diffusers import Transformer2DModel
from diffusers.pipelines.deprecated.vq_diffusion import pipeline_vq_diffusion as reference
from support.denoisers import build_reference
from support.tiny import diffusers_parts, null_embedding_is_found

from vqlearn import VQDiffusionPipeline
from vqlearn.checkpoints.renames import DENOISER_RENAMES, rename_from_diffusers
from vqlearn.checkpoints.shipped import WEIGHTS
from vqlearn.transformer.denoiser import Denoiser, DenoiserConfig

SCENES = WEIGHTS / "scenes"
SMALL = DenoiserConfig(8, 32, 8, 12, True, 1025, 16, 100)
ITHQ_WIDTH = DenoiserConfig(16, 88, 4, 12, True, 4097, 32, 100)
TEXT_LENGTH = 77


class Twins(NamedTuple):
    """diffusers' pipeline and ours, with the same weights."""

    theirs: reference.VQDiffusionPipeline
    ours: VQDiffusionPipeline


def write_twins(folder: Path, config: DenoiserConfig) -> None:
    """A checkpoint with random weights whose denoiser has these sizes; all else is tiny."""
    torch.manual_seed(0)
    sizes = {"codes": config.num_codes, "grid": config.sample_size}
    parts = diffusers_parts(**sizes, levels=config.num_embeds_ada_norm, text_length=TEXT_LENGTH)
    pipeline = reference.VQDiffusionPipeline(**parts | {"transformer": build_reference(config)})
    with null_embedding_is_found():
        pipeline.save_pretrained(folder)


def load_theirs(folder: Path) -> reference.VQDiffusionPipeline:
    """diffusers' pipeline of a folder, without its progress bars."""
    with null_embedding_is_found():
        pipeline = reference.VQDiffusionPipeline.from_pretrained(folder)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def load_ours(folder: Path) -> VQDiffusionPipeline:
    """Our pipeline of a folder, without its progress bars."""
    pipeline = VQDiffusionPipeline.from_pretrained(folder)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def load_twins(folder: Path, device: str, dtype: torch.dtype = torch.float32) -> Twins:
    """Both pipelines of a folder, on this device, in this dtype.

    The VQ network stays in float32: in bfloat16 diffusers' pipeline cannot give its image away.
    """
    twins = Twins(load_theirs(folder).to(device, dtype), load_ours(folder).to(device, dtype))
    for pipeline in twins:
        pipeline.vqvae.float()
    return twins


def make_twins(config: DenoiserConfig, device: str, dtype: torch.dtype = torch.float32) -> Twins:
    """`write_twins` and `load_twins`, through a folder that is gone afterwards."""
    with TemporaryDirectory() as folder:
        write_twins(Path(folder), config)
        return load_twins(Path(folder), device, dtype)


def denoiser_twins(config: DenoiserConfig, device: str) -> tuple[Transformer2DModel, Denoiser]:
    """The two networks alone, ready to be trained."""
    torch.manual_seed(0)
    theirs, ours = build_reference(config), Denoiser(config)
    ours.load_state_dict(rename_from_diffusers(theirs.state_dict(), DENOISER_RENAMES))
    return theirs.to(device).train(), ours.to(device).train()

"""Which token model lies in a folder, and how it is read and written.

transformer/ and scheduler/     a denoiser and its schedule: VQ-Diffusion, as diffusers has it
raster_transformer/             config.json with the names of `RasterTransformerConfig`, weights
imagebart/                      config.json with the names of `ImageBARTConfig`, weights
"""

from dataclasses import asdict
from functools import partial
from pathlib import Path

from vqlearn.autoregressive import (
    ImageBART,
    ImageBARTConfig,
    RasterTransformer,
    RasterTransformerConfig,
)
from vqlearn.checkpoints.configs import read_config
from vqlearn.checkpoints.folder import AS_STORED, load_denoiser, load_schedule
from vqlearn.checkpoints.layout import IMAGEBART_FOLDER, RASTER_FOLDER, model_folder
from vqlearn.checkpoints.modules import Kind, Wanted, load_module, save_module
from vqlearn.diffusion import DiffusionModel, MaskAndReplace, build_schedule
from vqlearn.probability import TokenModel

KINDS = {
    RASTER_FOLDER: Kind(partial(read_config, RasterTransformerConfig), RasterTransformer, None),
    IMAGEBART_FOLDER: Kind(partial(read_config, ImageBARTConfig), ImageBART, None),
}
"""The kinds of models that are one network, by the name of their folder."""


def load_token_model(folder: Path, wanted: Wanted = AS_STORED) -> TokenModel:
    """The token model of a checkpoint. Raises `CheckpointError` if there is none, or several."""
    name = model_folder(folder)
    if name in KINDS:
        return load_module(folder / name, KINDS[name], wanted)
    process = MaskAndReplace(build_schedule(load_schedule(folder)))
    return DiffusionModel(process, load_denoiser(folder, wanted))


def save_token_model(model: TokenModel, folder: Path) -> None:
    """Write the folder of a token model that is one network.

    The parts of VQ-Diffusion have savers of their own. Raises `TypeError` for another kind.
    """
    for name, kind in KINDS.items():
        if isinstance(model, kind.network):
            values = {"_class_name": kind.network.__name__, **asdict(model.config)}
            return save_module(model, folder / name, values, kind.renames)
    allowed = ", ".join(kind.network.__name__ for kind in KINDS.values())
    raise TypeError(f"the model is a {type(model).__name__}; allowed: {allowed}")

"""Which token model lies in a folder, and how it is read and written.

transformer/ and scheduler/     a denoiser and its schedule: VQ-Diffusion
"""

from collections.abc import Callable
from pathlib import Path

from vqlearn.checkpoints.folder import AS_STORED, load_denoiser, load_schedule
from vqlearn.checkpoints.layout import DENOISER_FOLDER, CheckpointError
from vqlearn.checkpoints.modules import Wanted
from vqlearn.diffusion.model import DiffusionModel
from vqlearn.diffusion.process import MaskAndReplace
from vqlearn.diffusion.schedule import build_schedule
from vqlearn.probability.model import TokenModel


def _load_diffusion(folder: Path, wanted: Wanted) -> DiffusionModel:
    process = MaskAndReplace(build_schedule(load_schedule(folder)))
    return DiffusionModel(process, load_denoiser(folder, wanted))


LOADERS: dict[str, Callable[[Path, Wanted], TokenModel]] = {DENOISER_FOLDER: _load_diffusion}
"""How a model is read, by the name of its folder in the checkpoint."""


def load_token_model(folder: Path, wanted: Wanted = AS_STORED) -> TokenModel:
    """The token model of a checkpoint. Raises `CheckpointError` if there is none, or several."""
    there = [name for name in LOADERS if (folder / name).is_dir()]
    if len(there) != 1:
        raise CheckpointError(f"{folder} holds the models {there}; allowed: one of {list(LOADERS)}")
    return LOADERS[there[0]](folder, wanted)


SAVERS: dict[type, Callable[[TokenModel, Path], None]] = {}
"""How a model is written, by its class; the parts of VQ-Diffusion have savers of their own."""


def save_token_model(model: TokenModel, folder: Path) -> None:
    """Write the folder of a token model. Raises `TypeError` for a kind that has none."""
    for kind, save in SAVERS.items():
        if isinstance(model, kind):
            return save(model, folder)
    allowed = ", ".join(kind.__name__ for kind in SAVERS)
    raise TypeError(f"the model is a {type(model).__name__}; allowed: {allowed}")

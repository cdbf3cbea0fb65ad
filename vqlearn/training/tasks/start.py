"""A checkpoint to go on with: what its denoiser is told of an image, and whether that fits."""

from pathlib import Path

import torch
from jaxtyping import Int
from torch import Tensor

from vqlearn.checkpoints.class_labels import as_label, number_of
from vqlearn.checkpoints.class_names import load_class_names
from vqlearn.checkpoints.folder import KINDS, understand
from vqlearn.checkpoints.layout import (
    CLASS_FOLDER,
    CONFIG_FILE,
    DENOISER_FOLDERS,
    INDICES,
    TEXT_FOLDER,
    VQVAE_FOLDER,
    model_folder,
)
from vqlearn.data import ImageFolder, Source
from vqlearn.probability.checks import check_choice
from vqlearn.training.loop import Run
from vqlearn.training.tasks.captioned import FrozenTokens


def goes_on(start_from: Path | None) -> bool:
    """Is there a token model to go on with, which is not to be a fresh one?"""
    return start_from is not None and any((start_from / name).is_dir() for name in INDICES)


def is_textless(folder: Path | None) -> bool:
    """Is there a token model that is told a class, or nothing, in place of captions?"""
    return goes_on(folder) and TEXT_FOLDER not in INDICES[model_folder(folder)]


def check_fits(start: Path, source: Source) -> None:
    """Raise `ValueError` unless the denoiser of a checkpoint can learn from these images.

    They must have its size, and to a model of classes each caption must name one. Also for a
    token model that is no VQ-Diffusion; `CheckpointError` for a config that is damaged.
    """
    name = model_folder(start)
    check_choice(f"the token model of {start}", name, DENOISER_FOLDERS)
    side = _config(start, name).sample_size
    size = side * _config(start, VQVAE_FOLDER).downsampling_factor
    if source.image_size != size:
        raise ValueError(f"image_size is {source.image_size}; allowed: {size}, as in {start}")
    if name == CLASS_FOLDER:
        _classes(start, source)


def _classes(start: Path, source: Source) -> tuple[dict[str, int], tuple[str, ...] | None]:
    """The class that each caption of a source names, and the names of all classes, if known."""
    count = _config(start, CLASS_FOLDER).num_classes
    names, found = load_class_names(start, count), {}
    for caption in dict.fromkeys(source.captions()):
        try:
            found[caption] = number_of("a caption", as_label(caption.strip()), count, names)
        except ValueError as error:
            is_folder = isinstance(source, ImageFolder)
            place = source.place_of(caption) if is_folder else source.name
            raise ValueError(f"{place}: {error}") from error
    return found, names


def _config(folder: Path, part: str) -> object:
    return understand(folder / part / CONFIG_FILE, KINDS[part].config)


class FrozenLabels(FrozenTokens):
    """The VQ-VAE of `run.folder`, and the classes of `run.start_from` that captions name."""

    def __init__(self, run: Run) -> None:
        super().__init__(run)
        self.numbers, self.class_names = _classes(run.start_from, run.source)

    def told(self, captions: list[str]) -> Int[Tensor, " b"]:
        """The numbers of the classes."""
        return torch.tensor([self.numbers[caption] for caption in captions], device=self.device)

"""What is frozen is encoded once: the tokens of all images of a folder, the states of all captions.

The networks that do it never change, so a token model that learns from a folder for a hundred
epochs would else compute the same numbers a hundred times.
"""

import logging
from dataclasses import dataclass

import psutil
import torch
from jaxtyping import Float, Int
from torch import Tensor
from tqdm.auto import tqdm

from vqlearn.data import FiniteSource
from vqlearn.data.image_folder import BAR_AFTER
from vqlearn.text import TextEncoder
from vqlearn.tokens import VQVAE
from vqlearn.training.loop import Run

logger = logging.getLogger("vqlearn")


@dataclass(frozen=True)
class Captions:
    """The text states of distinct captions, and which row each caption has."""

    rows: dict[str, int]
    states: Float[Tensor, "captions l c"]

    def of(self, captions: list[str]) -> Float[Tensor, "b l c"]:
        """The states of these captions."""
        return self.states[[self.rows[caption] for caption in captions]]


def encode_images(vqvae: VQVAE, run: Run) -> Int[Tensor, "images n"] | None:
    """The tokens of all images of a folder, in the smallest type that holds them, on the CPU.

    None for scenes, which never end, for images that look different each time they are drawn, and
    if the tokens do not fit in memory, which is logged.
    """
    source = run.source
    if not isinstance(source, FiniteSource) or source.varies:
        return None
    dtype = smallest_integers(vqvae.config.num_vq_embeddings)
    num_tokens = (source.image_size // vqvae.config.downsampling_factor) ** 2
    if not _fit("tokens of images", source.num_images * num_tokens * dtype.itemsize, run):
        return None
    tokens = torch.empty(source.num_images, num_tokens, dtype=dtype)
    numbers = torch.arange(source.num_images).split(run.recipe.batch_size)
    for some in _with_bar(numbers, "tokens of images", run):
        tokens[some] = vqvae.encode(source.numbered_images(some)).to("cpu", dtype)
    return tokens


@torch.no_grad()
def encode_captions(encoder: TextEncoder, run: Run) -> Captions | None:
    """The text states of all distinct captions of a folder, on the CPU.

    l * c numbers each: of 32 x 128 in float32 16 KB, of 77 x 512 as CLIP has them 158 KB. None for
    scenes, and if they do not fit in memory, which is logged.
    """
    if not isinstance(run.source, FiniteSource):
        return None
    captions = list(dict.fromkeys(run.source.captions()))
    shape, dtype = (len(captions), encoder.length, encoder.width), encoder.model.dtype
    if not _fit("text states of captions", torch.Size(shape).numel() * dtype.itemsize, run):
        return None
    states = torch.empty(shape, dtype=dtype)
    for some in _with_bar(torch.arange(len(captions)).split(run.recipe.batch_size), "text", run):
        states[some] = encoder([captions[i] for i in some.tolist()], warn=False).cpu()
    return Captions({caption: row for row, caption in enumerate(captions)}, states)


def smallest_integers(count: int) -> torch.dtype:
    """The smallest type of integers that holds 0 to count - 1."""
    types = (torch.uint8, torch.int16, torch.int32)
    return next(dtype for dtype in types if torch.iinfo(dtype).max >= count - 1)


def _fit(what: str, needed: int, run: Run) -> bool:
    """Is so much memory free, for each of the processes? If not, say what is done instead."""
    free = psutil.virtual_memory().available // run.accelerator.num_processes
    if needed > free and run.accelerator.is_main_process:
        logger.info(
            "%s need %d MB of memory, and %d MB are free: they are computed anew in each batch",
            *(what, needed // 2**20, free // 2**20),
        )
    return needed <= free


def _with_bar(parts: tuple[Tensor, ...], name: str, run: Run) -> tqdm:
    bar = {"delay": BAR_AFTER, "unit": " batches", "disable": not run.accelerator.is_main_process}
    return tqdm(parts, name, **bar)

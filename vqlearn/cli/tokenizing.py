"""A folder of images as tokens, and back, with the VQ network of any checkpoint."""

import hashlib
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import TypeVar

import torch
from einops import rearrange
from tqdm.auto import tqdm

from vqlearn.checkpoints import load_vqvae, resolve
from vqlearn.checkpoints.digests import check_digests
from vqlearn.checkpoints.layout import CONFIG_FILE, INDICES, PARTS
from vqlearn.checkpoints.reading import read_json
from vqlearn.cli.models import choices_of, reading_of
from vqlearn.data.image_files import read_image
from vqlearn.data.token_file import TokenFile, check_name
from vqlearn.pipeline import best_device
from vqlearn.pipeline.output import as_pil
from vqlearn.probability.checks import check_integer, shown
from vqlearn.storage import atomic_write
from vqlearn.tokens import VQVAE

AT_ONCE = 16  # images
BAR_AFTER = 2  # seconds
MOST_NAMED = 10  # files; the others are counted
SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".ppm")

Item = TypeVar("Item")

logger = logging.getLogger("vqlearn")


def encoded(
    model: str, folder: Path, image_size: int | None, *, nearest_used: bool = False
) -> TokenFile:
    """The tokens of all images in a folder, in the order of their names.

    `nearest_used` as in `VQVAE.encode`: only for a model that does not know all codes.

    Transparent pixels get the background that the model was trained with, where that is known.

    Raises `ValueError` for a size that tokens do not fill, and if no image can be read;
    `CheckpointError` for a model that cannot be loaded.
    """
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
    if not files:
        raise ValueError(f"FOLDER is {str(folder)!r}; allowed: one with {', '.join(SUFFIXES)}")
    vqvae = _tokenizer(model)
    if nearest_used and vqvae.full_codes is None:
        raise ValueError(f"--nearest-used is True; allowed: not with {model}, it knows all codes")
    size = _image_size(model, image_size, vqvae.config.downsampling_factor)
    background = reading_of(choices_of(resolve(model))).background
    images, left_out = {}, []
    for some in _in_parts(files):
        squares = {}
        for file in some:
            name = file.relative_to(folder).as_posix()
            try:
                check_name(name)
                squares[name] = read_image(file, size, background=background).pixels / 255
            except (OSError, ValueError) as error:
                left_out.append(f"{name} is left out: {error}")
        if squares:
            pixels = torch.stack(list(squares.values()))
            tokens = vqvae.encode(pixels, nearest_used=nearest_used).cpu()  # (b, n)
            images |= zip(squares, tokens, strict=True)
    _warn(left_out)
    if not images:
        raise ValueError(f"FOLDER is {str(folder)!r}; allowed: one with images that can be read")
    side = size // vqvae.config.downsampling_factor
    grids = rearrange(list(images.values()), "b (h w) -> b h w", h=side)
    return TokenFile(grids, list(images), vqvae.config.num_vq_embeddings, digest_of(vqvae))


def write_decoded(model: str, found: TokenFile, folder: Path) -> None:
    """Write each image as a PNG file, and over none that is there.

    Raises `FileExistsError` before the work; `ValueError` for the tokens of another model.
    """
    names = png_names(found.file_names)
    if there := next((name for name in names if (folder / name).exists()), None):
        raise FileExistsError(
            f"--out is {str(folder)!r}, which holds {shown(there)}; allowed: a folder without it"
        )
    vqvae = _tokenizer(model)
    if found.tokenizer != digest_of(vqvae):
        raise ValueError(
            f"the tokens were made by the model {shown(found.tokenizer)}; allowed: those of "
            f"{model}, {digest_of(vqvae)}"
        )
    rows, columns = found.tokens.shape[1:]
    for some in _in_parts(list(zip(names, found.tokens, strict=True))):
        files, grids = zip(*some, strict=True)
        tokens = rearrange(list(grids), "b h w -> b (h w)").to(best_device())
        with torch.no_grad():
            pixels = vqvae.decode(tokens, grid=(rows, columns)).float().cpu()
        for name, image in zip(files, as_pil(pixels), strict=True):
            with atomic_write(folder / name) as part:
                image.save(part)


def png_names(names: list[str]) -> list[str]:
    """The names with the ending .png: in place of their own, or behind all where two would meet."""
    short = [str(PurePosixPath(name).with_suffix(".png")) for name in names]
    return short if len(set(short)) == len(short) else [f"{name}.png" for name in names]


def digest_of(vqvae: VQVAE) -> str:
    """16 hex digits for the weights, whatever file they came from."""
    digest = hashlib.sha256(repr(vqvae.config).encode())
    for name, weights in sorted(vqvae.state_dict().items()):
        digest.update(name.encode() + weights.float().cpu().numpy().tobytes())
    return digest.hexdigest()[:16]


def _tokenizer(model: str) -> VQVAE:
    folder = resolve(model)
    check_digests(folder, PARTS)
    return load_vqvae(folder).to(best_device()).eval()


def _image_size(model: str, wanted: int | None, factor: int) -> int:
    """What the user wants, or what the denoiser of the checkpoint was trained for."""
    if wanted is None:
        configs = [resolve(model) / name / CONFIG_FILE for name in INDICES]
        sides = [read_json(file).get("sample_size") for file in configs if file.is_file()]
        wanted = next((side * factor for side in sides if side is not None), None)
    if wanted is None:
        raise ValueError(
            f"--image-size is None, and {model} does not tell it; allowed: multiples of {factor}"
        )
    check_integer("--image-size", wanted, 1)
    if wanted % factor:
        raise ValueError(f"--image-size is {wanted}; allowed: multiples of {factor}")
    return wanted


def _in_parts(items: Sequence[Item]) -> Iterator[Sequence[Item]]:
    """The items in parts that a network is given at once; with a progress bar, if it takes long."""
    with tqdm(desc="images", total=len(items), unit=" images", delay=BAR_AFTER) as bar:
        for first in range(0, len(items), AT_ONCE):
            yield items[first : first + AT_ONCE]
            bar.update(min(AT_ONCE, len(items) - first))


def _warn(left_out: list[str]) -> None:
    for reason in left_out[:MOST_NAMED]:
        logger.warning("%s", reason)
    if len(left_out) > MOST_NAMED:
        logger.warning("%d more files are left out", len(left_out) - MOST_NAMED)

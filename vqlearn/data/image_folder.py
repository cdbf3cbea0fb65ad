"""Your own images: a folder with `metadata.jsonl`, as Hugging Face's `imagefolder` has it.

    my_pictures/
      metadata.jsonl      {"file_name": "cat.jpg", "text": "a cat on a sofa"}   one line an image
      cat.jpg

Everything is looked at once, at the start: lines and images that cannot be used are named in a
warning of the logger "vqlearn" and left out.
"""

import hashlib
import json
import logging
import unicodedata
from pathlib import Path

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Float
from PIL import Image, ImageOps
from torch import Tensor

from vqlearn.data.batches import Batch, Source

METADATA = "metadata.jsonl"
ALLOWED_LINE = '{"file_name": "an image in the folder", "text": "its caption"}'

logger = logging.getLogger("vqlearn")


class ImageFolder(Source):
    """Random images of a folder, cut to squares of `image_size` pixels.

    Raises `FileNotFoundError` if there is no `metadata.jsonl`, and `ValueError` if no line of it
    leads to an image that can be used.

    `digest` is that of the usable lines and the bytes of their images: a copy of the folder has the
    same, a folder with another image or caption has not.
    """

    def __init__(self, folder: Path, image_size: int) -> None:
        self.name, self.image_size = str(folder), image_size
        self.files = _usable_files(folder, image_size)
        self.digest = _digest(folder, self.files)

    def batch(self, count: int, *, generator: torch.Generator) -> Batch:
        """Each image is drawn at random, with no memory of the ones before."""
        rows = torch.randint(len(self.files), (count,), generator=generator).tolist()
        chosen = [self.files[row] for row in rows]
        images = torch.stack([load_square(path, self.image_size) for path, _ in chosen])
        return Batch(images, [caption for _, caption in chosen])

    def captions(self) -> list[str]:
        """All of them, once for each image."""
        return [caption for _, caption in self.files]


def load_square(path: Path, size: int) -> Float[Tensor, "3 size size"]:
    """The middle square of an image, RGB in 0 to 1, upright, transparency on white.

    Raises `OSError` or `ValueError` for a file that is no image, is cut off, or is too large.
    """
    with Image.open(path) as picture:
        upright = ImageOps.exif_transpose(picture).convert("RGBA")
    on_white = Image.new("RGBA", upright.size, "white")
    on_white.alpha_composite(upright)
    square = ImageOps.fit(on_white.convert("RGB"), (size, size), Image.Resampling.LANCZOS)
    return rearrange(torch.from_numpy(np.array(square)), "h w c -> c h w") / 255


def _usable_files(folder: Path, image_size: int) -> list[tuple[Path, str]]:
    """The images that were opened once without trouble, each with its caption."""
    metadata = folder / METADATA
    if not metadata.is_file():
        raise FileNotFoundError(
            f"there is no file {str(metadata)!r}; allowed: one line an image, {ALLOWED_LINE}"
        )
    usable = []
    lines = metadata.read_text(encoding="utf-8").splitlines()
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            path, caption = _read_line(folder, line)
            load_square(path, image_size)
        except (OSError, ValueError, Image.DecompressionBombError) as error:
            logger.warning("%s line %d is skipped: %s", metadata, number, error)
        else:
            usable.append((path, caption))
    if not usable:
        raise ValueError(
            f"none of the {len(lines)} lines of {metadata} can be used; "
            f"allowed: one line an image, {ALLOWED_LINE}"
        )
    return usable


def _digest(folder: Path, files: list[tuple[Path, str]]) -> str:
    """16 hex digits of the names, the captions and the bytes of all images, in their order."""
    digest = hashlib.sha256()
    for path, caption in files:
        name = unicodedata.normalize("NFC", path.relative_to(folder).as_posix())
        with path.open("rb") as stream:
            content = hashlib.file_digest(stream, "sha256").hexdigest()
        digest.update(json.dumps([name, caption, content]).encode())
    return digest.hexdigest()[:16]


def _read_line(folder: Path, line: str) -> tuple[Path, str]:
    entry = json.loads(line)
    if not isinstance(entry, dict):
        raise ValueError(f"it holds {line.strip()[:40]!r}; allowed: {ALLOWED_LINE}")
    for key in ("file_name", "text"):
        if not isinstance(entry.get(key), str) or not entry[key]:
            raise ValueError(f"{key} is {entry.get(key)!r}; allowed: {ALLOWED_LINE}")
    path = folder / entry["file_name"]
    if not path.resolve().is_relative_to(folder.resolve()):
        raise ValueError(f"file_name is {entry['file_name']!r}; allowed: a file inside the folder")
    return path, entry["text"]

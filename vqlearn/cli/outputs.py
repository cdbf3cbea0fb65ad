"""The images that a command writes: where they go is tried before the work begins."""

from pathlib import Path
from tempfile import TemporaryDirectory

from PIL import Image

from vqlearn.storage import as_path, atomic_write, check_output_file


def check_image_file(name: str, file: Path) -> Path:
    """The path of an image that can be written, with `~` expanded; its folder is made.

    Raises `ValueError` or `OSError`, naming the option. The format is tried, for Pillow knows some
    that it cannot write.
    """
    path = as_path(name, file)
    try:
        with TemporaryDirectory() as place:
            Image.new("RGB", (1, 1)).save(Path(place) / f"trial{path.suffix}")
    except (KeyError, OSError, ValueError) as error:
        raise ValueError(
            f"{name} is {str(file)!r}; allowed: an image file such as grid.png"
        ) from error
    check_output_file(name, path)
    return path


def check_gif_file(name: str, file: Path) -> Path:
    """The same for a film: a GIF."""
    path = as_path(name, file)
    if path.suffix.lower() != ".gif":
        raise ValueError(f"{name} is {str(file)!r}; allowed: a GIF file such as film.gif")
    check_output_file(name, path)
    return path


def check_different(one: str, file: Path, other: str, other_file: Path) -> None:
    """Raise `ValueError` if two options name the same file."""
    if file.resolve() == other_file.resolve():
        raise ValueError(f"{one} is {str(file)!r}; allowed: another file than that of {other}")


def save_image(image: Image.Image, file: Path) -> None:
    """Write an image, atomically."""
    with atomic_write(file) as part:
        image.save(part)

"""How an image appears, as a GIF: one frame a step, masked tokens as a checkerboard.

film = Film(pipeline)
pipeline("a small red circle above a large blue square", 25, callback=film)
film.save("film.gif")
"""

from pathlib import Path

import torch
from einops import repeat
from jaxtyping import Float, Int
from PIL import Image
from torch import Tensor
from torch.nn import functional

from vqlearn.pipeline.grid import make_grid
from vqlearn.pipeline.output import as_pil
from vqlearn.pipeline.reverse_steps import ReverseSteps
from vqlearn.storage import as_path, atomic_write

LIGHT, DARK = 0.85, 0.7
CHECKS_PER_TOKEN = 2
FRAME_MILLISECONDS = 120
LAST_FRAME_MILLISECONDS = 2000


class Film:
    """A pipeline's callback that remembers the tokens of every step.

    `states` holds them, first the start: (images, n) each. The start is all MASK, or the `latents`
    that the call has. Another call of the pipeline begins the film anew.
    """

    def __init__(self, pipeline: ReverseSteps, latents: Int[Tensor, "b n"] | None = None) -> None:
        self.pipeline, self.latents = pipeline, latents
        self.states: list[Int[Tensor, "b n"]] = []

    def __call__(self, i: int, timestep: int, tokens: Int[Tensor, "b n"]) -> None:
        if i == 0:
            all_mask = torch.full_like(tokens, self.pipeline.denoiser.config.num_codes)
            self.states = [all_mask if self.latents is None else self.latents.to(tokens)]
        self.states.append(tokens)

    def frames(self) -> list[Image.Image]:
        """One image a step; several images are laid out as `make_grid` does."""
        return [make_grid(as_pil(paint(self.pipeline, tokens))) for tokens in self.states]

    def save(self, file: str | Path) -> None:
        """Write the frames as a GIF: see `save_gif`."""
        save_gif(self.frames(), file)


def save_gif(frames: list[Image.Image], file: str | Path) -> None:
    """A GIF that repeats for ever and stays at the last frame for two seconds.

    Raises `ValueError` if there are no frames, or for a file with another suffix than .gif, and
    `OSError` if it cannot be written.
    """
    path = as_path("file", file)
    if path.suffix.lower() != ".gif":
        raise ValueError(f"file is {str(path)!r}; allowed: a GIF file such as film.gif")
    if not frames:
        raise ValueError("frames is an empty list; allowed: one frame or more")
    times = [FRAME_MILLISECONDS] * (len(frames) - 1) + [LAST_FRAME_MILLISECONDS]
    with atomic_write(path) as part:
        frames[0].save(part, save_all=True, append_images=frames[1:], duration=times, loop=0)


@torch.no_grad()
def paint(pipeline: ReverseSteps, tokens: Int[Tensor, "b n"]) -> Float[Tensor, "b 3 H W"]:
    """Decode a half finished image, RGB in 0 to 1; MASK is a light checkerboard.

    MASK has no code vector: the decoder gets the image's most common token at its position, and the
    square that it makes of it is covered. Pixels beside a masked token can therefore still change.
    """
    vqvae, side = pipeline.vqvae, pipeline.denoiser.config.sample_size
    mask = pipeline.denoiser.config.num_codes
    masked = tokens == mask  # (b, n)
    counts = functional.one_hot(tokens, mask + 1).sum(dim=1)[:, :mask]
    images = vqvae.decode(torch.where(masked, counts.argmax(dim=1, keepdim=True), tokens)).cpu()
    size = vqvae.config.downsampling_factor
    covered = repeat(masked.cpu(), "b (h w) -> b 1 (h p) (w q)", h=side, p=size, q=size)
    return torch.where(covered, _checkerboard(pipeline.image_size, size), images)


def _checkerboard(side: int, token_size: int) -> Float[Tensor, "side side"]:
    position = torch.arange(side) // max(1, token_size // CHECKS_PER_TOKEN)
    odd = (position[:, None] + position[None, :]) % 2 == 1
    return torch.where(odd, DARK, LIGHT)

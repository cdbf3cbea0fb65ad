"""The null embedding: the states of "no caption", which classifier-free guidance needs."""

from dataclasses import dataclass

import torch
from einops import rearrange, repeat
from jaxtyping import Float
from torch import Tensor, nn

from vqlearn.probability.checks import check_sizes
from vqlearn.text.encoder import TextEncoder


@dataclass(frozen=True)
class NullTextConfig:
    """Whether the null embedding is learned, and its size; named as in the checkpoints' config.

    A learned table has `length` rows of `hidden_size` numbers; without one both may be None. Raises
    `ValueError` for a learned table of no size.
    """

    learnable: bool
    hidden_size: int | None = None
    length: int | None = None

    def __post_init__(self):
        if self.learnable:
            check_sizes({"hidden_size": self.hidden_size, "length": self.length})


class NullText(nn.Module):
    r"""The text states that the denoiser attends to when there is no caption.

    Improved VQ-Diffusion (Tang et al., 2022) learns them together with the denoiser. Unlike the
    states of captions they are *not* scaled to unit length, they only start with unit length on
    average. A checkpoint that does not learn them stores an empty tensor; `null_states` serves both
    kinds.
    """

    def __init__(self, config: NullTextConfig):
        super().__init__()
        self.config = config
        if config.learnable:
            start = torch.randn(config.length, config.hidden_size) * config.hidden_size**-0.5
        else:
            start = torch.empty(0)
        self.embeddings = nn.Parameter(start)

    def forward(self, count: int) -> Float[Tensor, "count l c"]:
        """The same learned states `count` times. Raises `ValueError` if there are none."""
        if not self.config.learnable:
            raise ValueError("learnable is False; allowed here: True (`null_states` serves both)")
        return repeat(self.embeddings, "l c -> count l c", count=count)


def null_states(null: NullText, encoder: TextEncoder, count: int) -> Float[Tensor, "count l c"]:
    """The states of "no caption": the learned ones, or else those of the empty caption."""
    if null.config.learnable:
        return null(count)
    return repeat(encoder([""]), "1 l c -> count l c", count=count)


def negative_states(
    encoder: TextEncoder, negative: list[str], images: int
) -> Float[Tensor, "_ l c"]:
    """The states of negative prompts, in the place of "no caption".

    One text is for all images, so its states come once. Of several, one for each prompt, they come
    `images` times each, in the order of the images: all of the first prompt, then of the second.
    """
    copies = images if len(negative) > 1 else 1
    return repeat(encoder(negative), "b l c -> (b copies) l c", copies=copies)


def drop_captions(
    text: Float[Tensor, "b l c"],
    null: Float[Tensor, "b l c"],
    rate: float,
    *,
    generator: torch.Generator | None = None,
) -> Float[Tensor, "b l c"]:
    """Replace each caption of a batch as a whole by `null` with probability `rate`.

    So one network learns $p(x_0|x_t, y)$ and $p(x_0|x_t)$, which guidance needs. Captions are
    replaced independently of each other. The draw is made on the generator's device (the CPU
    without one). Raises `ValueError` for a rate outside 0..1.
    """
    if not 0 <= rate <= 1:
        raise ValueError(f"rate is {rate}; allowed: 0 to 1")
    device = generator.device if generator else "cpu"
    dropped = torch.rand(len(text), generator=generator, device=device) < rate
    dropped = rearrange(dropped, "b -> b 1 1").to(text.device)  # a whole caption or nothing of it
    return torch.where(dropped, null.to(text.dtype), text)

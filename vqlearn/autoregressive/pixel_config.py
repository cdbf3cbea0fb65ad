"""The images that networks of pixels read: how large, how many colours, how many values."""

from dataclasses import asdict, dataclass
from typing import ClassVar

from jaxtyping import Float
from torch import Tensor

from vqlearn.probability.checks import check_sizes


@dataclass(frozen=True)
class PixelConfig:
    """What every config of a network of pixels begins with.

    - `side`: images have side x side pixels.
    - `channels`: c, the tokens of one pixel: 1 for grey, 3 for red, green and blue.
    - `num_codes`: K, the values of one token.

    Raises `ValueError` for other sizes than integers of at least 1 (or of what `smallest` says),
    those of a config that adds some included.
    """

    side: int
    channels: int
    num_codes: int
    smallest: ClassVar[dict[str, int]] = {"num_codes": 2}

    def __post_init__(self) -> None:
        check_sizes(asdict(self), **self.smallest)

    @property
    def num_positions(self) -> int:
        """n = side * side * channels, the tokens of one sequence."""
        return self.side**2 * self.channels


def to_scale(values: Float[Tensor, "*b"], num_codes: int) -> Float[Tensor, "*b"]:
    """From values 0..K - 1 to the scale from -1 to 1."""
    return 2 * values / (num_codes - 1) - 1


def from_scale(scaled: Float[Tensor, "*b"], num_codes: int) -> Float[Tensor, "*b"]:
    """From the scale from -1 to 1 to values 0..K - 1, not rounded: gradients go through."""
    return (scaled + 1) * ((num_codes - 1) / 2)

"""The images that networks of pixels read: how large, how many colours, how many values."""

from dataclasses import asdict, dataclass

from vqlearn.probability.checks import check_sizes


@dataclass(frozen=True)
class PixelConfig:
    """What every config of a network of pixels begins with.

    - `side`: images have side x side pixels.
    - `channels`: c, the tokens of one pixel: 1 for grey, 3 for red, green and blue.
    - `num_codes`: K, the values of one token.

    Raises `ValueError` for other sizes than integers of at least 1 (K: 2), those of a config that
    adds some included.
    """

    side: int
    channels: int
    num_codes: int

    def __post_init__(self) -> None:
        check_sizes(asdict(self), **self.smallest())

    def smallest(self) -> dict[str, int]:
        """The sizes that may not be 1, or may be 0, with their smallest value."""
        return {"num_codes": 2}

    @property
    def num_positions(self) -> int:
        """n = side * side * channels, the tokens of one sequence."""
        return self.side**2 * self.channels

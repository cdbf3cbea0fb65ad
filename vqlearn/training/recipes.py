"""How long each stage learns, and how fast."""

import math
from dataclasses import dataclass

from vqlearn.probability.checks import check_integer, check_number, shown

MOST = 10**9
WHOLE_NUMBERS = {
    "steps": (1, MOST),
    "batch_size": (1, 2**16),  # of 64 pixels 3 GB
    "warmup_steps": (1, MOST),
    "save_every": (1, MOST),
    "seed": (0, 2**32 - 1),  # as NumPy has it
}
BELOW = {"learning_rate": math.inf, "ema_decay": 1}
"""What the numbers of a recipe may be."""


@dataclass(frozen=True)
class Recipe:
    """How one stage is trained.

    - `steps`, `batch_size`: batches, and images in a batch of one process.
    - `learning_rate`: the highest; it is reached after `warmup_steps`, then falls as a cosine.
    - `ema_decay`: the weights that are kept are a running mean over about 1 / (1 - decay) steps.
    - `save_every`: after how many steps the state of the training is written.

    Raises `TypeError` or `ValueError`, naming the field, for numbers that nothing can be done with:
    outside `WHOLE_NUMBERS`, negative, NaN.
    """

    steps: int
    batch_size: int
    learning_rate: float
    ema_decay: float
    seed: int = 0
    warmup_steps: int = 100
    save_every: int = 200

    def __post_init__(self) -> None:
        for name, (least, most) in WHOLE_NUMBERS.items():
            value = getattr(self, name)
            check_integer(name, value, least)
            if value > most:
                raise ValueError(f"{name} is {shown(value)}; allowed: {least} to {most}")
        for name, below in BELOW.items():
            value = getattr(self, name)
            check_number(name, value)
            if not 0 <= value < below:
                raise ValueError(f"{name} is {shown(value)}; allowed: 0 or more, below {below}")


RECIPES = {
    "tokens": Recipe(steps=5000, batch_size=32, learning_rate=2e-3, ema_decay=0.99),
    "text": Recipe(steps=3500, batch_size=64, learning_rate=1e-3, ema_decay=0.99),
    "diffusion": Recipe(steps=13000, batch_size=64, learning_rate=2e-3, ema_decay=0.999),
    "raster": Recipe(steps=13000, batch_size=64, learning_rate=2e-3, ema_decay=0.999),
    "imagebart": Recipe(steps=13000, batch_size=64, learning_rate=2e-3, ema_decay=0.999),
}

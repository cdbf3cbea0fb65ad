"""A small U-Net: a network that looks at a noisy image at several sizes at once.

On the way down the image gets smaller, on the way up larger again, and every size hands what it
saw across (a *skip*). The level t sets a scale and a shift in every block.
"""

import math
from dataclasses import dataclass
from itertools import pairwise

import torch
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from vqlearn.probability.checks import Level, check_sizes, one_level_each

SLOWEST_WAVE = 10_000


@dataclass(frozen=True)
class UNetConfig:
    """The sizes of the network.

    - `channels`: numbers of a pixel, 3 for RGB.
    - `widths`: channels inside, at full size, at half, at a quarter and so on.
    - `groups`: of the group norms; it must divide every width.

    Raises `ValueError` if there is no width, if one is odd or not a multiple of `groups`, or if
    there is no channel.
    """

    channels: int = 3
    widths: tuple[int, ...] = (32, 48)
    groups: int = 8

    def __post_init__(self) -> None:
        check_sizes({"channels": self.channels})
        wrong = [w for w in self.widths if w < 2 or w % 2 or w % self.groups]
        if not self.widths or wrong:
            raise ValueError(
                f"widths is {self.widths}; allowed: one or more even multiples of {self.groups}"
            )


class LevelEmbedding(nn.Module):
    r"""The vector that stands for level t.

    Waves of many lengths, $\sin(\omega_i t)$ and $\cos(\omega_i t)$, $\omega_i$ from 1 down to
    1/10000 in equal ratios, and two linear maps. Source: Vaswani et al. 2017, for the waves.
    """

    def __init__(self, waves: int, width: int):
        super().__init__()
        self.half = waves // 2
        self.expand = nn.Linear(waves, width)
        self.mix = nn.Linear(width, width)

    def forward(self, t: Int[Tensor, " b"]) -> Float[Tensor, "b d"]:
        weight = self.expand.weight
        falling = torch.linspace(0, 1, self.half, device=weight.device, dtype=weight.dtype)
        angle = t[:, None] * torch.exp(-math.log(SLOWEST_WAVE) * falling)  # (b, half)
        waves = torch.cat([angle.sin(), angle.cos()], dim=1)
        return F.silu(self.mix(F.silu(self.expand(waves))))


class Residual(nn.Module):
    """The change of an image, computed from the 5x5 pixels around each position and the level.

    Norm, SiLU, 3x3 convolution, twice; scale and shift of the second norm depend on the level.
    """

    def __init__(self, widths: tuple[int, int], level_width: int, groups: int):
        super().__init__()
        before, after = widths
        self.norm1 = nn.GroupNorm(groups, before)
        self.conv1 = nn.Conv2d(before, after, 3, padding=1)
        self.norm2 = nn.GroupNorm(groups, after)
        self.to_scale_shift = nn.Linear(level_width, 2 * after)
        self.conv2 = nn.Conv2d(after, after, 3, padding=1)
        self.shortcut = nn.Identity() if before == after else nn.Conv2d(before, after, 1)

    def forward(
        self, x: Float[Tensor, "b c h w"], level: Float[Tensor, "b d"]
    ) -> Float[Tensor, "b out h w"]:
        scale_shift = rearrange(self.to_scale_shift(level), "b (two c) -> two b c 1 1", two=2)
        change = self.norm2(self.conv1(F.silu(self.norm1(x))))  # (b, out, h, w)
        change = self.conv2(F.silu(change * (1 + scale_shift[0]) + scale_shift[1]))
        return self.shortcut(x) + change


class Attention(nn.Module):
    """Self-attention of every position to every other one, with one head. Costs (h w)^2."""

    def __init__(self, width: int, groups: int):
        super().__init__()
        self.norm = nn.GroupNorm(groups, width)
        self.to_query_key_value = nn.Linear(width, 3 * width, bias=False)
        self.output = nn.Linear(width, width)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        positions = rearrange(self.norm(x), "b c h w -> b 1 (h w) c")  # one head
        query, key, value = self.to_query_key_value(positions).chunk(3, dim=-1)  # (b, 1, h w, c)
        mixed = F.scaled_dot_product_attention(query, key, value)
        return x + rearrange(self.output(mixed), "b 1 (h w) c -> b c h w", h=x.shape[2])


class Upsample(nn.Conv2d):
    """An image of twice the size: every pixel is repeated 2x2, then smoothed."""

    def __init__(self, width: int):
        super().__init__(width, width, 3, padding=1)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c 2*h 2*w"]:
        return super().forward(F.interpolate(x, scale_factor=2.0, mode="nearest"))


class UNet(nn.Module):
    """predict(x_t, t): the noise in each image, or the clean image; training decides.

    The last convolution starts at zero, so a fresh network answers 0. The default has 275,971
    weights. Source: Ronneberger et al. 2015 for the shape; Ho et al. 2020 for its use here.
    """

    def __init__(self, config: UNetConfig):
        super().__init__()
        self.config = config
        groups, first, last = config.groups, config.widths[0], config.widths[-1]
        level_width = 2 * first
        changes = list(pairwise((first, *config.widths)))
        smaller = [nn.Conv2d(width, width, 3, stride=2, padding=1) for width in config.widths[:-1]]
        larger = [Upsample(width) for width in reversed(config.widths[:-1])]

        self.level = LevelEmbedding(first, level_width)
        self.enter = nn.Conv2d(config.channels, first, 3, padding=1)
        self.down = nn.ModuleList(Residual(pair, level_width, groups) for pair in changes)
        self.smaller = nn.ModuleList([*smaller, nn.Identity()])
        self.middle1 = Residual((last, last), level_width, groups)
        self.attention = Attention(last, groups)
        self.middle2 = Residual((last, last), level_width, groups)
        self.up = nn.ModuleList(
            Residual((2 * wide, narrow), level_width, groups) for narrow, wide in reversed(changes)
        )
        self.larger = nn.ModuleList([*larger, nn.Identity()])
        self.leave_norm = nn.GroupNorm(groups, first)
        self.leave = nn.Conv2d(first, config.channels, 3, padding=1)
        # The first answer is 0, the mean of the noise: training starts from a loss of 1.
        nn.init.zeros_(self.leave.weight)
        nn.init.zeros_(self.leave.bias)

    def forward(self, x_t: Float[Tensor, "b c h w"], t: Level) -> Float[Tensor, "b c h w"]:
        """The prediction for every image; `t` is one level, or one for each of them.

        Raises `ValueError` for a wrong number of channels, or a side that cannot be halved.
        """
        self._check(x_t)
        level = self.level(one_level_each(t, x_t))  # (b, 2 widths[0])
        x = self.enter(x_t)  # (b, widths[0], h, w)
        skips = []  # what each size hands across, from the largest to the smallest
        for block, smaller in zip(self.down, self.smaller, strict=True):
            x = block(x, level)
            skips.append(x)
            x = smaller(x)
        # Only here, at the smallest size, is attention cheap enough.
        x = self.middle2(self.attention(self.middle1(x, level)), level)
        for block, larger in zip(self.up, self.larger, strict=True):
            x = larger(block(torch.cat([x, skips.pop()], dim=1), level))
        return self.leave(F.silu(self.leave_norm(x)))

    def _check(self, x_t: Tensor) -> None:
        _, channels, height, width = x_t.shape
        if channels != self.config.channels:
            raise ValueError(f"x_t has {channels} channels; allowed: {self.config.channels}")
        factor = 2 ** (len(self.config.widths) - 1)
        if height % factor or width % factor:
            raise ValueError(
                f"the image is {height} x {width}; allowed: sides that are multiples of {factor}"
            )

"""The building blocks of the image encoder and decoder. Feature maps are (b, c, h, w)."""

from collections.abc import Sequence
from itertools import pairwise

from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F


def group_norm(channels: int, groups: int) -> nn.GroupNorm:
    """The normalisation of the released models: mean 0, variance 1 within each channel group."""
    return nn.GroupNorm(groups, channels, eps=1e-6)


class Residual(nn.Module):
    """A change of each position that depends on the 5x5 positions around it.

    Norm, SiLU, 3x3 convolution, twice; the input is added at the end, through a 1x1 convolution
    (`shortcut`) when the number of channels changes.
    """

    def __init__(self, in_channels: int, out_channels: int, groups: int):
        super().__init__()
        self.norm1 = group_norm(in_channels, groups)
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, padding=1)
        self.norm2 = group_norm(out_channels, groups)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1)
        same = in_channels == out_channels
        self.shortcut = nn.Identity() if same else nn.Conv2d(in_channels, out_channels, 1)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b out h w"]:
        change = self.conv1(F.silu(self.norm1(x)))  # (b, out, h, w)
        change = self.conv2(F.silu(self.norm2(change)))
        return self.shortcut(x) + change


class Attention(nn.Module):
    """Self-attention over all positions; one head, as wide as the channels.

    Cost: grows with (h w)^2, so it is used at low resolution.
    """

    def __init__(self, channels: int, groups: int):
        super().__init__()
        self.norm = group_norm(channels, groups)
        self.query = nn.Linear(channels, channels)
        self.key = nn.Linear(channels, channels)
        self.value = nn.Linear(channels, channels)
        self.output = nn.Linear(channels, channels)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        positions = rearrange(self.norm(x), "b c h w -> b 1 (h w) c")  # one head
        mixed = F.scaled_dot_product_attention(
            self.query(positions), self.key(positions), self.value(positions)
        )
        change = rearrange(self.output(mixed), "b 1 (h w) c -> b c h w", h=x.shape[2])
        return x + change


class Downsample(nn.Conv2d):
    """A map of half the size: a convolution with stride 2.

    Its row and column of zeros go below and to the right only.
    """

    def __init__(self, channels: int):
        super().__init__(channels, channels, 3, stride=2)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h//2 w//2"]:
        return super().forward(F.pad(x, (0, 1, 0, 1)))  # h + 1 rows give h / 2


class Upsample(nn.Conv2d):
    """A map of twice the size: every position is repeated 2x2, then smoothed."""

    def __init__(self, channels: int):
        super().__init__(channels, channels, 3, padding=1)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c 2*h 2*w"]:
        return super().forward(F.interpolate(x, scale_factor=2.0, mode="nearest"))


class Resolution(nn.Module):
    """One resolution: residual blocks, each followed by attention where it has any; then a resize.

    `widths` are the channels before the first block and after each one. In the encoder the map ends
    at half its size (`downsample`), in the decoder at twice its size (`upsample`).
    """

    def __init__(
        self,
        widths: Sequence[int],
        groups: int,
        *,
        attention: bool,
        downsample: bool = False,
        upsample: bool = False,
    ):
        super().__init__()
        self.residuals = nn.ModuleList(
            Residual(before, after, groups) for before, after in pairwise(widths)
        )
        self.attentions = nn.ModuleList(
            Attention(width, groups) if attention else nn.Identity() for width in widths[1:]
        )
        # An Identity has no weights, so the state dict holds only the resize that there is.
        self.downsample = Downsample(widths[-1]) if downsample else nn.Identity()
        self.upsample = Upsample(widths[-1]) if upsample else nn.Identity()

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b out h2 w2"]:
        for residual, attention in zip(self.residuals, self.attentions, strict=True):
            x = attention(residual(x))  # (b, out, h, w)
        return self.upsample(self.downsample(x))


class Middle(nn.Module):
    """The smallest resolution, where every position attends to the whole image."""

    def __init__(self, channels: int, groups: int):
        super().__init__()
        self.first = Residual(channels, channels, groups)
        self.attention = Attention(channels, groups)
        self.second = Residual(channels, channels, groups)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        return self.second(self.attention(self.first(x)))

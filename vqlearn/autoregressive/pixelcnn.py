r"""The distribution of each pixel by convolutions that see only what was read before: two
PixelCNNs.

    network = GatedPixelCNN(PixelCNNConfig(8, 1, 17, width=32, num_layers=5, kernel_size=3))
    network.log_probs(x)  # log p(x_i | x_1..x_{i-1}) for all 64 positions, (b, 64, 17)

A sequence x becomes an image again, `b (h w c) -> b c h w`, and its convolutions have a **mask**:
the weights that would look at a later pixel are 0. Inside a pixel the order is red, green, blue. So
every feature belongs to one colour: feature j to colour j mod c, as with the tokens of a sequence.
At the centre of the kernel, colour c sees the colours before it; mask A stops there, and mask B
adds colour c itself. The first layer has mask A, since its input is the answer; all later ones have
mask B. The vertical stack of `GatedPixelCNN` looks at rows above only, so colours need no mask.

**Which tokens does a position see?** With r = (kernel_size - 1)/2 and L = num_layers, the pixel
that stands $\Delta y$ rows above and $\Delta x$ columns to the right (left: $\Delta x < 0$) is
seen, in all its colours, when

$$ \Delta y = 0:\; -Lr \le \Delta x \le -1, \qquad
   1 \le \Delta y \le Lr:\; -Lr \le \Delta x \le \begin{cases}
     r \min(\Delta y, L) & \text{PixelCNN} \\ Lr & \text{GatedPixelCNN} \end{cases} $$

and in the position's own pixel the colours before it. So PixelCNN never sees a pixel of the
rows above with $\Delta x > r \Delta y$, with any number of layers: this is its **blind spot**.

Sources: van den Oord et al. 2016a, "Pixel Recurrent Neural Networks"; van den Oord et al. 2016b,
"Conditional Image Generation with PixelCNN Decoders".
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from vqlearn.autoregressive.model import AutoregressiveModel
from vqlearn.autoregressive.pixel_config import PixelConfig, to_scale
from vqlearn.probability.checks import check_multiple, check_sequences


@dataclass(frozen=True)
class PixelCNNConfig(PixelConfig):
    """The sizes of the network; those of the images: see `PixelConfig`.

    - `width`: the features inside a layer, shared evenly by the colours: a multiple of c.
    - `num_layers`: L, how many layers look at other pixels, the first one included.
    - `kernel_size`: the pixels along one side of a kernel; odd, at least 3.

    Raises `ValueError` for other sizes.
    """

    width: int
    num_layers: int
    kernel_size: int
    smallest: ClassVar[dict[str, int]] = {"num_codes": 2, "kernel_size": 3}

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.kernel_size % 2 == 0:
            raise ValueError(f"kernel_size is {self.kernel_size}; allowed: odd numbers from 3 on")
        check_multiple(self, "width", "channels")


def raster_mask(
    shape: tuple[int, int, int, int], channels: int, *, see_own: bool
) -> Bool[Tensor, "out in kh kw"]:
    """Mask A, or mask B: the weights of a convolution that look at tokens read before.

    True: the pixels before the centre in reading order; and at the centre the colours before the
    output's own, with `see_own` (mask B) that colour too.
    """
    out, inputs, height, width = shape
    colour_out = rearrange(torch.arange(out) % channels, "o -> o 1 1 1")
    colour_in = rearrange(torch.arange(inputs) % channels, "i -> 1 i 1 1")
    position = rearrange(torch.arange(height * width), "(h w) -> 1 1 h w", h=height)
    centre = height * width // 2
    known = colour_in <= colour_out if see_own else colour_in < colour_out
    return (position < centre) | ((position == centre) & known)  # (out, in, kh, kw)


def rows_mask(shape: tuple[int, int, int, int], *, see_own: bool) -> Bool[Tensor, "out in kh kw"]:
    """The weights of the vertical stack that look at rows above; with `see_own`, at their row too.

    All colours of a row above were read before, so colours need no mask here.
    """
    row = rearrange(torch.arange(shape[2]), "h -> 1 1 h 1")
    centre = shape[2] // 2
    return (row <= centre if see_own else row < centre).expand(shape).clone()


class MaskedConv(nn.Conv2d):
    """A convolution whose weights count only where `mask` is True; the image keeps its size.

    Outside the image all features are 0. Masked weights cost as much as the others. PyTorch counts
    them too when it draws the first weights, so that features become smaller from layer to layer;
    `draw_by_live_fan_in` does not.
    """

    def __init__(self, mask: Bool[Tensor, "out in kh kw"]):
        out, inputs, height, width = mask.shape
        super().__init__(inputs, out, (height, width), padding=(height // 2, width // 2))
        self.register_buffer("mask", mask, persistent=False)

    def draw_by_live_fan_in(self, gain: float) -> None:
        r"""New weights from $N(0, \text{gain}^2 / m)$: the mask leaves m inputs of an output."""
        live = self.mask.sum(dim=(1, 2, 3), keepdim=True)  # (out, 1, 1, 1)
        nn.init.normal_(self.weight).data.mul_(gain / live.sqrt())
        nn.init.zeros_(self.bias)

    def forward(self, x: Float[Tensor, "b in h w"]) -> Float[Tensor, "b out h w"]:
        # Masked at every call, so that no optimizer step can bring a weight back.
        return F.conv2d(x, self.weight * self.mask, self.bias, padding=self.padding)


def pointwise(out: int, inputs: int, channels: int) -> MaskedConv:
    """A 1 x 1 convolution with mask B: each colour mixes its features and those of earlier ones."""
    return MaskedConv(raster_mask((out, inputs, 1, 1), channels, see_own=True))


class PixelNetwork(AutoregressiveModel):
    """What PixelCNNs and PixelRNN share: from a sequence to numbers, and from features to scores.

    A subclass makes `stream` features of each pixel. The K scores of a token are unnormalised.
    """

    def __init__(self, config: PixelConfig, stream: int):
        super().__init__(config)
        c = config.channels
        # Mask B: the features of a position do not know its own token, so nothing leaks.
        mix, score = pointwise(stream, stream, c), pointwise(config.num_codes * c, stream, c)
        self.head = nn.Sequential(nn.ReLU(), mix, nn.ReLU(), score)

    def features(self, image: Float[Tensor, "b c h w"]) -> Float[Tensor, "b stream h w"]:
        """Features of colour c of a pixel: they may depend only on tokens before that one."""
        raise NotImplementedError

    def embed(self, x: Int[Tensor, "b n"]) -> Float[Tensor, "b n 1"]:
        r"""The value of each token on a scale from -1 to 1: $2x/(K - 1) - 1$.

        Raises `ValueError` for sequences of a wrong length, and on the CPU for tokens outside
        0..K - 1; elsewhere that check would wait for the device.
        """
        check_sequences("x", x, self.num_positions, self.num_codes)
        return to_scale(x.to(self.head[-1].weight.dtype), self.num_codes)[..., None]

    def from_embedding(self, h: Float[Tensor, "b n 1"]) -> Float[Tensor, "b n k"]:
        """Scores of the K codes at every position; position i does not depend on h[:, i:]."""
        side, c = self.config.side, self.config.channels
        image = rearrange(h, "b (h w c) 1 -> b c h w", h=side, c=c)
        scores = self.head(self.features(image))  # (b, c, h, w) -> (b, K·c, h, w)
        return rearrange(scores, "b (k c) h w -> b (h w c) k", c=c)


class ResidualBlock(nn.Module):
    """Another masked convolution: 2·width features in and out, a correction is added."""

    def __init__(self, config: PixelCNNConfig):
        super().__init__()
        d, c, size = config.width, config.channels, config.kernel_size
        look = MaskedConv(raster_mask((d, d, size, size), c, see_own=True))
        narrow, widen = pointwise(d, 2 * d, c), pointwise(2 * d, d, c)
        self.correction = nn.Sequential(nn.ReLU(), narrow, nn.ReLU(), look, nn.ReLU(), widen)

    def forward(self, x: Float[Tensor, "b stream h w"]) -> Float[Tensor, "b stream h w"]:
        return x + self.correction(x)


class PixelCNN(PixelNetwork):
    """The distribution of each pixel by square kernels that are masked, with a blind spot.

    The first layer has mask A; num_layers - 1 residual blocks with mask B follow. The paper has a
    first kernel of 7 x 7 and later ones of 3 x 3; here all have the same size.

    Source: van den Oord et al. 2016a. Cost for each pixel: O(L width² kernel_size² + width c K).
    """

    def __init__(self, config: PixelCNNConfig):
        super().__init__(config, stream=2 * config.width)
        d, c, size = config.width, config.channels, config.kernel_size
        self.first = MaskedConv(raster_mask((2 * d, c, size, size), c, see_own=False))
        self.blocks = nn.Sequential(*(ResidualBlock(config) for _ in range(config.num_layers - 1)))

    def features(self, image: Float[Tensor, "b c h w"]) -> Float[Tensor, "b stream h w"]:
        return self.blocks(self.first(image))  # (b, c, h, w) -> (b, 2·width, h, w)


def gate(x: Float[Tensor, "b two_d h w"]) -> Float[Tensor, "b d h w"]:
    r"""$\tanh(x_1)\,\sigma(x_2)$ of the two halves of the features: the content, and its gate."""
    content, opening = x.chunk(2, dim=1)
    return content.tanh() * opening.sigmoid()


class GatedLayer(nn.Module):
    r"""A convolution upwards and one to the left.

    $$ u = V * v, \quad v' = \gamma(u), \qquad h' = h + P\,\gamma(H * h + U u) $$

    with $\gamma$ = `gate`. The vertical features v know the rows above and nothing else. The
    horizontal ones h know the pixels to the left, and through u the rows above. In the first layer
    v and h are the image: V must not see its own row, H has mask A, and h is not added.

    The gate halves small numbers, so all maps begin with a gain of 2 and their live fan-in.
    """

    def __init__(self, config: PixelCNNConfig, *, first: bool):
        super().__init__()
        d, c, size = config.width, config.channels, config.kernel_size
        self.first, inputs = first, c if first else d
        self.vertical = MaskedConv(rows_mask((2 * d, inputs, size, size), see_own=not first))
        self.horizontal = MaskedConv(raster_mask((2 * d, inputs, 1, size), c, see_own=not first))
        # Rows above are known in all colours, so every weight of this one counts.
        self.from_above = MaskedConv(torch.ones(2 * d, 2 * d, 1, 1, dtype=torch.bool))
        self.project = pointwise(d, d, c)
        for conv in self.children():
            conv.draw_by_live_fan_in(gain=2)

    def forward(
        self, v: Float[Tensor, "b d h w"], h: Float[Tensor, "b d h w"]
    ) -> tuple[Float[Tensor, "b d2 h w"], Float[Tensor, "b d2 h w"]]:
        above = self.vertical(v)  # (b, d, h, w) -> (b, 2·width, h, w)
        new = self.project(gate(self.horizontal(h) + self.from_above(above)))
        return gate(above), new if self.first else h + new


class GatedPixelCNN(PixelNetwork):
    """The distribution of each pixel by a stack that reads rows and one that reads to the left.

    `num_layers` gated layers. With L r >= side - 1 each position sees every position before it:
    there is no blind spot. The paper's network can also read a label of the image; this one does
    not.

    Source: van den Oord et al. 2016b. Cost: that of `PixelCNN`.
    """

    def __init__(self, config: PixelCNNConfig):
        super().__init__(config, stream=config.width)
        first = [True] + [False] * (config.num_layers - 1)
        self.layers = nn.ModuleList(GatedLayer(config, first=each) for each in first)
        self.head[1].draw_by_live_fan_in(gain=2**0.5)  # a ReLU halves the mean square

    def features(self, image: Float[Tensor, "b c h w"]) -> Float[Tensor, "b stream h w"]:
        v = h = image
        for layer in self.layers:
            v, h = layer(v, h)  # (b, c or width, h, w) -> twice (b, width, h, w)
        return h

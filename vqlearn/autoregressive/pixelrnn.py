r"""The distribution of each pixel by an LSTM that walks over the image along its diagonals:
PixelRNN.

    network = PixelRNN(PixelRNNConfig(8, 1, 17, width=32, num_layers=2))
    network.log_probs(x)  # log p(x_i | x_1..x_{i-1}) for all 64 positions, (b, 64, 17)

The paper has two LSTM layers to choose from. Its Row LSTM sees a triangle above each pixel and
misses what lies beside the triangle. Its **Diagonal BiLSTM** can see every pixel that was read
before, so it is the one of this file. One direction walks from the top left. Its state at a pixel
is made of the states of the pixels to the left and above: it knows the rectangle up to the top
left corner. All pixels of a diagonal are computed together. The other direction is the mirror
image and walks from the top right. It knows pixels of its own row that are not yet read, so its
states move down by one row.

**Which tokens does a position see?** All before it, after one layer. One gap must be closed for
this. The features of a pixel do not know the pixel itself, and so the states from the right never
know the last pixel of the row above. The first map therefore reads one pixel more: the one that
comes before in reading order. This map is an addition to the paper. Without it, and with any
number of layers, the last colour of that last pixel is seen in two columns of the next row only,
the last two, where the first kernel reaches it.

Colours are as in `pixelcnn.py`: feature j belongs to colour j mod c. Only maps inside one pixel
need masks, since earlier pixels are known in all colours: first mask A, then mask B.

Source: van den Oord et al. 2016, "Pixel Recurrent Neural Networks". There the first kernel is
7 x 7; here it is 3 x 3, as our images are small.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from vqlearn.autoregressive.pixel_config import PixelConfig
from vqlearn.autoregressive.pixelcnn import MaskedConv, PixelNetwork, pointwise, raster_mask
from vqlearn.probability.checks import check_multiple

FIRST_KERNEL = 3


@dataclass(frozen=True)
class PixelRNNConfig(PixelConfig):
    """How large is the network? The images: see `PixelConfig`.

    - `width`: d, the numbers in the state of a pixel, shared evenly by the colours: a multiple
      of c. Between the layers a pixel has 2d features.
    - `num_layers`: L, how many Diagonal BiLSTM layers there are.

    Raises `ValueError` for other sizes.
    """

    width: int
    num_layers: int

    def __post_init__(self) -> None:
        super().__post_init__()
        check_multiple(self, "width", "channels")


def skew(x: Float[Tensor, "b d side side"]) -> Float[Tensor, "b d side steps"]:
    """Shift row r to the right by r positions, so that diagonals become columns; 0 elsewhere.

    Pixel (r, c) moves to column r + c; there are 2·side - 1 columns. With side = 2:

        1 2  ->  1 2 0
        3 4      0 3 4

    In reading order, rows that are 2·side long are cut into rows that are shorter by one.
    """
    side = x.shape[-1]
    padded = F.pad(x, (0, side))  # (b, d, side, 2·side)
    long = rearrange(padded, "b d h w -> b d (h w)")[..., :-side]
    return rearrange(long, "b d (h steps) -> b d h steps", h=side)


def unskew(x: Float[Tensor, "b d side steps"]) -> Float[Tensor, "b d side side"]:
    """Shift row r back to the left: `unskew(skew(x))` is x."""
    side = x.shape[2]
    long = F.pad(rearrange(x, "b d h steps -> b d (h steps)"), (0, side))
    return rearrange(long, "b d (h w) -> b d h w", h=side)[..., :side]


class DiagonalLSTM(nn.Module):
    r"""An LSTM from the top left: its state at a pixel knows the rectangle that ends there.

    $$ (o, f, i, g) = W x_{r,c} + a + U_0\, h_{r-1,c} + U_1\, h_{r,c-1} $$
    $$ m_{r,c} = \sigma(f)\, m_{r,c-1} + \sigma(i) \tanh(g), \qquad
       h_{r,c} = \sigma(o) \tanh(m_{r,c}) $$

    x are the 2d features of a pixel, h (the hidden state) and m (the cell) have d numbers each;
    both count as 0 outside the image. W has mask B. $U_0, U_1$ are one kernel of 2 x 1 on skewed
    columns. Left of the image `skew` puts 0 in place of W x + a, so h and m stay 0. Right of it
    they do not, but no pixel of the image reads them.

    Cost: 2·side - 1 steps, one after the other; O(side² d²) in all.
    """

    def __init__(self, config: PixelRNNConfig):
        super().__init__()
        d = config.width
        self.from_input = pointwise(4 * d, 2 * d, config.channels)
        self.from_states = nn.Conv1d(d, 4 * d, 2, bias=False)

    def forward(self, x: Float[Tensor, "b two_d side side"]) -> Float[Tensor, "b d side side"]:
        d, side, columns = self.from_states.in_channels, x.shape[-1], []
        hidden = cell = x.new_zeros(len(x), d, side)
        for new in skew(self.from_input(x)).unbind(dim=-1):  # 2·side - 1 columns (b, 4d, side)
            gates = new + self.from_states(F.pad(hidden, (1, 0)))  # a row of 0 above the image
            out, forget, enter, content = rearrange(gates, "b (four d) h -> four b d h", four=4)
            cell = forget.sigmoid() * cell + enter.sigmoid() * content.tanh()
            hidden = out.sigmoid() * cell.tanh()
            columns.append(hidden)  # (b, d, side)
        return unskew(torch.stack(columns, dim=-1))


class DiagonalBiLSTM(nn.Module):
    """One layer: both directions, and a correction that is added; 2d features in and out.

    The states from the right know their own row, so they move down by one row: row r gets those
    of row r - 1, and the first row 0. Cost: that of two `DiagonalLSTM`.
    """

    def __init__(self, config: PixelRNNConfig):
        super().__init__()
        self.from_left = DiagonalLSTM(config)
        self.from_right = DiagonalLSTM(config)
        self.widen = pointwise(2 * config.width, config.width, config.channels)

    def forward(self, x: Float[Tensor, "b two_d side side"]) -> Float[Tensor, "b two_d side side"]:
        left = self.from_left(x)  # (b, d, side, side)
        right = self.from_right(x.flip(dims=[-1])).flip(dims=[-1])
        above = F.pad(right, (0, 0, 1, -1))  # one row down: pixels to the right are not yet known
        return x + self.widen(left + above)


class PixelRNN(PixelNetwork):
    """The distribution of each pixel by diagonal walks from both sides; it sees every token before.

    Cost: 2 L (2·side - 1) steps, one after the other, and O(side² (L d² + d c K)) in all. A
    sequence is drawn with one such pass for each of its n tokens (`decoding.without_cache`).
    """

    def __init__(self, config: PixelRNNConfig):
        super().__init__(config, stream=2 * config.width)
        stream, c = 2 * config.width, config.channels
        shape = (stream, c, FIRST_KERNEL, FIRST_KERNEL)
        self.first = MaskedConv(raster_mask(shape, c, see_own=False))
        self.pixel_before = nn.Conv2d(c, stream, 1, bias=False)
        self.layers = nn.Sequential(*(DiagonalBiLSTM(config) for _ in range(config.num_layers)))

    def features(self, image: Float[Tensor, "b c h w"]) -> Float[Tensor, "b stream h w"]:
        pixels = rearrange(image, "b c h w -> b c (h w)")
        # Across the end of a row: the pixel before the first one of a row is the last one above.
        before = rearrange(F.pad(pixels, (1, -1)), "b c (h w) -> b c h w", h=self.config.side)
        return self.layers(self.first(image) + self.pixel_before(before))

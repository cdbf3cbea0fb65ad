r"""PixelCNN++: whole pixels at a time, few numbers for each, at three sizes of the image.

    network = PixelCNNPlusPlus(PixelCNNPlusPlusConfig(8, 3, 256, 32, num_blocks=2, num_mixtures=5))
    network.loss(x)  # nats per token
    network.log_probs(x)  # log p(x_i | x_1..x_{i-1}), (b, 192, 256), normalised

Three things differ from `pixelcnn.py`. The distribution of a pixel is a mixture of logistic
distributions that also connects its colours (`logistic_mixture.py`). No weight is masked: a
convolution reads its own position and what is above and to the left, and the first ones are moved
by one pixel. And the network halves the image twice, then doubles it twice: it sees far at little
cost.

**Why is it causal?** In pixel (y, x), the stream `above` knows the rows before y, the stream
`before` the pixels before (y, x) in reading order. Convolutions keep that. Pixel (y, x) of the half
size is pixel (2y, 2x) of the full size, and knows what that one knows. When doubled, it goes to
(2y, 2x), (2y, 2x + 1), (2y + 1, 2x) and (2y + 1, 2x + 1): none is earlier.

**Which pixels are not seen?** In an odd row y, the smaller sizes know nothing of row y, and of row
y - 1 only what is to the left. The rest has to come at the full size, from at most
4 num_blocks + 2 columns away. So every position sees all positions before it if and only if
side <= 4 num_blocks + 3.

Source: Salimans et al. 2017, "PixelCNN++: Improving the PixelCNN with Discretized Logistic Mixture
Likelihood and Other Modifications". Here there is no dropout and no weight normalisation, and
pixels are doubled by kernels of 2 x 2.
"""

from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor, nn

from vqlearn.autoregressive import logistic_mixture
from vqlearn.autoregressive.logistic_mixture import LogisticMixture
from vqlearn.autoregressive.model import AutoregressiveModel
from vqlearn.autoregressive.pixel_config import PixelConfig, from_scale, to_scale
from vqlearn.probability import Conditioning, check_condition
from vqlearn.probability.checks import check_sequences

NUM_SIZES = 3  # full, half, quarter


@dataclass(frozen=True)
class PixelCNNPlusPlusConfig(PixelConfig):
    """The sizes of the network; those of the images: see `PixelConfig`.

    - `width`: d, the features of a pixel in each of the two streams.
    - `num_blocks`: blocks at each of the three sizes on the way down.
    - `num_mixtures`: m, the logistic distributions of one pixel.

    Raises `ValueError` for a size that no network can have.
    """

    width: int
    num_blocks: int
    num_mixtures: int


class Streams(NamedTuple):
    """The features of an image: `above` knows earlier rows, `before` all earlier pixels."""

    above: Float[Tensor, "b d h w"]
    before: Float[Tensor, "b d h w"]


class ShiftedConv(nn.Conv2d):
    """It reads the own position, above and to the left; with `sees_right`, above and to both
    sides."""

    def __init__(
        self, sizes: tuple[int, int], kernel: tuple[int, int], *, sees_right: bool, stride: int = 1
    ):
        super().__init__(*sizes, kernel, stride)
        height, width = kernel
        right = width // 2 if sees_right else 0
        self.border = (width - 1 - right, right, height - 1, 0)  # left, right, top, bottom

    def forward(self, x: Float[Tensor, "b in h w"]) -> Float[Tensor, "b out h2 w2"]:
        return super().forward(F.pad(x, self.border))


look_above = partial(ShiftedConv, kernel=(2, 3), sees_right=True)
look_before = partial(ShiftedConv, kernel=(2, 2), sees_right=False)


def both_signs(x: Float[Tensor, "b d h w"]) -> Float[Tensor, "b two_d h w"]:
    """ELU of x and of -x, side by side: nothing of x is lost."""
    return F.elu(torch.cat([x, -x], dim=1))


class FirstLook(nn.Module):
    """From complete pixels to streams that do not know their own pixel.

    Results move down or right by one pixel. A 1 beside the colours tells 0 from the outside.
    """

    def __init__(self, config: PixelCNNPlusPlusConfig):
        super().__init__()
        sizes = (config.channels + 1, config.width)
        self.rows_above = look_above(sizes)
        self.row_above = ShiftedConv(sizes, (1, 3), sees_right=True)
        self.to_the_left = ShiftedConv(sizes, (2, 1), sees_right=False)

    def forward(self, image: Float[Tensor, "b c h w"]) -> Streams:
        image = F.pad(image, (0, 0, 0, 0, 0, 1), value=1.0)  # (b, c, h, w) -> (b, c + 1, h, w)
        down, right = (0, 0, 1, -1), (1, -1, 0, 0)  # a row or column of 0 comes, the last one goes
        before = F.pad(self.row_above(image), down) + F.pad(self.to_the_left(image), right)
        return Streams(F.pad(self.rows_above(image), down), before)


class GatedResidual(nn.Module):
    r"""One stream looks around twice, and adds what it finds: d features in and out.

    $$ a = A\,\phi(x) + B\,\phi(o), \quad (c, g) = C\,\phi(a), \quad y = x + c\,\sigma(g) $$

    with $\phi$ = `both_signs`; A and C are shifted convolutions, B is 1 x 1. o (`others`): what is
    known of the same pixels elsewhere, `num_others` times d features, or none.
    """

    def __init__(self, conv: partial[ShiftedConv], width: int, num_others: int):
        super().__init__()
        self.look = conv((2 * width, width))
        self.listen = nn.Conv2d(2 * width * num_others, width, 1) if num_others else None
        self.propose = conv((2 * width, 2 * width))

    def forward(self, x: Float[Tensor, "b d h w"], *others: Tensor) -> Float[Tensor, "b d h w"]:
        found = self.look(both_signs(x))
        if self.listen is not None:
            found = found + self.listen(both_signs(torch.cat(others, dim=1)))
        content, opening = self.propose(both_signs(found)).chunk(2, dim=1)
        return x + content * opening.sigmoid()


class Block(nn.Module):
    """`before` also reads `above`; on the way up both read `kept`, from the way down."""

    def __init__(self, width: int, *, kept: bool):
        super().__init__()
        self.above = GatedResidual(look_above, width, num_others=int(kept))
        self.before = GatedResidual(look_before, width, num_others=1 + int(kept))

    def forward(self, streams: Streams, kept: Streams | tuple[()] = ()) -> Streams:
        above = self.above(streams.above, *kept[:1])
        return Streams(above, self.before(streams.before, above, *kept[1:]))


class Resize(nn.Module):
    """One map for each stream. Halves rows and columns, rounded up; or `doubles` them."""

    def __init__(self, d: int, *, doubles: bool):
        super().__init__()
        larger = partial(nn.ConvTranspose2d, d, d, 2, stride=2)  # each pixel makes 2 x 2
        self.above = larger() if doubles else look_above((d, d), stride=2)
        self.before = larger() if doubles else look_before((d, d), stride=2)

    def forward(self, streams: Streams) -> Streams:
        return Streams(self.above(streams.above), self.before(streams.before))


class PixelCNNPlusPlus(AutoregressiveModel):
    """The distribution of each pixel, all its colours at once, from all pixels before it.

    Way down: blocks, halve, blocks, halve, blocks. Way up: blocks, double, blocks, double, blocks.
    Each block of the way up reads one result of the way down, the last one first: one block
    more at the two larger sizes. Then a 1 x 1 convolution makes a `LogisticMixture` of each pixel
    of `before`, m (1 + 2c + c(c - 1)/2) numbers. Cost for each pixel: O(num_blocks d² + c² d m) for
    `log_likelihood`; O(c m K) more for the distributions.
    """

    def __init__(self, config: PixelCNNPlusPlusConfig):
        super().__init__(config)
        d, blocks, c = config.width, config.num_blocks, config.channels
        self.first = FirstLook(config)
        down, up = [], []
        for size in range(NUM_SIZES):
            if size > 0:
                down.append(Resize(d, doubles=False))
                up.append(Resize(d, doubles=True))
            down += [Block(d, kept=False) for _ in range(blocks)]
            up += [Block(d, kept=True) for _ in range(blocks + (size > 0))]
        self.way_down, self.way_up = nn.ModuleList(down), nn.ModuleList(up)
        self.parts = (1, c, c, c * (c - 1) // 2)  # logits, means, log-scales, coefficients
        self.head = nn.Conv2d(d, sum(self.parts) * config.num_mixtures, 1)

    def features(self, image: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d h w"]:
        """What each pixel knows of the pixels before it."""
        results = [self.first(image)]
        for module in self.way_down:
            results.append(module(results[-1]))
        # The way up begins with the last result, and each of its blocks takes the last one left.
        streams = results.pop()
        for module in self.way_up:
            if isinstance(module, Resize):
                height, width = results[-1].above.shape[2:]  # an odd side was rounded up
                streams = Streams(*(each[..., :height, :width] for each in module(streams)))
            else:
                streams = module(streams, results.pop())
        return streams.before

    def mixture(self, h: Float[Tensor, "b n 1"]) -> tuple[LogisticMixture, Tensor]:
        """The distribution of every pixel, and the values of its colours: (b, pixels, c)."""
        side, c, k = self.config.side, self.config.channels, self.config.num_codes
        image = rearrange(h, "b (h w c) 1 -> b c h w", h=side, c=c)
        numbers = self.head(F.elu(self.features(image)))  # (b, d, h, w) -> (b, parts·m, h, w)
        numbers = rearrange(numbers, "b (z m) h w -> b (h w) z m", m=self.config.num_mixtures)
        logits, *others = numbers.split(self.parts, dim=2)
        values = from_scale(rearrange(image, "b c h w -> b (h w) c"), k)
        return LogisticMixture(logits[:, :, 0], *others, num_codes=k), values

    def embed(self, x: Int[Tensor, "b n"]) -> Float[Tensor, "b n 1"]:
        r"""The value of each token on a scale from -1 to 1: $2x/(K - 1) - 1$.

        Raises `ValueError` for a wrong length, and on the CPU for tokens outside 0..K - 1.
        """
        check_sequences("x", x, self.num_positions, self.num_codes)
        return to_scale(x.to(self.head.weight.dtype), self.num_codes)[..., None]

    def from_embedding(self, h: Float[Tensor, "b n 1"]) -> Float[Tensor, "b n k"]:
        """log p(x_i | x_1..x_{i-1}), normalised; position i does not depend on h[:, i:]."""
        distributions = logistic_mixture.log_conditionals(*self.mixture(h))  # (b, pixels, c, K)
        return rearrange(distributions, "b pixels c k -> b (pixels c) k")

    def log_probs(
        self, x: Int[Tensor, "b n"], condition: Conditioning | None = None
    ) -> Float[Tensor, "b n k"]:
        """The output itself, which is normalised."""
        check_condition(condition, reads_text=False)
        return self(x)

    def log_likelihood(
        self, x: Int[Tensor, "b n"], condition: Conditioning | None = None
    ) -> Float[Tensor, " b"]:
        """log p(x) in nats by whole pixels: the same number, but the K values are never listed."""
        check_condition(condition, reads_text=False)
        return logistic_mixture.log_joint(*self.mixture(self.embed(x))).sum(dim=1)

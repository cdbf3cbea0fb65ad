r"""Patch discriminator: an adversarial loss that makes reconstructions sharp.

Pixel errors forgive blur: the mean of two sharp edges costs less than the wrong one of them. A
small network that tells real patches from decoded ones does not forgive it. Source: Esser et al.
2021, "Taming Transformers", equations 6 and 7, without their perceptual loss, which would be a
download.
"""

from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from vqlearn.probability.checks import check_sizes

MAX_WEIGHT = 1e4
SMALLEST_GRADIENT = 1e-4


class PatchDiscriminator(nn.Module):
    """One score for each patch: above 0 means "real". Each layer halves the image.

    (b, 3, H, W) -> (b, H / 2^layers, W / 2^layers); with 2 layers a patch is 26 pixels wide.
    After Isola et al. 2017, with group norm, which knows nothing of the rest of the batch.
    Raises `ValueError` for less than one channel or layer.
    """

    def __init__(self, channels: int = 32, layers: int = 2):
        super().__init__()
        check_sizes({"channels": channels, "layers": layers})
        widths = [3] + [channels * 2**index for index in range(layers)]
        parts = []
        for before, after in pairwise(widths):
            parts += [nn.Conv2d(before, after, 4, stride=2, padding=1), nn.LeakyReLU(0.2)]
        parts += [nn.Conv2d(widths[-1], widths[-1], 3, padding=1), nn.LeakyReLU(0.2)]
        self.layers = nn.Sequential(*parts, nn.Conv2d(widths[-1], 1, 3, padding=1))

    def forward(self, images: Float[Tensor, "b 3 H W"]) -> Float[Tensor, "b h w"]:
        return self.layers(images)[:, 0]  # (b, 1, h, w) -> (b, h, w)


def discriminator_loss(
    real: Float[Tensor, "b h w"], decoded: Float[Tensor, "b h w"]
) -> Float[Tensor, ""]:
    r"""The hinge loss of the discriminator: real patches above 1, decoded ones below -1.

    $\tfrac12 E[\max(0, 1 - D(x))] + \tfrac12 E[\max(0, 1 + D(\hat x))]$: a patch that is told
    apart clearly enough teaches nothing more.
    """
    return (F.relu(1 - real).mean() + F.relu(1 + decoded).mean()) / 2


def adversarial_loss(decoded: Float[Tensor, "b h w"]) -> Float[Tensor, ""]:
    r"""The decoder's part of the game: $-E[D(\hat x)]$, low where decoded patches look real."""
    return -decoded.mean()


def adaptive_weight(
    pixel_loss: Float[Tensor, ""], adversarial: Float[Tensor, ""], last_layer: nn.Parameter
) -> Float[Tensor, ""]:
    r"""The weight of the adversarial loss with which pixels and patches pull equally hard.

    $$\lambda = \frac{\lVert\nabla_L \mathcal L_\text{pixel}\rVert}
    {\lVert\nabla_L \mathcal L_\text{adversarial}\rVert + \delta}$$

    with L the decoder's last layer and $\delta = 10^{-4}$; at most 10,000. No gradient flows
    through it. Source: Esser et al. 2021, equation 7.
    """
    (of_pixels,) = torch.autograd.grad(pixel_loss, last_layer, retain_graph=True)
    (of_patches,) = torch.autograd.grad(adversarial, last_layer, retain_graph=True)
    weight = of_pixels.norm() / (of_patches.norm() + SMALLEST_GRADIENT)
    return weight.clamp(max=MAX_WEIGHT).detach()

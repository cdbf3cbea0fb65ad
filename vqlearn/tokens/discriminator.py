r"""A second opinion on reconstructions: which patches of this image look drawn by a network?

Pixel errors forgive blur: the mean of two sharp edges is cheaper than the wrong one. A small
network that tells real patches from decoded ones does not forgive it. Source: Esser et al. 2021,
"Taming Transformers", equations 6 and 7, without their perceptual loss, which would be a download.
"""

from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

MAX_WEIGHT = 1e4
SMALLEST_GRADIENT = 1e-4


class PatchDiscriminator(nn.Module):
    """One score for each patch: above 0 means "real". Each layer halves the image.

    (b, 3, H, W) -> (b, H / 2^layers, W / 2^layers); with 2 layers a patch is 26 pixels wide.
    After Isola et al. 2017, with group norm, which knows nothing of the rest of the batch.
    Raises `ValueError` for less than one layer.
    """

    def __init__(self, channels: int = 32, layers: int = 2):
        super().__init__()
        if layers < 1:
            raise ValueError(f"layers={layers} is not allowed: at least 1")
        widths = [channels * 2**index for index in range(layers)]
        parts = [nn.Conv2d(3, widths[0], 4, stride=2, padding=1), nn.LeakyReLU(0.2)]
        for before, after in pairwise(widths):
            parts += [
                nn.Conv2d(before, after, 4, stride=2, padding=1),
                nn.LeakyReLU(0.2),
            ]
        parts += [nn.Conv2d(widths[-1], widths[-1], 3, padding=1), nn.LeakyReLU(0.2)]
        self.layers = nn.Sequential(*parts, nn.Conv2d(widths[-1], 1, 3, padding=1))

    def forward(self, images: Float[Tensor, "b 3 H W"]) -> Float[Tensor, "b h w"]:
        return self.layers(images)[:, 0]


def discriminator_loss(
    real: Float[Tensor, "b h w"], decoded: Float[Tensor, "b h w"]
) -> Float[Tensor, ""]:
    r"""How far is the discriminator from scores above 1 for real, below -1 for decoded patches?

    $\tfrac12 E[\max(0, 1 - D(x))] + \tfrac12 E[\max(0, 1 + D(\hat x))]$, the hinge loss: a patch
    that is told apart clearly enough teaches nothing more.
    """
    return (F.relu(1 - real).mean() + F.relu(1 + decoded).mean()) / 2


def adversarial_loss(decoded: Float[Tensor, "b h w"]) -> Float[Tensor, ""]:
    r"""How real do decoded patches look? $-E[D(\hat x)]$, what the decoder lowers."""
    return -decoded.mean()


def adaptive_weight(
    pixel_loss: Float[Tensor, ""], deception: Float[Tensor, ""], last_layer: nn.Parameter
) -> Float[Tensor, ""]:
    r"""How much may the discriminator say, so that pixels and patches pull equally hard?

    $$\lambda = \frac{\lVert\nabla_L \mathcal L_\text{pixel}\rVert}
    {\lVert\nabla_L \mathcal L_\text{deception}\rVert + \delta}$$

    with L the decoder's last layer and $\delta = 10^{-4}$; at most 10,000. No gradient flows
    through it. Source: Esser et al. 2021, equation 7.
    """
    (of_pixels,) = torch.autograd.grad(pixel_loss, last_layer, retain_graph=True)
    (of_patches,) = torch.autograd.grad(deception, last_layer, retain_graph=True)
    weight = of_pixels.norm() / (of_patches.norm() + SMALLEST_GRADIENT)
    return weight.clamp(max=MAX_WEIGHT).detach()

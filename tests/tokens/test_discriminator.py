"""The patch discriminator, its losses, and the weight that balances them."""

import pytest
import torch
from torch import nn

from vqlearn.data.scenes.sampling import scene_batch
from vqlearn.tokens.discriminator import (
    PatchDiscriminator,
    adaptive_weight,
    adversarial_loss,
    discriminator_loss,
)


def test_a_patch_is_judged_by_itself_alone():
    torch.manual_seed(0)
    network = PatchDiscriminator(channels=8).double()
    images = torch.randn(2, 3, 64, 64, dtype=torch.float64, requires_grad=True)
    scores = network(images)
    assert scores.shape == (2, 16, 16)
    (gradient,) = torch.autograd.grad(scores[0, 8, 8], images)
    assert (gradient[1] == 0).all(), "the neighbour in the batch"
    rows = gradient[0].abs().sum(dim=(0, 2)).nonzero()
    columns = gradient[0].abs().sum(dim=(0, 1)).nonzero()
    for touched in (rows, columns):
        assert touched.max() - touched.min() + 1 == 26


def test_hinge_loss_by_hand():
    real = torch.tensor([[[2.0, 0.5]]])  # 0 and 0.5 short of 1
    decoded = torch.tensor([[[-3.0, 1.0]]])  # 0 and 2 above -1
    assert discriminator_loss(real, decoded).item() == pytest.approx((0.25 + 1.0) / 2)
    assert adversarial_loss(decoded).item() == pytest.approx(1.0)


def test_both_losses_pull_equally():
    torch.manual_seed(0)
    layer = nn.Linear(4, 3)
    features = torch.randn(5, 4, requires_grad=True)
    out = layer(features)
    pixels, deception = 50 * out.square().mean(), -0.1 * out.sin().mean()
    weight = adaptive_weight(pixels, deception, layer.weight)
    assert not weight.requires_grad
    (a,) = torch.autograd.grad(pixels, layer.weight, retain_graph=True)
    (b,) = torch.autograd.grad(weight * deception, layer.weight)
    assert 0.9 * a.norm() < b.norm() <= a.norm()  # delta takes the rest: gradients are 1e-2 here


def test_the_weight_is_bounded_where_the_discriminator_is_flat():
    layer = nn.Linear(2, 2)
    out = layer(torch.ones(1, 2))
    weight = adaptive_weight(1e3 * out.square().sum(), 0 * out.sum(), layer.weight)
    assert weight.item() == 1e4


def test_it_learns_to_tell_sharp_from_blurred_scenes():
    torch.manual_seed(0)
    network = PatchDiscriminator(channels=8)
    optimizer = torch.optim.Adam(network.parameters(), 5e-3)
    generator = torch.Generator().manual_seed(0)
    for _ in range(120):
        real = 2 * scene_batch(16, generator=generator, composition="any").images - 1
        blurred = nn.functional.avg_pool2d(real, 3, stride=1, padding=1, count_include_pad=False)
        loss = discriminator_loss(network(real), network(blurred))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss < 0.96  # 1 is what no opinion costs, and flat patches do not differ


def test_no_layers_are_refused():
    with pytest.raises(ValueError, match="layers is 0; allowed"):
        PatchDiscriminator(layers=0)

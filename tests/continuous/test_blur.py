"""Blur and its walks, against a convolution that is mirrored at the edges."""

import numpy as np
import pytest
import torch
from scipy import ndimage
from support.gaussian_toys import (
    random_images,
)

from vqlearn.continuous.blur import Blur, Cold, NaiveCold
from vqlearn.continuous.objective import (
    simple_loss,
)
from vqlearn.continuous.sampler import Model, sample


@pytest.fixture
def images():
    return torch.rand(3, 2, 8, 12, generator=torch.Generator().manual_seed(0)).double()


def test_blur_is_the_convolution_with_a_gaussian_that_is_mirrored_at_the_edges(images):
    blur = Blur(num_timesteps=4, max_sigma=8.0)
    for t in (1, 2, 3):
        sigma = [0, 0, 2.0 * t, 2.0 * t]
        expected = ndimage.gaussian_filter(images.numpy(), sigma, mode="reflect", truncate=9)
        found = blur.degrade(images, t).numpy()
        assert np.abs(found - expected).max() < 1e-7


def test_blur_keeps_the_mean_begins_with_the_image_and_adds_up(images):
    blur = Blur(num_timesteps=5, max_sigma=5.0)
    assert torch.allclose(blur.degrade(images, 0), images, rtol=0, atol=1e-14)
    for t in range(6):
        found = blur.degrade(images, t).mean(dim=(2, 3))
        assert torch.allclose(found, images.mean(dim=(2, 3)), atol=1e-14)
    twice = blur.degrade(blur.degrade(images, 3), 4)  # 3^2 + 4^2 = 5^2
    assert torch.allclose(twice, blur.degrade(images, 5), atol=1e-14)


def test_every_image_may_have_its_own_blur(images):
    blur = Blur(num_timesteps=5, max_sigma=3.0)
    t = torch.tensor([0, 2, 5])
    together = blur.corrupt(images, t)
    for i in range(3):
        assert torch.allclose(together[i], blur.degrade(images[i : i + 1], int(t[i]))[0])
    assert blur.degrade(images.float(), t).dtype == torch.float32


@pytest.mark.parametrize("walk", [Cold, NaiveCold])
@pytest.mark.parametrize("levels", [[6, 5, 4, 3, 2, 1, 0], [6, 2, 0], [6, 0]])
def test_with_a_perfect_restorer_every_walk_returns_the_image(images, walk, levels):
    blur = Blur(num_timesteps=6, max_sigma=6.0)
    x_T = blur.degrade(images, 6)
    for s, x_s in sample(walk(blur), lambda x, t: images, x_T, levels):
        assert torch.allclose(x_s, blur.degrade(images, s), rtol=0, atol=1e-13)
    assert torch.allclose(x_s, images, rtol=0, atol=1e-13)


@pytest.mark.parametrize("levels", [[6, 5, 4, 3, 2, 1, 0], [6, 2, 0]])
def test_a_constant_error_is_forgiven_as_far_as_a_blurred_image_shows_it(images, levels):
    blur = Blur(num_timesteps=6, max_sigma=6.0)
    error = 0.3 * random_images(3, (2, 8, 12))
    x_T = blur.degrade(images, 6)
    ends = {}
    for walk in (Cold, NaiveCold):
        *_, (_, ends[walk]) = sample(walk(blur), lambda x, t: images + error, x_T, levels)
    assert torch.allclose(ends[NaiveCold] - images, error, atol=1e-13)
    assert torch.allclose(ends[Cold] - images, error - blur.degrade(error, 6), atol=1e-13)
    distance = {walk: (end - images).square().sum(dim=(1, 2, 3)) for walk, end in ends.items()}
    assert (distance[Cold] < distance[NaiveCold]).all()
    too_bright = lambda x, t: images + 0.2  # noqa: E731
    *_, (_, end) = sample(Cold(blur), too_bright, x_T, levels)
    assert torch.allclose(end, images, atol=1e-13)


def test_where_the_degradation_is_a_straight_line_any_restorer_will_do(images):
    """D(x, t) = x + t e: the improved walk is exact however wrong the guesses are."""
    direction = random_images(3, (2, 8, 12), seed=1)

    class Line(Blur):
        def degrade(self, x_0, t):
            return x_0 + t * direction

    line = Line(6, 1.0)
    restore = lambda x, t: torch.sin(5 * x)  # noqa: E731
    for s, x_s in sample(Cold(line), restore, images + 6 * direction, [6, 4, 3, 0]):
        assert torch.allclose(x_s, images + s * direction, atol=1e-12)


def test_blur_has_no_noise_to_predict(images):
    blur = Blur(num_timesteps=4, max_sigma=2.0)
    model = Model(lambda x, t: x, "epsilon")
    with pytest.raises(ValueError, match="allowed: 'x_0', since Blur adds no noise"):
        model.restorer(blur, clip=True)
    with pytest.raises(ValueError, match="since Blur adds no noise"):
        simple_loss(blur, model, images, torch.tensor([1, 2, 3]))
    lazy = Model(lambda x, t: x, "x_0")
    found = simple_loss(blur, lazy, images, torch.tensor([1, 2, 4]))
    expected = (blur.degrade(images, torch.tensor([1, 2, 4])) - images).square()
    assert torch.allclose(found, expected.mean(dim=(1, 2, 3)))


def test_impossible_blurs_are_refused(images):
    with pytest.raises(ValueError, match="num_timesteps is 0; allowed: whole numbers of 1"):
        Blur(0, 1.0)
    with pytest.raises(ValueError, match="max_sigma is 0; allowed: above 0"):
        Blur(4, 0)
    with pytest.raises(ValueError, match="level t is 5; allowed: 0 to 4"):
        Blur(4, 1.0).degrade(images, 5)

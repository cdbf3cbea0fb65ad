"""Measures of images of any kind: against formulas of their own."""

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from vqlearn import VQDiffusionPipeline
from vqlearn.data import Scenes
from vqlearn.evaluation import Evaluation, evaluate_images, own_images
from vqlearn.probability import random_stream


def ssim_by_hand(first, second):
    """Wang et al. 2004, with SciPy, in float64; the image is mirrored at its border."""

    def mean(x):
        return gaussian_filter(x, 1.5, truncate=5 / 1.5, mode="mirror")

    values = []
    for x, y in zip(first.double().numpy(), second.double().numpy(), strict=True):
        mean_x, mean_y = mean(x), mean(y)
        variances = mean(x * x) - mean_x**2 + mean(y * y) - mean_y**2
        covariance = mean(x * y) - mean_x * mean_y
        above = (2 * mean_x * mean_y + 0.01**2) * (2 * covariance + 0.03**2)
        below = (mean_x**2 + mean_y**2 + 0.01**2) * (variances + 0.03**2)
        values.append((above / below).mean())
    return np.mean(values)


@pytest.mark.parametrize("noise", [0.02, 0.2])
def test_ssim_is_the_formula_of_the_paper(noise):
    generator = torch.Generator().manual_seed(0)
    smooth = torch.rand(3, 3, 8, 8, generator=generator)
    images = torch.nn.functional.interpolate(smooth, (32, 32), mode="bilinear")
    restored = (images + noise * torch.randn(images.shape, generator=generator)).clamp(0, 1)
    expected = [ssim_by_hand(x, y) for x, y in zip(restored, images, strict=True)]
    found = own_images.ssim(restored, images)
    assert found.mean == pytest.approx(np.mean(expected), abs=1e-4)
    assert own_images.ssim(images, images).mean == 1


@pytest.fixture(scope="module")
def pipeline():
    return VQDiffusionPipeline.from_pretrained("scenes")


def test_samples_of_few_images_are_followed_by_white_ones(pipeline):
    """So that rows of several parts fit below each other."""
    batch = Scenes(32, "seen").batch(2, generator=random_stream("test"))
    rows = own_images.samples(pipeline, batch, Evaluation(2, prompts=2))
    assert rows.shape == (2, 16, 3, 32, 32)
    assert torch.equal(rows[0, :2], batch.images)
    assert (rows[:, 2:] == 1).all()
    assert not (rows[1, :2] == 1).all()


def test_all_figures_of_scenes(pipeline):
    """Of the shipped model: its tokens keep almost all, in few codes."""
    batch = Scenes(32, "seen").batch(4, generator=random_stream("test"))
    found = evaluate_images(pipeline, None, batch, Evaluation(prompts=4))
    assert found.images == 4
    assert found.round_trip_psnr.mean > 25
    assert 0.9 < found.round_trip_ssim.mean <= 1
    tokens = torch.cat([pipeline.vqvae.encode(image[None]) for image in batch.images])
    assert found.codes_in_use == len(set(tokens.flatten().tolist())) < found.num_codes == 384
    assert (found.matched, found.matched_truth) == (None, None)
    assert found == own_images.score_images(pipeline, None, batch, None)
    told = own_images.as_json(Evaluation(prompts=4), {"seen": found})
    assert told["seen"]["round_trip_ssim"]["mean"] == found.round_trip_ssim.mean
    assert "matched_by_chance" not in told["seen"]

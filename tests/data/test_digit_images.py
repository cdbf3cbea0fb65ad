"""Handwritten digits: fixed parts that share nothing, levels as the scan counted them."""

import hashlib

import pytest
import torch

from vqlearn.data.digit_images import binarised, digits, to_images

SPLIT_SHA256 = "49c1991b66a32214f17e72fedd831502960b4484e934ff57b478f78b6930d853"


@pytest.fixture(scope="module")
def data():
    return digits()


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def test_shapes_types_and_levels(data):
    assert data.train.shape == (1497, 64)
    assert data.test.shape == (300, 64)
    assert data.train_labels.shape == (1497,)
    assert data.test_labels.shape == (300,)
    assert data.train.dtype == data.test.dtype == data.train_labels.dtype == torch.long
    assert data.num_classes == 17
    assert data.train.unique().tolist() == data.test.unique().tolist() == list(range(17))
    assert data.train_labels.unique().tolist() == data.test_labels.unique().tolist()


def test_no_picture_is_in_both_parts(data):
    pictures = torch.cat([data.train, data.test])
    assert len(pictures.unique(dim=0)) == 1797


def test_the_split_is_the_same_for_ever(data):
    """The test part as stored bytes: another seed, order or part is another digest."""
    content = bytes(data.test.flatten().tolist()) + bytes(data.test_labels.tolist())
    assert hashlib.sha256(content).hexdigest() == SPLIT_SHA256
    assert torch.equal(digits().test, data.test)


def test_labels_belong_to_their_pictures(data):
    """The nearest training image has the same label for 95 of 100; 10 if they were mixed up."""
    nearest = torch.cdist(data.test.double(), data.train.double()).argmin(dim=1)
    assert (data.train_labels[nearest] == data.test_labels).double().mean() > 0.95


def test_black_and_white_is_above_half_of_the_ink(data):
    black = binarised(data)
    assert black.num_classes == 2
    assert black.train.dtype == torch.long
    assert torch.equal(black.test == 1, data.test >= 9)
    assert torch.equal(black.train == 1, data.train >= 9)
    assert torch.equal(black.train_labels, data.train_labels)


def test_pictures_are_read_row_by_row(data):
    images = to_images(data.test)
    assert images.shape == (300, 8, 8)
    assert torch.equal(images[:, 2, 5], data.test[:, 21])


def test_batches_are_random_training_pictures_and_repeat(data):
    batch = data.batch(2000, generator=seeded())
    assert torch.equal(batch, data.batch(2000, generator=seeded()))
    assert not torch.equal(batch, data.batch(2000, generator=seeded(1)))
    train = {tuple(row) for row in data.train.tolist()}
    drawn = {tuple(row) for row in batch.tolist()}
    assert drawn <= train
    assert len(drawn) > 1000  # 1,103 are expected of 2,000 draws
    with pytest.raises(ValueError, match="count is 0; allowed: 1"):
        data.batch(0, generator=seeded())

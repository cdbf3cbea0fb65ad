"""Handwritten digits as ordinal tokens: small real images, for models whose bits are compared.

    data = digits()
    data.train              # (1497, 64), int64, grey values 0 to 16; data.test: (300, 64)
    data.batch(32, generator=torch.Generator().manual_seed(0))
    binarised(data)         # the same images, levels 0 and 1

An image is 8 x 8 pixels, row by row. A level counts the inked pixels of a 4 x 4 square of the
scan, so its order means something: 7 is nearer to 8 than to 15.

Source: Alpaydin and Kaynak 1998, "Optical Recognition of Handwritten Digits", UCI Machine Learning
Repository; the 1,797 images of 13 writers that scikit-learn brings along.
"""

from dataclasses import dataclass, replace

import torch
from einops import rearrange
from jaxtyping import Int
from sklearn.datasets import load_digits
from torch import Tensor

from vqlearn.probability import random_stream
from vqlearn.probability.checks import check_integer

SIDE = 8
NUM_LEVELS = 17
NUM_TEST = 300
INK = 8  # of 16: a pixel is black when more than half of its square is inked


@dataclass(frozen=True, eq=False)
class Digits:
    """Images to learn from and images to measure on, with the digits they show.

    `num_classes` is K: tokens are 0 to K - 1.
    """

    train: Int[Tensor, "train 64"]
    test: Int[Tensor, "test 64"]
    train_labels: Int[Tensor, " train"]
    test_labels: Int[Tensor, " test"]
    num_classes: int

    def batch(self, count: int, *, generator: torch.Generator) -> Int[Tensor, "b 64"]:
        """Random images of the training part; each is drawn with no memory of those before.

        Raises ValueError for count < 1.
        """
        check_integer("count", count, 1)
        return self.train[torch.randint(len(self.train), (count,), generator=generator)]


def digits() -> Digits:
    """The images with all 17 grey values, split once and for ever.

    300 test images are chosen by a fixed random order of all 1,797; no image occurs twice in
    the whole set. The file does not say who wrote what, so one writer's digits are in both parts.
    """
    loaded = load_digits()
    images = torch.from_numpy(loaded.data).long()  # (1797, 64)
    labels = torch.from_numpy(loaded.target).long()
    order = torch.randperm(len(images), generator=random_stream("digits", "split"))
    test, train = order[:NUM_TEST], order[NUM_TEST:]
    return Digits(images[train], images[test], labels[train], labels[test], NUM_LEVELS)


def binarised(data: Digits) -> Digits:
    """The same images in black and white: 1 where a pixel is above half of the ink, else 0."""
    train, test = (data.train > INK).long(), (data.test > INK).long()
    return replace(data, train=train, test=test, num_classes=2)


def to_images(tokens: Int[Tensor, "b 64"]) -> Int[Tensor, "b 8 8"]:
    """Sequences of tokens as images, still in levels."""
    return rearrange(tokens, "b (h w) -> b h w", h=SIDE)

"""Images and masks as users hand them in: the same pixels from every layout, and refusals."""

import numpy as np
import pytest
import torch
from PIL import Image

from vqlearn.pipeline.inputs import checked_canvas, checked_images, checked_masks, free_tokens

PIXELS = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
AS_TENSOR = torch.from_numpy(PIXELS).permute(2, 0, 1)
LAYOUTS = {
    "PIL": Image.fromarray(PIXELS),
    "NumPy bytes": PIXELS,
    "NumPy floats": PIXELS.astype(np.float64) / 255,
    "torch bytes": AS_TENSOR,
    "torch floats": AS_TENSOR / 255,
    "a mirrored view": np.ascontiguousarray(PIXELS[:, ::-1])[:, ::-1],
}
GREY = np.array([[0, 127, 128, 255]] * 4, dtype=np.uint8)
MASKS = {
    "PIL": Image.fromarray(GREY),
    "PIL of one bit": Image.fromarray(GREY).point(lambda v: 255 * (v > 127), "1"),
    "NumPy bytes": GREY,
    "NumPy floats": GREY / 255,
    "torch bools": torch.from_numpy(GREY > 127),
    "torch floats": torch.from_numpy(GREY / 255),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_an_image_is_the_same_in_every_layout(layout):
    found = checked_images(LAYOUTS[layout], 8, 2)
    assert found.dtype == torch.float32
    assert torch.allclose(found, AS_TENSOR.expand(2, -1, -1, -1) / 255, atol=1e-7)


def test_several_images_are_a_list_or_one_array_more():
    other = 255 - PIXELS
    expected = torch.stack([checked_images(one, 8)[0] for one in (PIXELS, other)])
    for several in ([PIXELS, Image.fromarray(other)], np.stack([PIXELS, other]), expected):
        assert torch.equal(checked_images(several, 8, 2), expected)
        assert torch.equal(checked_images(several, 8), expected)


def test_grey_images_become_rgb():
    grey = Image.fromarray(PIXELS).convert("L")
    assert torch.equal(checked_images(grey, 8), checked_images(grey.convert("RGB"), 8))


@pytest.mark.parametrize("kind", MASKS)
def test_a_mask_is_white_above_127(kind):
    expected = torch.tensor([[False, False, True, True]] * 4).expand(3, -1, -1)
    assert torch.equal(checked_masks(MASKS[kind], 4, 3), expected)


def test_a_token_is_free_if_any_of_its_pixels_is():
    masks = torch.rand(50, 8, 12, generator=torch.Generator().manual_seed(0)) < 0.1
    found = free_tokens(masks, 4)
    for mask, free in zip(masks, found, strict=True):
        squares = [mask[r : r + 4, c : c + 4] for r in (0, 4) for c in (0, 4, 8)]
        assert free.tolist() == [any(square.flatten().tolist()) for square in squares]
    assert found.any()
    assert not found.all()


def test_a_canvas_repeats_the_edge_of_the_image():
    small = PIXELS[:3, :5]
    canvas, empty = checked_canvas([small, small], (2, 1), 8, 2)
    expected = np.pad(small, ((1, 4), (2, 1), (0, 0)), mode="edge")
    assert torch.equal(canvas[1], checked_images(expected, 8)[0])
    assert (~empty).nonzero()[:, 1:].amin(dim=0).tolist() == [1, 2]
    assert (~empty[0]).sum() == 15


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: checked_images("cat.png", 8), TypeError, "image is 'cat.png'; allowed: a PIL im"),
        (lambda: checked_images([], 8), ValueError, "number of images is 0; allowed: 1 or more"),
        (
            lambda: checked_images([PIXELS] * 2, 8, 3),
            ValueError,
            "number of images is 2; allowed: 1 or 3",
        ),
        (
            lambda: checked_images(PIXELS, 16),
            ValueError,
            r"image has the shape \(8, 8, 3\); allowed: \(16, 16, 3\)",
        ),
        (
            lambda: checked_images(torch.from_numpy(PIXELS), 8),
            ValueError,
            r"image has the shape \(8, 8, 3\); allowed: \(3, 8, 8\)",
        ),
        (lambda: checked_images(PIXELS[..., 0], 8), ValueError, r"the shape \(8, 8\); allowed"),
        (lambda: checked_images(PIXELS.astype(int), 8), TypeError, "the dtype torch.int64; allo"),
        (
            lambda: checked_images(PIXELS / 1.0, 8),
            ValueError,
            "image holds 0.0 to 249.0; allow",
        ),
        (lambda: checked_images(PIXELS * np.nan, 8), ValueError, "image holds nan to nan"),
        (
            lambda: checked_images(LAYOUTS["PIL"].convert("RGBA"), 8),
            ValueError,
            "the mode of image is 'RGBA'; allowed: '1', 'L', 'P', 'RGB'",
        ),
        (
            lambda: checked_masks(GREY, 8, 1),
            ValueError,
            r"mask has the shape \(4, 4\); allowed: \(8, 8\)",
        ),
        (lambda: checked_masks(GREY.astype(int), 4, 1), TypeError, "mask has the dtype"),
        (lambda: checked_masks([GREY] * 2, 4, 1), ValueError, "the number of masks is 2"),
        (lambda: checked_canvas(PIXELS, (0, 0), 4, 1), ValueError, "image is 8 x 8; allowed: one"),
        (
            lambda: checked_canvas([PIXELS, PIXELS[1:]], (0, 0), 9, 2),
            ValueError,
            "image is 7 x 8, 8 x 8; allowed: one size, up to 9 x 9",
        ),
        (lambda: checked_canvas(PIXELS[:0], (0, 0), 8, 1), ValueError, r"allowed: \(height, wid"),
        (
            lambda: checked_canvas(PIXELS, (2, 0), 9, 1),
            ValueError,
            "the left of position is 2; allowed: 0 to 1",
        ),
        (lambda: checked_canvas(PIXELS, 3, 9, 1), TypeError, r"position is 3; allowed: \(left, "),
        (lambda: checked_canvas(PIXELS, (0, 0.5), 9, 1), TypeError, "the top of position is 0.5"),
    ],
)
def test_what_cannot_be_read_is_refused(make, error, message):
    with pytest.raises(error, match=message):
        make()

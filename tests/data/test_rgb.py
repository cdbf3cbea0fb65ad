"""Scenes as 256-way tokens: order, round trip, and what does not fit."""

import pytest
import torch

from vqlearn.data.rgb import rgb_scenes, to_images, to_tokens
from vqlearn.data.scenes.drawing import render
from vqlearn.data.scenes.sampling import sample_scenes


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def test_red_green_blue_of_a_pixel_then_the_next_pixel_row_by_row():
    images = torch.zeros(1, 3, 2, 2)
    images[0, 0, 0, 0], images[0, 1, 0, 1], images[0, 2, 1, 0] = 1.0, 0.2, 0.4
    assert to_tokens(images).tolist() == [[255, 0, 0, 0, 51, 0, 0, 0, 102, 0, 0, 0]]


def test_all_256_levels_come_back():
    tokens = torch.arange(256).repeat(3)[None]
    assert torch.equal(to_tokens(to_images(tokens)), tokens)
    shuffled = tokens[:, torch.randperm(768, generator=seeded())]
    assert torch.equal(to_tokens(to_images(shuffled)), shuffled)


@pytest.mark.parametrize("side", [8, 16, 17, 32])
def test_scenes_are_rows_of_tokens_that_show_the_scenes(side):
    tokens = rgb_scenes(20, side, generator=seeded(), composition="any")
    assert tokens.shape == (20, 3 * side * side)
    assert tokens.dtype == torch.long
    assert torch.equal(tokens, rgb_scenes(20, side, generator=seeded(), composition="any"))
    scenes = sample_scenes(20, generator=seeded(), composition="any")
    drawn = render(scenes, image_size=max(side, 16))
    if side == 8:
        drawn = torch.nn.functional.avg_pool2d(drawn, 2)
    assert (to_images(tokens) - drawn).abs().max() <= 0.5 / 255 + 1e-6
    assert torch.equal(to_tokens(to_images(tokens)), tokens)


def test_a_value_becomes_the_nearest_level():
    values = torch.tensor([0.4, 0.6, 254.4, 254.6]) / 255
    images = values.reshape(1, 1, 2, 2).expand(1, 3, 2, 2)
    assert to_tokens(images)[0, ::3].tolist() == [0, 1, 254, 255]


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        (lambda: rgb_scenes(1, 12, generator=seeded(), composition="any"), "12; allowed: 8, or 16"),
        (lambda: rgb_scenes(1, 4, generator=seeded(), composition="any"), "side is 4"),
        (lambda: rgb_scenes(0, 8, generator=seeded(), composition="any"), "count is 0"),
        (lambda: to_tokens(torch.full((1, 3, 2, 2), 1.5)), "1.5; allowed: 0 to 1"),
        (lambda: to_tokens(torch.full((1, 3, 2, 2), -0.5)), "-0.5 to -0.5"),
        (lambda: to_tokens(torch.full((1, 3, 2, 2), torch.nan)), "nan"),
        (lambda: to_images(torch.zeros(1, 191, dtype=torch.long)), "191 tokens; allowed: 3"),
        (lambda: to_images(torch.zeros(1, 0, dtype=torch.long)), "0 tokens; allowed: 3"),
        (lambda: to_images(torch.full((1, 12), 256)), "256; allowed: 0 to 255"),
        (lambda: to_images(torch.full((1, 12), -1)), "-1 to -1"),
    ],
)
def test_bad_input_is_named_together_with_what_is_allowed(bad, words):
    with pytest.raises(ValueError, match=words):
        bad()

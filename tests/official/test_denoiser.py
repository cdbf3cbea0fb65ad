"""What is odd about the official denoisers, by hand."""

import pytest
import torch
from official import files
from official.denoiser import denoise, embed_tokens
from official.inputs import given
from official.sizes import SMALL


def state_of(name):
    return files.diffusion_state(SMALL[name], seed=0, part="ema")


@pytest.mark.parametrize(
    ("name", "rows"), [("imagenet_pretrained", 1000), ("imagenet_learnable", 1001)]
)
def test_class_1000_is_the_mean_class_or_a_class_of_its_own(name, rows):
    state, asked = state_of(name), given(SMALL[name])
    found = denoise(state, asked.x_t, asked.t, torch.tensor([1000, 1000]))
    table = [key for key in state if key.endswith("ln2.emb.weight")]
    assert all(len(state[key]) == rows for key in table)
    first = {key: state[key].clone() for key in table}
    for key in table:
        first[key][0] = state[key].mean(dim=0) if rows == 1000 else state[key][1000]
    expected = denoise(state | first, asked.x_t, asked.t, torch.tensor([0, 0]))
    torch.testing.assert_close(found, expected)


def test_the_first_class_of_a_batch_decides_that_all_are_the_mean_class():
    state, asked = state_of("imagenet_pretrained"), given(SMALL["imagenet_pretrained"])
    means, mixed = (
        denoise(state, asked.x_t, asked.t, torch.tensor([1000, second])) for second in (1000, 3)
    )
    assert torch.equal(means, mixed)
    with pytest.raises(IndexError):
        denoise(state, asked.x_t, asked.t, torch.tensor([3, 1000]))


@pytest.mark.parametrize(("name", "side"), [("coco_pretrained", 4), ("ffhq", 8)])
def test_positions_count_through_the_tables_not_through_the_image(name, side):
    state = state_of(name)
    rows, columns = (
        state[f"transformer.content_emb.{axis}_emb.weight"] for axis in ("height", "width")
    )
    assert len(rows) == len(columns) == side
    x_t = torch.zeros(1, 16, dtype=torch.int64)
    positions = embed_tokens(state, x_t)[0] - state["transformer.content_emb.emb.weight"][0]
    flat = torch.stack([row + column for row in rows for column in columns])
    torch.testing.assert_close(positions, flat[:16], atol=1e-5, rtol=1e-5)

"""Films: one frame a step, hidden tokens covered, finished images untouched."""

import pytest
import torch
from PIL import Image
from support.tiny import write_diffusers_folder

from vqlearn import VQDiffusionPipeline
from vqlearn.pipeline.film import DARK, LIGHT, Film, paint

MASK = 11


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory):
    return VQDiffusionPipeline.from_pretrained(
        write_diffusers_folder(tmp_path_factory.mktemp("film") / "model")
    )


def test_a_finished_picture_is_painted_as_it_is_decoded(pipeline):
    tokens = torch.arange(32).view(2, 16) % MASK
    with torch.no_grad():
        decoded = pipeline.vqvae.decode(tokens)
    assert torch.equal(paint(pipeline, tokens), decoded)


def test_hidden_tokens_and_nothing_else_are_covered(pipeline):
    """A checkerboard at rows 2..3, columns 4..5 (token 6 of a 4 x 4 grid of 2 x 2 pixels)."""
    tokens = torch.zeros(1, 16, dtype=torch.long)
    tokens[0, 6] = MASK
    image = paint(pipeline, tokens)[0]
    square = torch.tensor([[LIGHT, DARK], [DARK, LIGHT]])
    assert torch.equal(image[:, 2:4, 4:6], square.expand(3, 2, 2))
    covered = (image == LIGHT) | (image == DARK)
    covered[:, 2:4, 4:6] = False
    assert not covered.any()


def test_a_film_has_the_start_and_every_step(pipeline, tmp_path):
    film = Film(pipeline)
    generators = [torch.Generator().manual_seed(seed) for seed in range(2)]
    result = pipeline(["a red circle", "a blue square"], 5, generator=generators, callback=film)
    assert len(film.states) == 6
    assert (film.states[0] == MASK).all()
    assert film.states[0].shape == (2, 16)
    assert not (film.states[-1] == MASK).any()
    assert film.frames()[-1].crop((0, 0, 256, 256)).tobytes() == (
        result.images[0].resize((256, 256), 0).tobytes()
    )
    film.save(tmp_path / "film.gif")
    with Image.open(tmp_path / "film.gif") as gif:
        assert gif.n_frames == 6
        assert gif.info["loop"] == 0
        gif.seek(5)
        assert gif.info["duration"] == 2000


def test_hidden_tokens_become_fewer(pipeline):
    film = Film(pipeline)
    pipeline("a red circle", 10, generator=torch.Generator().manual_seed(0), callback=film)
    hidden = [(state == MASK).sum().item() for state in film.states]
    assert hidden == sorted(hidden, reverse=True)
    assert 0 < hidden[5] < 16

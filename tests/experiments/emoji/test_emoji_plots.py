"""The pictures of the page: their titles are true, and every prompt has its image."""

import numpy as np
import pytest
import torch
from PIL import Image

from vqlearn.checkpoints import resolve
from vqlearn.data import ImageFolder
from vqlearn.experiments.emoji import plots
from vqlearn.experiments.emoji.plots import NEVER_SEEN, NO_EMOJI, PROMPTS, SEEN, check_titles
from vqlearn.pipeline import load_pipeline


def test_titles_are_compared_with_the_captions():
    seen, held_out = set(PROMPTS[SEEN]), set(PROMPTS[NEVER_SEEN])
    check_titles(seen, held_out)
    with pytest.raises(ValueError, match=f"'a ghost' is one of '{NO_EMOJI}'; allowed: '{SEEN}'"):
        check_titles(seen - {"a ghost"}, held_out)
    with pytest.raises(ValueError, match=f"'a pink skull' is one of '{SEEN}'; allowed: 'what"):
        check_titles(seen | {"a pink skull"}, held_out)


def test_every_prompt_is_drawn_in_its_place(tmp_path, monkeypatch):
    """The first image is red, the last one blue: they lie in opposite corners."""
    asked = []

    def generate(pipeline, prompts, evaluation):
        asked.extend(prompts)
        images = torch.ones(len(prompts), 3, 8, 8)
        images[0, 1:], images[-1, :2] = 0, 0
        return images

    monkeypatch.setattr(plots, "generate", generate)
    plots.plot_prompts(None, tmp_path / "prompts.png")
    assert asked == [prompt for some in PROMPTS.values() for prompt in some]
    with Image.open(tmp_path / "prompts.png") as picture:
        pixels = np.asarray(picture.convert("RGB"))
    height, width = pixels.shape[:2]
    red, blue = (
        np.argwhere((pixels == colour).all(2)).mean(0) for colour in ((255, 0, 0), (0, 0, 255))
    )
    assert (red < (height / 4, width / 6)).all()
    assert (blue > (3 * height / 4, 5 * width / 6)).all()


def test_reconstructions_are_drawn_of_the_folder(data, tmp_path):
    pipeline = load_pipeline(resolve("scenes"))
    plots.plot_reconstructions(pipeline, ImageFolder(data / "train", 32), tmp_path / "again.png")
    with Image.open(tmp_path / "again.png") as picture:
        assert picture.width > picture.height

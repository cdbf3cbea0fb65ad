"""The README: its length, its Python as it stands there (made smaller), its links and commands."""

import re
from pathlib import Path

import pytest
import torch
from typer.main import get_command

from vqlearn.cli.commands import app
from vqlearn.pipeline.text_to_image import TextToImagePipeline

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
PARTS = README.partition("## Use the parts")[2].partition("## Results")[0]
SMALLER = {  # what a test has no time for; each must stand in the README
    "Recipe(3_000, 32": "Recipe(2, 4",
    '"image.png"': 'folder / "image.png"',
    "num_inference_steps=25": "num_inference_steps=2",
}


def run(text, folder):
    for large, small in SMALLER.items():
        text = text.replace(large, small)
    names = {"folder": folder}
    exec(text, names)
    return names


def block(first):
    (found,) = [text for text in BLOCKS if first in text]
    return found


@pytest.mark.parametrize("large", SMALLER)
def test_what_is_made_smaller_stands_there(large):
    assert large in README


def test_it_is_short():
    assert len(README.splitlines()) <= 190
    outside = re.sub(r"```.*?```", "", README, flags=re.DOTALL)
    assert len(outside.split()) <= 1300


def test_snippets_of_the_parts_are_short():
    snippets = re.findall(r"```python\n(.*?)```", PARTS, re.DOTALL)
    assert len(snippets) == 3
    for snippet in snippets:
        lines = snippet.splitlines()
        assert len([line for line in lines if line.strip()]) <= 8
        assert sum(line.startswith(("from ", "import ")) for line in lines) <= 4
        assert max(map(len, lines)) <= 100


def test_the_shipped_model_generates(tmp_path):
    names = run(block("guidance_scale=1.5"), tmp_path)
    assert names["result"].images[0].size == (32, 32)
    assert (tmp_path / "image.png").exists()


def test_the_released_model_generates(hub, monkeypatch):
    """On a small model in its layout; without a GPU it stays where it is."""
    if not torch.cuda.is_available():
        monkeypatch.setattr(TextToImagePipeline, "to", lambda self, *_: self)
    names = run(block("microsoft/vq-diffusion-ithq"), None)
    assert names["image"].size == (8, 8)


def test_digits_are_learnt_by_diffusion():
    assert run(block("SequenceDenoiser"), None)["samples"].shape == (8, 64)


def test_digits_are_completed_row_by_row():
    names = run(block("GatedPixelCNN"), None)
    assert torch.equal(names["completed"][:, :32], names["data"].test[:8, :32])


def test_few_steps_cost_bits_in_a_world_that_can_be_listed():
    names = run(block("import chain"), None)
    assert names["few"].shape == (1000, 4)
    nll = names["model"].nll
    assert nll(names["few"]).mean() > nll(names["many"]).mean() > 0


def test_commands_and_options_are_known():
    commands = get_command(app).commands
    for line in re.findall(r"^vqlearn (.*(?:\\\n.*)*)", README, re.MULTILINE):
        words = line.partition("#")[0].replace("\\\n", " ").split()
        command = commands[words[0]]
        if "tokens" in words[:1]:
            command = command.commands[words[1]]
        known = {option for each in command.params for option in each.opts}
        assert {word for word in words if word.startswith("--")} <= known, line


def test_links_lead_somewhere():
    for link in re.findall(r"\]\(([^)#:]+)\)", README):
        assert (ROOT / link).exists(), link

"""The pictures and the numbers of the README can be made again, and are those that stand there."""

import json
from pathlib import Path

import pytest
from PIL import Image

from vqlearn import figures

ROOT = Path(__file__).parent.parent


def test_every_figure_is_made(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(figures, "FIGURES", tmp_path)
    for name, small in (("STEPS", 2), ("CEILING_PICTURES", 20), ("PROMPTS_MEASURED", 10)):
        monkeypatch.setattr(figures, name, small)
    figures.main()
    assert {file.name for file in tmp_path.iterdir()} == {
        file.name for file in (ROOT / "figures").iterdir()
    }
    for file in tmp_path.glob("*.png"):
        with Image.open(file) as picture:
            assert min(picture.size) > 200
    numbers = json.loads((tmp_path / "scenes.json").read_text())
    assert json.loads(capsys.readouterr().out) == numbers
    assert numbers["reconstructions"]["pictures"] == 20
    assert numbers["seen"]["prompts"] == numbers["held_out"]["prompts"] == 10
    assert 20 < numbers["reconstructions"]["psnr_db"] < 50


@pytest.mark.parametrize("part", ["reconstructions", "seen", "held_out"])
def test_the_numbers_of_the_readme_are_those_of_the_figures(part):
    numbers = json.loads((ROOT / "figures" / "scenes.json").read_text())[part]
    count = numbers.get("pictures", numbers.get("prompts"))
    row = f"| {numbers['right']:,} of {count:,} |"
    assert row in (ROOT / "README.md").read_text()

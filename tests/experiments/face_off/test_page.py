"""The page of the face-off: what it waits for, what it says, and that the stored one is true."""

import json
import re
from pathlib import Path

import pytest
from PIL import Image
from support.face_off_reports import whole_report

from vqlearn.experiments.face_off import page, tables
from vqlearn.experiments.face_off.__main__ import COMMAND

FIGURES = Path(__file__).parents[3] / "figures"


@pytest.fixture
def report():
    return whole_report()


def without(report, *patterns):
    """The runs that no pattern matches."""
    runs = report["runs"].items()
    kept = {name: run for name, run in runs if not any(re.search(each, name) for each in patterns)}
    return {**report, "runs": kept}


LEAST = (
    "^[qedfs].*/[12]$",
    "^captions/.*/[12]$",
    "^cuda-cost",
    "^forcing/(?!raster|vq-diffusion/)",
)


def test_the_page_waits_for_the_first_seed_and_for_costs(report):
    assert page.missing(report) == page.missing(without(report, *LEAST)) == []
    needed = ("quality/direct/0", "errors/imagebart/0", "forcing/raster/0", "cost/diffusion 5/16")
    for name in (*needed, "captions/uniform-auxiliary-0.01/0"):
        assert page.missing(without(report, f"^{name}")) == [name]
    assert len(page.missing({"runs": {}})) > 80


def test_the_page_can_be_made_of_the_least(report):
    least = {**report, "worlds": {k: v for k, v in report["worlds"].items() if k != "cuda-cost"}}
    text = page.text(without(least, *LEAST))
    assert "On CUDA" not in text
    assert "a CPU (30 of 30 runs)" in text


def test_the_page_has_every_table_and_every_picture(report):
    text = page.text(report)
    for name in ("verdict", "quality", "calls", "cost", "cuda", "errors", "directions"):
        assert getattr(tables, f"{name}_table")(report) in text
    for name in ("forcing", "captions", "downstream", "strangeness"):
        assert getattr(tables, f"{name}_table")(report) in text
    pictures = re.findall(r"!\[[^]]+\]\(([^)]+)\)", text)
    assert pictures == [f"face_off_{name}.png" for name in page.PICTURES]
    for known in ("`a command`", "(one core)", "On CUDA (a GPU)", "hold 0.500 bits", "x_{t-1}"):
        assert known in text
    report["runs"]["quality/raster/0"]["machine"] = "a GPU"
    assert page.machines(report) == ["a CPU (104 of 105 runs)", "a GPU (1 of 105 runs)"]


def test_the_page_says_how_much_seconds_vary(report):
    for calls, seconds in ((100, 0.5), (50, 0.3), (25, 0.1), (10, 0.07), (5, 0.03)):
        report["runs"][f"cost/diffusion {calls}/64"]["seconds"]["1"] = seconds
    assert page.milliseconds_of_a_call(report) == pytest.approx([5, 6, 4, 7, 6])
    assert "took from 4.0 to 7.0" in " ".join(page.text(report).split())


def test_the_page_is_written_beside_the_numbers(report, tmp_path):
    page.write(report, tmp_path / "face_off.json")
    names = {f"face_off_{name}.png" for name in page.PICTURES}
    assert {file.name for file in tmp_path.iterdir()} == {"face_off.md", *names}
    assert (tmp_path / "face_off.md").read_text() == page.text(report)
    for name in names:
        with Image.open(tmp_path / name) as picture:
            assert min(picture.size) > 400


def test_the_stored_page_is_made_of_the_stored_numbers():
    report = json.loads((FIGURES / "face_off.json").read_text())
    assert report["command"] == COMMAND
    assert page.missing(report) == []
    assert (FIGURES / "face_off.md").read_text() == page.text(report)
    for name in page.PICTURES:
        with Image.open(FIGURES / f"face_off_{name}.png") as picture:
            assert min(picture.size) > 400

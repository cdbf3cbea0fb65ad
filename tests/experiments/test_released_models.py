"""The page of the released models is what the catalogue says."""

from pathlib import Path

import pytest

from vqlearn.experiments import released_models
from vqlearn.experiments.pages import pages_with
from vqlearn.experiments.released_models import tables
from vqlearn.lessons.marks import between
from vqlearn.released import RELEASED

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "figures" / "released.md"


def cells(text):
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines()[2:]]


@pytest.mark.parametrize("mark", tables())
def test_the_tables_of_the_page_are_those_of_the_catalogue(mark):
    assert pages_with(ROOT, mark) == [PAGE]
    assert between(PAGE, mark) == tables()[mark], (
        "run `python -m vqlearn.experiments.released_models`"
    )


def test_a_row_says_where_the_files_are_and_how_to_sample():
    rows = {row[0].strip("`"): row for row in cells(tables()["released-models"])}
    assert list(rows) == [model.name for model in RELEASED]
    release = "https://github.com/tzco/storage/releases/download/vqdiffusion"
    assert (
        rows["ithq_learnable"][3] == f"[`ithq_learnable_aa` … `_ak`]({release}/ithq_learnable_aa)"
    )
    assert rows["ithq_learnable"][4:10] == [
        *("named by the server", "not stated", "learned", "5", "1", "")
    ]
    assert rows["imagenet_learnable"][6:9] == ["class 1000", "1.5", "0.94"]
    assert rows["cub_pretrained"][6:9] == ["the empty caption", "none", "0.86"]
    assert rows["cub_pretrained"][9].startswith("[2,887](https://raw.githubusercontent.com/")
    assert rows["ithq_vqvae"][3] == f"[`ithq_vqvae.pth`]({release}/ithq_vqvae.pth)"
    assert rows["ithq_vqvae"][6:] == ["", "", "", ""]
    assert "CompVis/taming-transformers" in rows["vqgan_ffhq_f16_1024"][2]


def test_synthetic_and_released_files_are_different_rows(monkeypatch):
    monkeypatch.setattr(released_models, "CONVERTED_IN", {"class": "tests/x.py"})
    monkeypatch.setattr(released_models, "RUN_ON_RELEASED", {"cub_pretrained": "4 images"})
    rows = {
        (name.strip("`"), "synthetic" if "synthetic file of its kind" in what else "released"): run
        for name, what, run in cells(tables()["released-runs"])
    }
    assert len(rows) == 2 * len(RELEASED)
    assert rows["imagenet_learnable", "synthetic"] == "[tests](../tests/x.py)"
    assert rows["cub_pretrained", "synthetic"] == "no"
    assert rows["cub_pretrained", "released"] == "4 images"
    assert rows["coco_pretrained", "released"] == "no: it could not be downloaded here"


def test_what_is_said_to_be_run_is_there():
    assert set(released_models.CONVERTED_IN) <= {model.kind for model in RELEASED}
    assert set(released_models.RUN_ON_RELEASED) <= {model.name for model in RELEASED}
    for file in released_models.CONVERTED_IN.values():
        assert (ROOT / file).is_file()

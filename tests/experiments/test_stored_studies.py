"""Stored runs stay those of the code: 16 hours of computing hang on words that must not change."""

import hashlib
import json
from pathlib import Path

import pytest

from vqlearn.experiments.__main__ import STUDIES
from vqlearn.experiments.processes import PROCESSES
from vqlearn.experiments.systems import AUTOREGRESSIVE, DENOISERS
from vqlearn.training.tasks import imagebart_task, raster_task

FIGURES = Path(__file__).parents[2] / "figures"
DIGESTS = {
    "shipped-model": "8487b72d21c27a3bc1a157bef1d28c36c9c20dfe1f6ddc5bb30e44301fc49914",
    "samplers": "9b2964d0c67578d4c7e5731acae4cbe86371a3b598467e33580b72ff042718ea",
    "frontier": "a867c781305710a2def0027ef4597b17774b936173b7523724f4656671c199eb",
    "null-text": "1741f350fc370c4a7652980207d2462380ff40afbfb65a5befc2aa97be941aa7",
    "kernels": "ab6144f18f097927350e2c53b29dfc19533de11ae39a947fe37415baca5c6818",
    "autoregressive": "8ac1f277095af412094082c04c638e02070d35664becf003f9cfac33036591be",
    "face-off": "71020737392496ccd3ea61ef45326269e3e5a97a9324441fbacb9561986f6171",
    "unmasking": "19926fe115b780afd3d530a1bb5f96bd8fc0c74d9299c5d07bc62b4e8948f58a",
    "emoji": "458dd0c1a08470d5a84f0e1319c616eba3263d3b6a3f978e7d2e5a256b1825bb",
    "own-images": "8385c0fffd2592f5e3a8054a16384cd4b2b705e58a4053946179f5e44d4e7b50",
}
"""Of the ids and the settings of all runs, stored or not. Another digest is another study."""


def digest(name):
    told = {run.id: run.settings() for run in STUDIES[name].runs}
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()


@pytest.fixture
def renamed():
    """The ids of all functions and classes that runs are made of, while those have other names."""
    networks = {id: network for id, (network, _) in AUTOREGRESSIVE.items()}
    stages = {"train_raster": raster_task, "train_imagebart": imagebart_task}
    parts = {**PROCESSES, **DENOISERS, **networks, **stages}
    names = {part: (part.__name__, part.__qualname__) for part in parts.values()}
    for made in names:
        made.__name__ = made.__qualname__ = "another"
    yield set(parts)
    for made, (name, qualified) in names.items():
        made.__name__, made.__qualname__ = name, qualified


@pytest.mark.parametrize("name", STUDIES)
def test_every_stored_run_is_a_run_of_the_code_with_its_settings(name):
    study = STUDIES[name]
    stored = json.loads((FIGURES / study.file).read_text())
    known = {run.id: run for run in study.runs}
    assert len(stored["runs"]) >= 5
    assert set(stored["runs"]) <= set(known)
    assert study.missing(study.read(FIGURES), [known[id] for id in stored["runs"]]) == []


@pytest.mark.parametrize("name", STUDIES)
def test_only_second_seeds_and_cuda_are_missing(name):
    study = STUDIES[name]
    missing = study.missing(study.read(FIGURES))
    assert not missing if study.needed is None else not study.needed & set(missing)


@pytest.mark.parametrize("name", STUDIES)
def test_ids_and_settings_of_all_runs_are_frozen(name):
    """Whoever changes a digest measures again what was stored."""
    assert digest(name) == DIGESTS[name]


@pytest.mark.parametrize("name", STUDIES)
def test_settings_do_not_depend_on_what_code_is_called(name, renamed):
    some = {"uniform", "letter_neighbours", "OrdinalDenoiser", "PixelRNN", "train_raster"}
    assert some | {"released", "CausalDenoiser", "RasterTransformer", "ImageBART"} <= renamed
    assert digest(name) == DIGESTS[name]


@pytest.mark.parametrize("name", STUDIES)
def test_a_file_is_written_as_it_was_read(name, tmp_path):
    study = STUDIES[name]
    study.write(study.read(FIGURES), tmp_path)
    assert (tmp_path / study.file).read_text() == (FIGURES / study.file).read_text()

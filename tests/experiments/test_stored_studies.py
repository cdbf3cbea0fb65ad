"""Stored runs stay those of the code: 16 hours of computing hang on words that must not change."""

import hashlib
import json
from pathlib import Path

import pytest

from vqlearn.experiments.autoregressive import data as raster_worlds
from vqlearn.experiments.autoregressive import runs as raster
from vqlearn.experiments.face_off import __main__ as face_off
from vqlearn.experiments.face_off import captions, trainings
from vqlearn.experiments.face_off.runs import Setting
from vqlearn.experiments.identity import Named
from vqlearn.experiments.kernels import data as family_worlds
from vqlearn.experiments.kernels import runs as family

FIGURES = Path(__file__).parents[2] / "figures"
STUDIES = {
    "family": family.experiment(family_worlds.BUDGETS),
    "raster": raster.experiment(raster_worlds.BUDGETS),
    "face_off": face_off.experiment(Setting()),
}
DIGESTS = {
    "family": "b0894609b2ecf7aa892c8b0fcfe50ec9a94f97ae0bfe4a4e0dd6c4facfe9e480",
    "raster": "99485c96fdf63f7aa4fa5ee04dd3a8ba9e0e9d50684535cf31e8ae9043db7623",
    "face_off": "71020737392496ccd3ea61ef45326269e3e5a97a9324441fbacb9561986f6171",
}
"""Of the names and the settings of all runs, stored or not. Another digest is another study."""


def digest(study):
    experiment = STUDIES[study]
    told = {name: experiment.settings(name) for name in experiment.names}
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()


def parts_of(run):
    """Everything in a run that settings have an id for."""
    for value in vars(run).values():
        if isinstance(value, Named):
            yield value
        elif isinstance(value, family.Run | raster.RowRun):
            yield from parts_of(value)


@pytest.fixture
def renamed():
    """The ids of all functions and classes that runs are made of, while those have other names."""
    rooms = (family.RUNS, raster.RUNS, trainings.ALL, captions.ALL)
    parts = [part for room in rooms for run in room.values() for part in parts_of(run)]
    names = {part.make: (part.make.__name__, part.make.__qualname__) for part in parts}
    for made in names:
        made.__name__ = made.__qualname__ = "another"
    yield {part.id for part in parts}
    for made, (name, qualified) in names.items():
        made.__name__, made.__qualname__ = name, qualified


@pytest.mark.parametrize("study", STUDIES)
def test_every_stored_run_is_a_run_of_the_code_with_its_settings(study):
    report = json.loads((FIGURES / f"{study}.json").read_text())
    assert len(report["runs"]) > 10
    assert set(report["runs"]) <= set(STUDIES[study].names)
    assert STUDIES[study].missing(report, list(report["runs"])) == []


@pytest.mark.parametrize("study", STUDIES)
def test_names_and_settings_of_all_runs_are_frozen(study):
    """Whoever changes a digest measures again what was stored."""
    assert digest(study) == DIGESTS[study]


@pytest.mark.parametrize("study", STUDIES)
def test_settings_do_not_depend_on_what_code_is_called(study, renamed):
    some = {"uniform", "letter_neighbours", "OrdinalDenoiser", "PixelRNN", "train_raster"}
    assert some | {"released", "CausalDenoiser", "RasterTransformer", "ImageBART"} <= renamed
    assert digest(study) == DIGESTS[study]

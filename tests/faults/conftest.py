"""A small checkpoint in diffusers' layout, without digests, that a test may damage."""

import shutil

import pytest
from support.tiny import write_diffusers_folder


@pytest.fixture(scope="session")
def pristine_checkpoint(tmp_path_factory):
    """Not to be changed."""
    return write_diffusers_folder(tmp_path_factory.mktemp("checkpoint") / "model")


@pytest.fixture
def checkpoint(pristine_checkpoint, tmp_path):
    """A copy for one test."""
    return shutil.copytree(pristine_checkpoint, tmp_path / "model")

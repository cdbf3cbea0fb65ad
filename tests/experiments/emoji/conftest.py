"""A small package of emoji, and the folder that is made of it."""

import pytest
from support.emoji_package import ENTRIES, entry, make_package

from vqlearn.experiments.emoji.captions import TONES
from vqlearn.experiments.emoji.folder import build


@pytest.fixture(scope="session")
def entries():
    return [
        entry(*told, tones=TONES if toned else (), order=order)
        for order, (*told, toned) in enumerate(ENTRIES)
    ]


@pytest.fixture(scope="session")
def package(tmp_path_factory, entries):
    return make_package(tmp_path_factory.mktemp("npm") / "package.tgz", entries)


@pytest.fixture(scope="session")
def data(tmp_path_factory, package):
    """The folder: 9 images, 2 of them held out."""
    folder = tmp_path_factory.mktemp("data") / "emoji"
    build(folder, package)
    return folder

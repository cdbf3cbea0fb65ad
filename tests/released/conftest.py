"""A server of files for the tests of downloads."""

import pytest
from support.file_server import serving_files

from vqlearn.released import fetching


@pytest.fixture
def server(monkeypatch):
    """A server on this machine. Nobody waits between attempts."""
    monkeypatch.setattr(fetching.time, "sleep", lambda seconds: None)
    with serving_files() as server:
        yield server

"""Where the stored results lie."""

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def stored_folder():
    return Path(__file__).parents[2] / "figures"

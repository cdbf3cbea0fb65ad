"""The process of these tests, and calls without the annotation check."""

import jaxtyping
import pytest
from support.gaussian_toys import ROUGH

from vqlearn.continuous.gaussian import GaussianProcess


@pytest.fixture
def process():
    return GaussianProcess(ROUGH)


@pytest.fixture
def unchecked():
    """Without the annotation check of the tests, as a user calls it."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)

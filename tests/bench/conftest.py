"""Nothing is measured in these tests, so sizes are tiny."""

import pytest

from vqlearn.transformer.denoiser import DenoiserConfig


@pytest.fixture(scope="session")
def tiny():
    """2 heads of 4, 2 layers, 11 codes, a grid of 4 x 4, 10 levels."""
    return DenoiserConfig(2, 4, 2, 12, True, 12, 4, 10)

"""Configs: a key that a file leaves out has the value that diffusers gives it."""

from inspect import signature

import diffusers
import pytest

from vqlearn.checkpoints.configs import DENOISER_FILE, SCHEDULE_FILE, VQVAE_FILE

OURS = {"quantizer", "num_full_codes"}  # keys that diffusers does not know


@pytest.mark.parametrize(
    ("file", "name"),
    [
        (VQVAE_FILE, "VQModel"),
        (DENOISER_FILE, "Transformer2DModel"),
        (SCHEDULE_FILE, "VQDiffusionScheduler"),
    ],
)
def test_defaults_are_those_of_diffusers(file, name):
    theirs = signature(getattr(diffusers, name).__init__).parameters
    ours = {key: value for key, value in file.defaults.items() if key not in OURS}
    assert ours
    assert ours == {key: theirs[key].default for key in ours}

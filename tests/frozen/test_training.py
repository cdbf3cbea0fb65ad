"""Training draws what it drew, in the same order: a few steps of every trainer.

`record.py` wrote what is compared with here, when given `training`. If a test fails, a random
number is drawn that was not drawn before, or at another time, or the arithmetic is another.
"""

import math

import pytest
from frozen.store import load_traces
from frozen.training import TRAINERS, Trace, trace

TOLERANCE = 1e-5
RECORD = {name: Trace(**numbers) for name, numbers in load_traces().items()}
QUICK = ["rows pixelcnn", "sequences dense", "unet", "raster"]


def differences(found: Trace, expected: Trace) -> list[float]:
    """Relative ones: of every loss, and of the weights' sums of squares and of fourth powers."""
    assert len(found.losses) == len(expected.losses)
    pairs = list(zip(found.losses, expected.losses, strict=True))
    pairs += [(found.sums[power], expected.sums[power]) for power in ("2", "4")]
    return [abs(a - b) / abs(b) for a, b in pairs]


@pytest.mark.parametrize("name", TRAINERS)
def test_every_trainer_ends_with_the_recorded_weights(name):
    """Also with the recorded sum of the weights, which says whether signs have changed.

    The sum has little left after weights of both signs are added, and Muon, which works in half
    precision, moves some directions by rounding alone. So it is held against the largest sum that
    so many weights with these squares could have, and 20 times more loosely.
    """
    found, expected = trace(name), RECORD[name]
    assert found.weights == expected.weights
    assert max(differences(found, expected)) < TOLERANCE
    largest = math.sqrt(expected.weights * expected.sums["2"])
    assert abs(found.sums["1"] - expected.sums["1"]) < 20 * TOLERANCE * largest


@pytest.mark.parametrize("name", QUICK)
def test_other_draws_would_be_seen(name):
    assert max(differences(trace(name, seed=1), RECORD[name])) > 100 * TOLERANCE


def test_every_trace_has_its_trainer():
    assert RECORD.keys() == TRAINERS.keys()

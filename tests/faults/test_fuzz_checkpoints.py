"""A small share of the fuzzing of checkpoints; `soak` does ten times as much."""

import pytest
from faults import fuzz_checkpoints


@pytest.mark.filterwarnings("ignore")  # of torch, about what the files hold
def test_damaged_checkpoints_are_refused_in_a_sentence_or_are_as_before():
    found = fuzz_checkpoints.soak(200, seed=0)
    assert found["tried"] > 220
    assert found["refused"] > 150
    faults = ("loaded_other", "foreign", "hung", "executed")
    assert {kind: found[kind] for kind in faults} == dict.fromkeys(faults, 0)

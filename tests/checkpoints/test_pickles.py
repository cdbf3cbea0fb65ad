"""Pickles of weights: what is too deep is refused before torch reads it."""

import pytest
import torch

from vqlearn.checkpoints import CheckpointError
from vqlearn.checkpoints.pickles import DEEPEST_TUPLE, load_pickle


@pytest.mark.parametrize(
    ("depth", "reason"),
    [
        (DEEPEST_TUPLE, "holds a name that is a tuple; allowed: text"),
        (DEEPEST_TUPLE + 1, f"holds tuples {DEEPEST_TUPLE + 1} deep; allowed: named tensors"),
    ],
)
def test_tuples_up_to_a_depth_are_read(tmp_path, depth, reason):
    """A tuple is no name of a tensor, but that is known only after reading."""
    key = ()  # depth 0
    for _ in range(depth):
        key = (key,)
    torch.save({key: torch.ones(2)}, tmp_path / "weights.bin")
    with pytest.raises(CheckpointError, match=reason):
        load_pickle(tmp_path / "weights.bin")

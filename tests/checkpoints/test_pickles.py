"""Pickles of weights: what is too deep is refused before torch reads it."""

import io
import pickle

import pytest
import torch

from vqlearn.checkpoints import CheckpointError
from vqlearn.checkpoints.pickles import DEEPEST_TUPLE, _deepest_tuple, load_pickle


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


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize(
    ("value", "depth"), [({}, 0), ([[], {"a": (1, 2)}], 1), ([(1,), {(2, (3, 4)): {}}], 2)]
)
def test_depths_are_those_of_tuples_in_tuples(protocol, value, depth):
    """Every protocol builds them by other operations."""
    assert _deepest_tuple(io.BytesIO(pickle.dumps(value, protocol))) == depth

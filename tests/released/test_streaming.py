"""Files written one tensor at a time are those that safetensors reads, and hold no two at once."""

import pytest
import torch
from safetensors.torch import load_file

from vqlearn.checkpoints.weights import DTYPES, Stored, WeightsFile
from vqlearn.released.conversion.streaming import write_streamed


def stored(weights):
    return {name: Stored(tuple(w.shape), w.dtype) for name, w in weights.items()}


def test_all_types_and_shapes_come_back(tmp_path):
    weights = {f"{name}": torch.randn(2, 3).to(dtype) for name, dtype in DTYPES.items()}
    weights |= {"empty": torch.empty(0), "no numbers": torch.empty(3, 0)}
    weights |= {"a view": torch.randn(4, 6).t(), "one": torch.randn(1)}
    write_streamed(tmp_path / "file.safetensors", stored(weights), weights.__getitem__)
    found = load_file(tmp_path / "file.safetensors")
    assert found.keys() == weights.keys()
    assert all(
        torch.equal(found[name], w) and found[name].dtype == w.dtype for name, w in weights.items()
    )
    assert WeightsFile(tmp_path / "file.safetensors").stored == stored(weights)


def test_each_is_asked_for_once_in_order(tmp_path):
    asked = []

    def read(name):
        asked.append(name)
        return torch.zeros(2)

    write_streamed(tmp_path / "file", {n: Stored((2,), torch.float32) for n in "ba"}, read)
    assert asked == ["b", "a"]


@pytest.mark.parametrize("value", [torch.zeros(3), torch.zeros(2).half()])
def test_other_tensors_than_announced_are_refused(value, tmp_path):
    with pytest.raises(ValueError, match=r"x is .* announced"):
        write_streamed(tmp_path / "file", {"x": Stored((2,), torch.float32)}, lambda _: value)

"""Training checkpoints: names and tensors are those that torch reads, and no more is read."""

import json
import pickle
import subprocess
import sys
from collections import OrderedDict

import pytest
import torch
from support.peak_memory import PEAK_OF_A_TRAINING_FILE
from support.training_files import (
    FOUR,
    archive_of,
    members_of,
    pickled,
    same,
    solver_content,
    tensor,
    write_solver_file,
    zipped,
)
from torch import nn

from vqlearn.checkpoints import CheckpointError
from vqlearn.checkpoints.weights import Stored
from vqlearn.released import read_training_file
from vqlearn.released.training_file import DTYPES

# What is in a file ----------------------------------------------------------------


def test_a_solver_file_is_what_torch_reads(tmp_path):
    write_solver_file(tmp_path / "solver.pth")
    file = read_training_file(tmp_path / "solver.pth")
    torchs = torch.load(tmp_path / "solver.pth", weights_only=True)
    assert same(file.raw, torchs["model"])
    assert same(file.ema, torchs["ema"])
    assert not any(weight.requires_grad for weight in file.raw.values())


def test_the_average_replaces_what_it_averages(tmp_path):
    content = write_solver_file(tmp_path / "solver.pth")
    file = read_training_file(tmp_path / "solver.pth")
    expected = {
        name: content["ema"].get(name.removeprefix("transformer."), weight)
        for name, weight in content["model"].items()
    }
    assert same(file.weights(), expected)
    changed = [n for n in expected if not torch.equal(expected[n], content["model"][n])]
    assert len(changed) == 3
    assert all(name.startswith("transformer.") for name in changed)


def test_a_weight_that_only_the_average_has_is_not_lost(tmp_path):
    torch.save({"model": {"a": FOUR}, "ema": {"b": FOUR + 1}}, tmp_path / "file.pth")
    weights = read_training_file(tmp_path / "file.pth").weights()
    assert same(weights, {"a": FOUR, "transformer.b": FOUR + 1})


@pytest.mark.parametrize("content", [{"model": {"a": FOUR}}, {"model": {"a": FOUR}, "ema": None}])
def test_without_an_average_the_weights_are_the_raw_ones(tmp_path, content):
    torch.save(content, tmp_path / "file.pth")
    file = read_training_file(tmp_path / "file.pth")
    assert file.ema is None
    assert same(file.weights(), {"a": FOUR})


class ModelCheckpoint:
    """A callback, whose class is a key in old files of Lightning."""

    def __init__(self):
        self.best = 1.0


def test_a_file_of_lightning_with_a_class_as_key_is_read(tmp_path):
    state = {"first_stage_model.quantize.embedding.weight": torch.randn(3, 4), "loss.a": FOUR}
    callbacks = {ModelCheckpoint: {"best": FOUR, "object": ModelCheckpoint()}}
    content = {"epoch": 3, "pytorch-lightning_version": "1.0.8", "callbacks": callbacks}
    torch.save({**content, "state_dict": state}, tmp_path / "last.ckpt")
    with pytest.raises(pickle.UnpicklingError):
        torch.load(tmp_path / "last.ckpt", weights_only=True)
    file = read_training_file(str(tmp_path / "last.ckpt"))
    assert same(file.raw, state)


def test_a_state_dict_with_versions_and_parameters_is_read(tmp_path):
    """torch.save writes `_metadata` as an attribute, and parameters as calls around tensors."""
    module = nn.BatchNorm1d(3)
    state = module.state_dict(keep_vars=True)
    assert isinstance(state, OrderedDict)
    assert state._metadata
    torch.save({"model": state}, tmp_path / "file.pth")
    assert same(read_training_file(tmp_path / "file.pth").raw, module.state_dict())


@pytest.mark.parametrize("kind", sorted(DTYPES))
@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_every_type_of_numbers_is_read(tmp_path, kind, protocol):
    values = {"a": torch.arange(6).to(DTYPES[kind]).reshape(2, 3), "empty": torch.zeros(0, 2)}
    torch.save({"model": values}, tmp_path / "file.pth", pickle_protocol=protocol)
    assert same(read_training_file(tmp_path / "file.pth").raw, values)


def test_views_are_read_as_they_were(tmp_path):
    base = torch.randn(4, 6)
    views = {"t": base.t(), "row": base[2], "part": base[1:, ::2], "scalar": base[3, 5]}
    torch.save({"model": views}, tmp_path / "file.pth")
    ours = read_training_file(tmp_path / "file.pth").raw
    assert same(ours, views)
    assert {name: w.stride() for name, w in ours.items()} == {
        name: w.stride() for name, w in views.items()
    }


@pytest.mark.parametrize(
    ("shape", "is_read"),
    [
        *(((1,) * 7 + (4,), True), ((1,) * 8 + (4,), False)),
        *(((0, 2**62 - 1), True), ((0, 2**62), False), ((0, 2**31, 2**31), False)),
    ],
)
def test_shapes_have_limits(tmp_path, shape, is_read):
    content = {"model": {"a": tensor(shape, (1,) * len(shape))}}
    (tmp_path / "file.pth").write_bytes(archive_of(pickled(content)))
    raw = read_training_file(tmp_path / "file.pth").raw
    if is_read:
        assert raw["a"].shape == shape
        assert raw["a"].flatten().tolist() == ([] if 0 in shape else FOUR.tolist())
    else:
        with pytest.raises(CheckpointError, match="'a' is a tensor with odd sizes; allowed: a den"):
            raw["a"]


def test_files_of_the_first_torch_with_archives_are_read(tmp_path):
    """They have no members but the pickle, the numbers and a version."""
    content = write_solver_file(tmp_path / "new.pth")
    old = {
        f"archive/{name.partition('/')[2]}": data
        for name, data in members_of(tmp_path / "new.pth").items()
        if name.endswith(("data.pkl", "/version")) or "/data/" in name
    }
    (tmp_path / "old.pth").write_bytes(zipped(old))
    assert same(read_training_file(tmp_path / "old.pth").raw, content["model"])


# When it is read ------------------------------------------------------------------


def test_shapes_and_types_are_known_before_a_number_is_read(tmp_path):
    """The number of a weight is damaged, and only reading that weight tells."""
    torch.save({"model": {"a": FOUR, "b": torch.zeros(2, 3).half()}}, tmp_path / "file.pth")
    data = (tmp_path / "file.pth").read_bytes()
    at = data.index(FOUR.numpy().tobytes())
    (tmp_path / "file.pth").write_bytes(data[:at] + b"\xff" + data[at + 1 :])
    raw = read_training_file(tmp_path / "file.pth").raw
    assert {name: raw.stored(name) for name in raw} == {
        "a": Stored((4,), torch.float32),
        "b": Stored((2, 3), torch.float16),
    }
    assert "a" in raw
    assert "c" not in raw
    assert torch.equal(raw["b"], torch.zeros(2, 3).half())
    with pytest.raises(CheckpointError, match=r"file.pth is damaged: its member 'data/0' does not"):
        raw["a"]
    with pytest.raises(KeyError, match="c"):
        raw["c"]


def adam(content):
    """The averages that Adam keeps, flat."""
    states = content["optimizer_and_scheduler"]["none"]["optimizer"]["module"]["state"].values()
    return [state[name] for state in states for name in ("exp_avg", "exp_avg_sq")]


def test_the_numbers_of_the_optimizer_are_never_read(tmp_path):
    """Whatever stands in their place, even what no checksum fits."""
    content = write_solver_file(tmp_path / "file.pth")
    data = (tmp_path / "file.pth").read_bytes()
    for value in adam(content):
        written = value.numpy().tobytes()
        data = data.replace(written, bytes(255 - byte for byte in written))
    (tmp_path / "file.pth").write_bytes(data)
    changed = adam(torch.load(tmp_path / "file.pth", weights_only=True))
    assert not any(map(torch.equal, changed, adam(content)))
    file = read_training_file(tmp_path / "file.pth")
    assert same(file.raw, content["model"])
    assert same(file.ema, content["ema"])


def test_writing_to_a_weight_leaves_the_file_as_it_is(tmp_path):
    torch.save({"model": {"a": FOUR}}, tmp_path / "file.pth")
    before = (tmp_path / "file.pth").read_bytes()
    read_training_file(tmp_path / "file.pth").raw["a"].zero_()
    assert (tmp_path / "file.pth").read_bytes() == before
    assert same(read_training_file(tmp_path / "file.pth").raw, {"a": FOUR})


@pytest.mark.skipif(sys.platform != "linux", reason="/proc is that of Linux")
def test_reading_needs_the_memory_of_what_is_read(tmp_path):
    """Model 32 MB, average 32 MB, Adam 128 MB."""
    weights = {f"w{i}": torch.randn(1024, 1024) for i in range(8)}
    averages = {name: weight + 1 for name, weight in weights.items()}
    adam = {i: {"exp_avg": torch.randn(2**21), "exp_avg_sq": torch.randn(2**21)} for i in range(8)}
    content = {"model": weights, "ema": averages, "optimizer_and_scheduler": {"state": adam}}
    torch.save(content, tmp_path / "large.pth")
    write_solver_file(tmp_path / "small.pth")
    run = subprocess.run(
        [sys.executable, "-c", PEAK_OF_A_TRAINING_FILE, str(tmp_path)],
        capture_output=True,
        text=True,
        check=True,
    )
    measured = json.loads(run.stdout)
    assert measured["names"] < 8
    assert 64 <= measured["weights"] < 64 + 16
    assert measured["copied"] < 16


# What is refused ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([1], "holds a list or an object, which is never made; allowed: a training checkpoint"),
        ({"weights": {}}, r"holds \['weights'\]; allowed: one of \('model', 'state_dict'\)"),
        ({"model": 3}, "its 'model' is a int; allowed: named tensors"),
        ({"model": {}, "ema": [1]}, "its 'ema' is a list or an object"),
        (nn.Linear(1, 1), "holds a list or an object"),
        ({"state_dict": nn.Linear}, "'torch.nn.modules.linear.Linear', which is never imported"),
        ({"model": torch.ones(2)}, "what 'torch._utils._rebuild_tensor_v2' makes"),
    ],
)
def test_what_is_no_training_checkpoint_is_refused(tmp_path, content, message):
    torch.save(content, tmp_path / "file.pth")
    with pytest.raises(CheckpointError, match=f"file.pth.*{message}"):
        read_training_file(tmp_path / "file.pth")


def test_a_weight_that_is_no_tensor_is_refused_when_it_is_asked_for(tmp_path):
    torch.save({"model": {"a": FOUR, "steps": 3, "b": [FOUR]}}, tmp_path / "file.pth")
    raw = read_training_file(tmp_path / "file.pth").raw
    assert list(raw) == ["a", "steps", "b"]
    for name, kind in (("steps", "a int"), ("b", "a list or an object, which is never made")):
        for read in (raw.stored, raw.__getitem__):
            with pytest.raises(CheckpointError, match=f"file.pth: '{name}' is {kind}; allowed"):
                read(name)


def test_a_file_of_before_2020_is_refused(tmp_path):
    content = solver_content()
    torch.save(content, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    with pytest.raises(CheckpointError, match=r"old.pth is no archive; allowed: .* torch 1.6"):
        read_training_file(tmp_path / "old.pth")


def test_numbers_in_another_byte_order_are_refused(tmp_path):
    for order, is_read in (("little", True), ("big", False)):
        data = archive_of(pickled({"model": {"a": tensor()}}), byteorder=order.encode())
        (tmp_path / "file.pth").write_bytes(data)
        if is_read:
            assert same(read_training_file(tmp_path / "file.pth").raw, {"a": FOUR})
        else:
            with pytest.raises(CheckpointError, match="another byte order; allowed: little"):
                read_training_file(tmp_path / "file.pth")


def test_a_pickle_of_more_than_16_mb_is_refused(tmp_path):
    """Zeros behind its end would do no harm, but a long pickle takes long."""
    whole = pickled({"model": {"a": tensor()}})
    for size, is_read in ((2**24, True), (2**24 + 1, False)):
        (tmp_path / "file.pth").write_bytes(archive_of(whole.ljust(size, b"\0")))
        if is_read:
            assert same(read_training_file(tmp_path / "file.pth").raw, {"a": FOUR})
        else:
            with pytest.raises(CheckpointError, match="has 16777217 bytes; allowed: 16777216"):
                read_training_file(tmp_path / "file.pth")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(CheckpointError, match=r"there is no file .*none.pth"):
        read_training_file(tmp_path / "none.pth")

"""A file of a checkpoint that is not the one that was written is named."""

import hashlib
import shutil
import subprocess

import pytest

from vqlearn import CheckpointError
from vqlearn.checkpoints import folder as files
from vqlearn.checkpoints.digests import check_digests, write_digests

PARTS = ("model_index.json", "part")
NAMES = ("model_index.json", "part/config.json", "part/model.fp16.bin")


@pytest.fixture
def checkpoint(tmp_path):
    (tmp_path / "part").mkdir()
    for name in NAMES:
        (tmp_path / name).write_text(name)
    write_digests(tmp_path, PARTS)
    return tmp_path


def test_untouched_files_pass_and_so_does_a_folder_without_digests(checkpoint):
    (checkpoint / "notes.txt").write_text("outside all parts")
    check_digests(checkpoint, PARTS)
    (checkpoint / "SHA256SUMS").unlink()
    (checkpoint / "part" / "config.json").write_text("changed")
    check_digests(checkpoint, PARTS)


@pytest.mark.parametrize("name", NAMES)
def test_changed_missing_and_new_files_are_named(checkpoint, name):
    data = bytearray((checkpoint / name).read_bytes())
    data[0] ^= 1
    (checkpoint / name).write_bytes(data)
    with pytest.raises(CheckpointError, match=f"{name} was changed: its SHA-256 is "):
        check_digests(checkpoint, PARTS)
    (checkpoint / name).unlink()
    with pytest.raises(CheckpointError, match=f"there is no file .*{name}"):
        check_digests(checkpoint, PARTS)


def test_a_new_file_in_a_part_is_named(checkpoint):
    (checkpoint / "part" / "vocab.json").touch()
    with pytest.raises(CheckpointError, match=r"vocab\.json is not listed"):
        check_digests(checkpoint, PARTS)


def test_a_damaged_list_is_refused(checkpoint):
    (checkpoint / "SHA256SUMS").write_text("abc\n")
    with pytest.raises(CheckpointError, match="holds the line 'abc'"):
        check_digests(checkpoint, PARTS)


@pytest.mark.parametrize("absolute", [True, False])
def test_a_list_that_names_a_file_outside_the_folder_is_refused(checkpoint, absolute):
    """Even with the right digest: a list must not make us read other files."""
    outside = checkpoint.parent / f"outside {checkpoint.name}"
    outside.write_text("private")
    name = outside if absolute else f"../{outside.name}"
    digest = hashlib.sha256(outside.read_bytes()).hexdigest()
    with (checkpoint / "SHA256SUMS").open("a") as sums:
        sums.write(f"{digest}  {name}\n")
    with pytest.raises(CheckpointError, match="name of a file in the folder"):
        check_digests(checkpoint, PARTS)


@pytest.mark.skipif(shutil.which("sha256sum") is None, reason="needs the command sha256sum")
def test_sha256sum_understands_the_list(checkpoint):
    run = ["sha256sum", "--check", "--strict", "SHA256SUMS"]
    assert subprocess.run(run, cwd=checkpoint, capture_output=True, check=False).returncode == 0
    (checkpoint / "model_index.json").write_text("changed")
    assert subprocess.run(run, cwd=checkpoint, capture_output=True, check=False).returncode != 0


def test_a_checkpoint_with_a_changed_file_does_not_load(checkpoint):
    (checkpoint / "model_index.json").write_text('{"_class_name": "VQDiffusionPipeline"}')
    with pytest.raises(CheckpointError, match=r"model_index\.json was changed"):
        files.check(checkpoint)

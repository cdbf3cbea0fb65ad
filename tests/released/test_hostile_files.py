"""Whatever a file asks for, nothing is called, imported or written while it is read."""

import json
import pickle
import subprocess
import sys
from collections import Counter

import pytest
import torch
from faults.fuzz_checkpoints import bombs
from support.hostile_files import OTHERS, READ, REFUSED, WATCHED, hostile_files
from support.training_files import Call, archive_of, pickled, tensor

HARMLESS = {"open", "mmap.__new__", "object.__getattr__"}
"""What Python tells of a program that reads files (audit events)."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("hostile")


@pytest.fixture(scope="module")
def expected(folder):
    """What must become of every file of the folder."""
    marker = folder.parent / "gone off"
    files = hostile_files(f"touch '{marker}'", f"open({str(marker)!r}, 'w').close()")
    for name, content in bombs(marker).items():
        files[f"bomb: {name}"] = content, OTHERS if name.startswith("lightning") else REFUSED
    for name, (content, _) in files.items():
        (folder / name.replace("/", "-")).write_bytes(content)
    assert not marker.exists()
    return {name.replace("/", "-"): result for name, (_, result) in files.items()}


@pytest.fixture(scope="module")
def watched(folder, expected):
    """What became of them, and what happened meanwhile."""
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", WATCHED, str(folder)],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONPATH": ":".join(sys.path)},
    )
    return json.loads(run.stdout)


def test_every_file_is_refused_in_a_sentence_or_read(watched, expected):
    found = watched[0]
    assert found == expected
    assert Counter(expected.values())[READ] > 20
    assert len(expected) > 100


def test_nothing_is_called_or_imported(watched, folder):
    _, events, modules, _ = watched
    assert {name for name, _ in events} <= HARMLESS
    opened = [values for name, values in events if name == "open"]
    assert len(opened) > 100
    assert all(f"('{folder}/" in values and values.endswith("'r')") for values in opened)
    assert modules == []
    assert not (folder.parent / "gone off").exists()


def test_no_file_takes_much_memory(watched):
    assert watched[3] < 1000


def test_the_files_would_go_off_elsewhere(tmp_path):
    """The same calls, read by the usual means: otherwise the tests above could not fail."""
    marker = tmp_path / "gone off"
    code = f"open({str(marker)!r}, 'w').close()"
    content = {"model": {"a": tensor()}, "x": Call(eval, code)}
    (tmp_path / "file").write_bytes(archive_of(pickled(content)))
    loaded = torch.load(tmp_path / "file", map_location="cpu", weights_only=False)
    assert loaded["model"]["a"].tolist() == [1.0, 2.0, 3.0, 4.0]
    assert marker.exists()
    marker.unlink()
    pickle.loads(bombs(marker)["plain pickle"])
    assert marker.exists()


def test_the_program_sees_what_is_called(tmp_path):
    """A reader that executes is noticed."""
    (tmp_path / "harmless").write_bytes(archive_of(pickled({"model": {"a": tensor()}})))
    (tmp_path / "hostile").write_bytes(b"x")
    executes = WATCHED.replace(
        "content = read", "b'x' == file.read_bytes() and exec('import this'); content = read"
    )
    assert executes != WATCHED
    run = subprocess.run(
        [sys.executable, "-c", executes, str(tmp_path)],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONPATH": ":".join(sys.path)},
    )
    _, events, modules, _ = json.loads(run.stdout.splitlines()[-1])
    assert {"exec", "import"} <= {name for name, _ in events}
    assert "this" in modules

"""A file is whole or as it was before; an output that cannot be written is refused at once."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from vqlearn.storage import (
    as_input,
    as_path,
    as_paths,
    atomic_write,
    check_output_file,
    check_output_folder,
    write_json,
    write_text,
)


def test_a_file_is_written_with_its_folder(tmp_path):
    write_json(tmp_path / "a" / "b.json", {"z": 1, "a": [2]})
    assert json.loads((tmp_path / "a" / "b.json").read_text()) == {"a": [2], "z": 1}
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["b.json"]


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (OSError(28, "No space left on device"), r"left on device: .*marker\.json"),
        (KeyboardInterrupt(), None),
    ],
)
def test_an_error_leaves_what_was_there(tmp_path, error, message):
    file = tmp_path / "marker.json"
    write_text(file, "before")

    def break_off():
        with atomic_write(file) as part:
            part.write_text("aft")
            raise error

    with pytest.raises(type(error), match=message):
        break_off()
    assert file.read_text() == "before"
    assert list(tmp_path.iterdir()) == [file]


WRITER = """
import sys
from pathlib import Path
from vqlearn.storage import atomic_write
file, i = Path(sys.argv[1]), 0
while True:
    i += 1
    with atomic_write(file) as part:
        with part.open("w") as stream:
            for _ in range(200):
                stream.write(f"{i}\\n")
                stream.flush()
"""


def test_a_kill_at_any_moment_leaves_a_whole_file(tmp_path):
    file = tmp_path / "numbers"
    for pause in (0.0, 0.003, 0.011, 0.02, 0.037):
        process = subprocess.Popen([sys.executable, "-c", WRITER, str(file)])
        while not file.exists():
            time.sleep(0.005)
        time.sleep(pause)
        process.send_signal(signal.SIGKILL)
        process.wait()
        lines = file.read_text().splitlines()
        assert len(lines) == 200
        assert len(set(lines)) == 1


def test_the_home_folder_is_expanded(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert as_path("--out", "~/a.png") == tmp_path / "a.png"
    assert as_path("--out", Path("~/a.png")) == tmp_path / "a.png"


@pytest.mark.parametrize(
    ("value", "error"), [(3, TypeError), (None, TypeError), ("", ValueError), ("a\0b", ValueError)]
)
def test_what_is_no_path_is_refused_by_name(value, error):
    with pytest.raises(error, match=r"^--out is .*; allowed: "):
        as_path("--out", value)
    with pytest.raises(ValueError, match="allowed: the home of a known user"):
        as_path("--out", "~nobody-of-this-name/a")


def test_one_path_and_several_are_a_list(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert as_paths("files", "~/a") == as_paths("files", ["~/a"]) == [tmp_path / "a"]
    assert as_paths("files", ("a", Path("b"))) == [Path("a"), Path("b")]
    assert as_paths("files", []) == []
    for value in (3, ["a", 3]):
        with pytest.raises(TypeError, match=r"^files is 3; allowed: a path"):
            as_paths("files", value)


def test_an_input_must_be_there(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "a").touch()
    assert as_input("FILE", "~/a") == tmp_path / "a"
    assert as_input("FILE", tmp_path) == tmp_path
    with pytest.raises(FileNotFoundError, match=f"^FILE is '{tmp_path}/b'; allowed: a file or a"):
        as_input("FILE", "~/b")


def test_outputs_are_tried_and_leave_nothing(tmp_path):
    check_output_file("--out", tmp_path / "a" / "b.png")
    assert list((tmp_path / "a").iterdir()) == []
    check_output_folder("--out", tmp_path / "c")
    (tmp_path / "file").write_text("")
    with pytest.raises(IsADirectoryError, match=r"^--out is .*a folder; allowed: a file"):
        check_output_file("--out", tmp_path / "c")
    for folder in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(OSError, match=r"^--out: .*allowed: a writable folder"):
            check_output_folder("--out", folder)


@pytest.mark.skipif(os.geteuid() == 0, reason="the root user may write everywhere")
def test_a_folder_without_permission_is_refused(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(PermissionError, match="allowed: a writable folder"):
        check_output_folder("--out", tmp_path)

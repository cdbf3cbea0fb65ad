"""Workers: what a function does there is what it does here, and nothing that it does gets out."""

import dataclasses
import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from support import submissions as made
from support.workers import without_measures

from vqlearn.course import workers
from vqlearn.course.recognition import expected, same
from vqlearn.course.worker import frames, landlock, sandbox, seccomp
from vqlearn.course.worker.calling import outcome
from vqlearn.course.worker.sandbox import Closed, first_line
from vqlearn.course.workers import NO_RESULT, STOPPED, TIMEOUT, Ended, Server

CLOSED = "Submissions cannot reach files of this machine or the network."


@pytest.fixture(scope="module")
def temporary(tmp_path_factory):
    """Where workers have their folders."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tempfile, "tempdir", str(tmp_path_factory.mktemp("temporary")))
        yield Path(tempfile.gettempdir())


@pytest.fixture(scope="module")
def server(temporary):
    with Server() as server:
        yield server


@pytest.fixture
def sockets():
    mine, theirs = socket.socketpair()
    with mine, theirs:
        yield mine, theirs


def value(server, body, *arguments):
    """What `def f(*a): body` returns in a worker, or why it returns nothing."""
    source = "def f(*a):\n" + "".join(f"    {line}\n" for line in body.splitlines())
    answer = server.ask(source, "f", [arguments], ())
    if isinstance(answer, Ended):
        return answer
    return answer.error or [array.tolist() for array in answer.calls[0]]


def test_frames_bring_over_what_was_sent(sockets):
    calls = [
        (torch.eye(2), torch.tensor(True), torch.zeros(0, 3, dtype=torch.int64), 3, -1e-300),
        (((1, "α\n"), None), True, float("inf"), torch.rand(3, 4, dtype=torch.float64).T),
    ]
    arrays = []
    plain = frames.pack_arguments(tuple(calls), arrays)
    sockets[0].sendall(frames.packed({"calls": plain, "more": [1]}, arrays))
    header, found = frames.receive(sockets[1], frames.ARGUMENTS)
    (one, other) = frames.unpack_arguments(header["calls"], found)
    assert header["more"] == [1]
    assert [x.dtype for x in one[:3]] == [torch.float32, torch.bool, torch.int64]
    assert one[2].shape == (0, 3)
    assert one[3:] == (3, -1e-300)
    assert other[:3] == calls[1][:3]
    assert torch.equal(other[3], calls[1][3])
    one[0].add_(1)  # it is the receiver's own


@pytest.mark.parametrize("value", [torch.eye(2).half(), [1], {1: 2}, np.eye(2), min], ids=repr)
def test_other_arguments_are_refused(value):
    with pytest.raises(TypeError, match="allowed: tensors, numbers, strings, tuples"):
        frames.pack_arguments((value,), [])


def raw(header, body=b"", sizes=None):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return frames.SIZES.pack(*(sizes or (len(text), len(body)))) + text + body


NO_FRAMES = {
    "not JSON": raw(b"{"),
    "not text": raw(b"\xff"),
    "deep": raw(b"[" * 100_000),
    "long number": raw(b'{"arrays": [["float64", [' + b"9" * 10_000 + b"]]]}"),
    "no object": raw([]),
    "no arrays": raw({}),
    "arrays are none": raw({"arrays": 3}),
    "an array is none": raw({"arrays": [3]}),
    "too many": raw({"arrays": [["float64", [0]]] * (frames.MOST_ARRAYS + 1)}),
    "other type": raw({"arrays": [["object", [1]]]}, bytes(8)),
    "int64 result": raw({"arrays": [["int64", [1]]]}, bytes(8)),
    "type is none": raw({"arrays": [[["float64"], [1]]]}, bytes(8)),
    "negative": raw({"arrays": [["float64", [-1, -1]]]}, bytes(8)),
    "fraction": raw({"arrays": [["float64", [1.0]]]}, bytes(8)),
    "bool": raw({"arrays": [["float64", [True]]]}, bytes(8)),
    "many axes": raw({"arrays": [["float64", [1] * 33]]}, bytes(8)),
    "overflow": raw({"arrays": [["float64", [0] + [2**26] * 9]]}),
    "too few bytes": raw({"arrays": [["float64", [2]]]}, bytes(8)),
    "too many bytes": raw({"arrays": [["float64", [1]]]}, bytes(16)),
    "huge": raw(b"", sizes=(0, 2**63)),
    "huge header": raw(b"", sizes=(2**63, 0)),
    "large header": raw(b"", sizes=(frames.LARGEST_HEADER + 1, 0)),
}


@pytest.mark.parametrize("name", NO_FRAMES)
def test_what_is_no_frame_is_refused(name, sockets):
    sockets[0].sendall(NO_FRAMES[name])
    sockets[0].shutdown(socket.SHUT_WR)
    with pytest.raises(frames.FrameError):
        frames.receive(sockets[1], frames.RESULTS)


def test_a_frame_that_ends_early_or_comes_too_slowly(sockets):
    whole = raw({"arrays": [["float64", [1]]]}, bytes(8))
    sockets[0].sendall(whole[:-1])
    with pytest.raises(TimeoutError):
        frames.receive(sockets[1], frames.RESULTS, time.monotonic() + 0.05)
    sockets[0].sendall(whole[:-1])
    sockets[0].shutdown(socket.SHUT_WR)
    with pytest.raises((EOFError, frames.FrameError)):
        frames.receive(sockets[1], frames.RESULTS)


def test_a_frame_that_would_be_too_large_is_not_made():
    with pytest.raises(frames.FrameError):
        frames.packed({}, [np.broadcast_to(np.zeros(1), (1 << 23, 2))])


@pytest.mark.parametrize("name", made.EXERCISES)
def test_a_worker_finds_what_this_process_finds(server, name):
    exercise = made.EXERCISES[name]
    calls = expected(exercise, 7).calls
    answer = server.ask(made.SOLUTION, name, calls, exercise.differentiable)
    names = {}
    exec(made.SOLUTION, names)
    here = outcome(names[name], calls, exercise.differentiable)
    assert same(answer, here)
    assert same(answer, expected(exercise, 7).reference)


def test_libraries_are_there(server):
    """What they ask the system for at their first use was asked before the worker was closed."""
    body = """
import einops, math, numpy, scipy.special, sympy, torch
x = einops.rearrange(torch.arange(6.), "(a b) -> b a", a=2)
torch.distributions.Categorical(logits=x).sample()
torch.vmap(torch.sin)(x)
half = x.half() @ x.half().T
found = torch.backends.cpu.get_cpu_capability() == a[0]
return half, torch.linalg.eigh(x @ x.T)[0], numpy.ones(3), math.pi, found
"""
    found = value(server, body, torch.backends.cpu.get_cpu_capability())
    assert [np.shape(one) for one in found] == [(3, 3), (3,), (3,), (), ()]
    assert found[-1] == 1


def test_a_function_may_write_into_its_folder_and_nothing_stays(server, temporary):
    body = """
import os, tempfile
with tempfile.NamedTemporaryFile("w+", delete=False) as stream:
    stream.write("5")
found = len(os.listdir(os.environ["TMPDIR"]))
os.chmod(".", 0)
return found
"""
    assert value(server, body) == [1.0]
    assert value(server, "import os\nreturn len(os.listdir('.'))") == [0.0]
    (place,) = temporary.iterdir()
    assert not list(place.iterdir())


def test_errors_come_back_as_one_printable_line(server):
    assert (
        value(server, "raise ValueError('no\\n\\x1b[31m\\ud800' + 'x' * 1000)")
        == ("ValueError: no  [31m " + "x" * 1000)[: workers.LONGEST_ERROR]
    )
    assert value(server, "raise NotImplementedError").startswith("NotImplementedError")
    answer = server.ask("x = 1 / 0\ndef f(): pass", "f", [()], ())
    assert answer.error == "ZeroDivisionError: division by zero"
    assert "no attribute 'g'" in server.ask("", "g", [()], ()).error
    assert "return" in server.ask("return", "g", [()], ()).error
    assert server.ask("x" * (workers.LONGEST_SOURCE + 1), "x", [()], ()) == workers.TOO_LONG


def test_calls_before_an_error_are_kept(server):
    answer = server.ask("def f(x): return 1 / x", "f", [(2.0,), (0.0,), (1.0,)], ())
    assert [[array.tolist() for array in one] for one in answer.calls] == [[0.5]]
    assert answer.error.startswith("ZeroDivisionError")


def test_a_function_that_ends_its_process(server):
    assert value(server, "import os\nos._exit(0)") == STOPPED
    assert value(server, "raise SystemExit") == STOPPED
    assert value(server, "return 1") == [1.0]


def test_a_function_that_never_ends(server, monkeypatch):
    monkeypatch.setattr(workers, "SECONDS", 0.5)
    assert value(server, "while True: pass") == TIMEOUT
    assert value(server, "import time\ntime.sleep(100)") == TIMEOUT
    monkeypatch.undo()
    assert value(server, "return 1") == [1.0]


def test_a_function_that_has_used_up_its_time_is_killed_without_a_word(server, monkeypatch):
    monkeypatch.setattr(workers, "CPU_SECONDS", 0)
    assert value(server, "import os\nos._exit(0)") == TIMEOUT


def test_a_server_that_dies_costs_one_job(server):
    assert value(server, "return 1") == [1.0]
    timer = threading.Timer(0.3, server._process.kill)
    timer.start()
    assert value(server, "import time\ntime.sleep(5)\nreturn 1") == STOPPED
    timer.join()
    assert value(server, "return 2") == [2.0]
    server._process.kill()
    server._process.wait()
    assert value(server, "return 3") == [3.0]


def test_a_server_that_cannot_start_says_why(monkeypatch):
    monkeypatch.setattr(workers, "WORKER", Path("/nowhere"))
    with Server() as server, pytest.raises(RuntimeError, match=r"no worker starts.*serve\.py"):
        server.ask("", "f", [()], ())


ANSWERS = [
    {},
    {"calls": [1]},
    {"calls": [], "error": ""},
    {"calls": [1], "error": 3},
    {"calls": [1], "error": "but all calls are there"},
    {"calls": [2], "error": ""},
    {"calls": [True], "error": ""},
    {"calls": [-1, 2], "error": ""},
    {"calls": 1, "error": ""},
    {"calls": [1, 0], "error": ""},
]


@pytest.mark.parametrize("header", ANSWERS, ids=repr)
def test_an_answer_that_cannot_be_one(header):
    assert workers._outcome(header, [np.zeros(1)], 1) == NO_RESULT


def memory_of(process):
    """All that a process has written to its memory."""
    with open(f"/proc/{process}/maps") as maps, open(f"/proc/{process}/mem", "rb", 0) as memory:
        for line in maps:
            area, rights, *_ = line.split()
            if rights.startswith("rw"):
                start, end = (int(one, 16) for one in area.split("-"))
                memory.seek(start)
                yield memory.read(end - start)


@pytest.mark.skipif(sys.platform != "linux" or os.getuid() != 0, reason="needs to read its memory")
def test_nothing_of_a_job_enters_the_server(server):
    """Every later submission could find it there."""
    secret, number = "a line that no other program has", 1.2345678901234
    argument = torch.full((100,), number, dtype=torch.float64)
    answer = server.ask(f"def f(x): return 3 * x  # {secret}", "f", [(argument,)], ())
    secrets = [secret.encode(), argument[:2].numpy().tobytes(), answer.calls[0][0][:2].tobytes()]
    known, found = b"between processes that do not trust each other", set()
    for area in memory_of(server._process.pid):
        found |= {one for one in (known, *secrets) if one in area}
    assert found == {known}


def test_the_first_line():
    assert first_line(Closed(True, True, True, True)) == CLOSED
    assert first_line(Closed(False, True, True, False)) == (
        "Submissions can reach files of this machine, other processes here; "
        "see INSTRUCTORS.md, *Hostile classes*: a container."
    )


def test_what_is_closed_is_found_by_trying(server):
    closed = server.closed()
    if landlock.version():
        assert closed.files
    if seccomp.available():
        assert closed.network
        assert closed.memory
        assert closed.processes


@pytest.mark.parametrize(
    ("missing", "reached"),
    [
        (["landlock"], ["files"]),
        (["seccomp"], []),
        (["namespaces"], []),
        (["namespaces", "seccomp"], ["network"]),
        (["landlock", "seccomp", "namespaces"], ["files", "network", "processes"]),
    ],
    ids=str,
)
def test_measures_stand_in_for_each_other(missing, reached, server, monkeypatch, tmp_path):
    if server.closed() != Closed(True, True, True, True):
        pytest.skip("this machine lacks a measure")
    monkeypatch.setattr(workers, "WORKER", without_measures(tmp_path, *missing))
    with sandbox.untraceable(), Server() as other:
        closed = dataclasses.asdict(other.closed())
    assert [name for name, held in closed.items() if not held] == reached


def test_the_tries_succeed_where_nothing_is_closed():
    """In a process like this one; so that a 0 in a worker means something."""
    from vqlearn.course.worker import tries

    with socket.create_server(("127.0.0.1", 0)) as listener:
        number = np.zeros(1)
        port, address = listener.getsockname()[1], number.ctypes.data
        reached = tries.tried(__file__, port, os.getpid(), address)
        assert reached[:2] == (1, 1)
        assert tries.tried("/nowhere", port, os.getpid(), 0)[0] == 0
        if sys.platform == "linux":
            assert reached[2] == 1
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as other:
        assert tries.tried(__file__, port, other.pid, 0)[3] == 1
        other.communicate(b"\n")


@pytest.mark.skipif(sys.platform != "linux", reason="a measure of Linux")
def test_the_grader_cannot_be_traced_while_it_grades():
    assert sandbox._prctl(sandbox.PR_GET_DUMPABLE) == 1
    with sandbox.untraceable():
        assert sandbox._prctl(sandbox.PR_GET_DUMPABLE) == 0
    assert sandbox._prctl(sandbox.PR_GET_DUMPABLE) == 1


def test_paths_without_closed_ones(tmp_path):
    for name in ("a/one/x", "a/two/y", "a/two/z", "b/w"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "b" / "back").symlink_to(tmp_path / "a" / "two")
    (tmp_path / "b" / "up").symlink_to(tmp_path)
    roots = [tmp_path / "a", tmp_path / "b", tmp_path / "nowhere"]
    found = landlock.without(roots, [tmp_path / "a" / "two" / "z"])
    names = {Path(path).relative_to(tmp_path).as_posix() for path in found}
    assert names == {"a/one", "a/two/y", "b"}
    assert landlock.without([tmp_path / "a" / "two"], [tmp_path / "a"]) == []

"""Cheats: what a submission can try instead of solving the exercise gains nothing.

The cheats run as they are, without being reduced to definitions first. Many would gain the points
if only one thing were open: they take the reference from where it is.
"""

import json
import os
import socket
import sys
from pathlib import Path

import pytest
from support import submissions as made
from support.submissions import code_cell, exercise_notebook, locked_cell, notebook, written
from support.workers import MEASURES, without_measures

from vqlearn.course import recognition, workers
from vqlearn.course.grading import grade
from vqlearn.course.recognition import expected, judge
from vqlearn.course.workers import Ended, Server

SEED = 11
EXERCISE = made.EXERCISES["weighted_mean"]
HONEST = made.IMPORT + made.MEAN
HERE = Path(made.__file__).resolve()
USE = "\n    return names['weighted_mean'](x, weights)\n"
FRAME = """
import json, math, os, struct
def frame(counts, shapes):
    arrays = [["float64", shape] for shape in shapes]
    text = json.dumps({"calls": counts, "error": "", "arrays": arrays}).encode()
    body = struct.pack("d", 0.5) * sum(math.prod(shape) for shape in shapes)
    return struct.pack("<QQ", len(text), len(body)) + text + body
def to_all(data):
    for number in range(256):
        try:
            os.write(number, data)
        except OSError:
            pass
"""

ARRAYS = {
    "equal to everything": """
class Equal:
    __eq__ = __ne__ = __le__ = __ge__ = lambda *a: True
    __array__ = lambda *a, **k: True
    __float__ = lambda self: 1.0
    shape, dtype = (), float
def weighted_mean(x, weights):
    return Equal()
""",
    "a number that is equal to everything": """
class Equal(float):
    __eq__ = __ne__ = __le__ = __ge__ = lambda *a: True
    __hash__ = None
def weighted_mean(x, weights):
    return [Equal(1)] * len(x)
""",
    "a tensor that lies": """
import torch
class Liar(torch.Tensor):
    @classmethod
    def __torch_function__(cls, function, types, args=(), kwargs=None):
        if function.__name__ in ("allclose", "equal", "eq"):
            return True
        return super().__torch_function__(function, types, args, kwargs or {})
    def __eq__(self, other):
        return True
    def detach(self):
        return self
    def numpy(self):
        class Same(type(super().numpy())):
            __eq__ = lambda *a: True
        return super().numpy().view(Same)
def weighted_mean(x, weights):
    return torch.zeros(len(x), dtype=torch.float64).as_subclass(Liar)
""",
    "patched comparisons": """
import builtins, numpy, torch
for home in (torch, numpy, torch.Tensor):
    for name in ("allclose", "equal", "isclose", "array_equal"):
        setattr(home, name, lambda *a, **k: True)
torch.Tensor.__eq__ = lambda *a: True
numpy.testing.assert_allclose = torch.testing.assert_close = lambda *a, **k: None
builtins.all = builtins.any = lambda *a: True
def weighted_mean(x, weights):
    return x[:, 0]
""",
    "patched autograd and numpy": """
import numpy, torch
torch.autograd.grad = lambda total, asked, **k: [torch.ones_like(one) for one in asked]
numpy.array = numpy.asarray = lambda *a, **k: numpy.ones(3)
def weighted_mean(x, weights):
    return (x.detach() * weights).sum(-1) / weights.sum(-1)
""",
    "the right result without its gradient": """
def weighted_mean(x, weights):
    return (x.detach() * weights).sum(-1) / weights.sum(-1)
""",
    "patched modules of the worker": """
import sys, torch
def same(*a, **k):
    return True
for name in ("calling", "frames", "sandbox", "landlock", "seccomp", "__main__"):
    for each in list(vars(sys.modules.get(name, sys))):
        if callable(getattr(sys.modules.get(name), each, None)):
            setattr(sys.modules[name], each, same)
def weighted_mean(x, weights):
    return x
""",
    "nothing, not a number, infinity": """
import torch
def weighted_mean(x, weights):
    return torch.full((len(x),), (float("nan"), float("inf"))[len(x) % 2], dtype=x.dtype)
""",
    "empty": "def weighted_mean(x, weights):\n    return ()",
    "no axis": "def weighted_mean(x, weights):\n    return x.mean()",
    "every result in turn": """
count = 0
def weighted_mean(x, weights):
    global count
    count += 1
    return [x.mean(-1), x.sum(-1), (x * weights).sum(-1), x[:, 0]][count % 4]
""",
    "arguments changed in place": """
def weighted_mean(x, weights):
    x.data.zero_()
    weights.data.fill_(1)
    return x.sum(-1)
""",
    "a pickle": """
import os
class Pickle:
    def __reduce__(self):
        return (os.system, ("echo > PLACE/pickled",))
def weighted_mean(x, weights):
    return Pickle()
""",
    "an answer of its own, for every open file": FRAME
    + """
def weighted_mean(x, weights):
    to_all(frame([2, 2], [[2], [2, 3], [1], [1, 4]]))
    os._exit(0)
""",
    "an answer for the next one": FRAME
    + """
def weighted_mean(x, weights):
    to_all(frame([2, 2], [[2], [2, 3], [1], [1, 4]]) * 100)
    return x
""",
    "no frame, for every open file": FRAME
    + """
import pickle
def weighted_mean(x, weights):
    to_all(pickle.dumps({"correct": True}) * 100)
    os._exit(0)
""",
    "an endless frame": FRAME
    + """
def weighted_mean(x, weights):
    to_all(struct.pack("<QQ", 2, 60 << 20) + b"{}")
    while True:
        to_all(bytes(1 << 16))
""",
    "a frame of 2**63 bytes": FRAME
    + """
def weighted_mean(x, weights):
    to_all(struct.pack("<QQ", 2**63, 2**63))
    os._exit(0)
""",
    "a result that is too large": """
import torch
def weighted_mean(x, weights):
    return torch.zeros(9, 1 << 20, dtype=torch.float64)
""",
    "very many results": """
import torch
def weighted_mean(x, weights):
    return [torch.zeros(())] * 20_000
""",
}

HOOKS = {
    "hooks of IPython": """
import ast
try:
    from IPython import get_ipython
    shell = get_ipython()
    shell.events.register("pre_run_cell", lambda info: print(info.raw_cell))
    shell.ast_transformers.append(ast.NodeTransformer())
except Exception:
    pass
ast.Assert = ast.Pass
def weighted_mean(x, weights):
    return x
""",
    "tracing": """
import sys, threading
def trace(frame, event, argument):
    for name in list(frame.f_locals):
        if name in ("found", "status", "points"):
            frame.f_locals[name] = True
    return trace
sys.settrace(trace)
sys.setprofile(trace)
threading.settrace(trace)
def weighted_mean(x, weights):
    return x
""",
    "at exit": """
import atexit, os, sys
atexit.register(lambda: os.write(1, b"passed"))
sys.excepthook = lambda *a: None
def weighted_mean(x, weights):
    sys.exit(0)
""",
    "leaving": "import os\ndef weighted_mean(x, weights):\n    os._exit(0)",
    "leaving by a signal": "import os\ndef weighted_mean(x, weights):\n    os.abort()",
    "frames of the caller": """
import inspect, sys
def weighted_mean(x, weights):
    frame = sys._getframe()
    while frame:
        for scope in (frame.f_locals, frame.f_globals):
            for name in ("reference", "expected", "exercise", "EXERCISE"):
                if name in scope:
                    return scope[name].reference(x, weights)
        frame = frame.f_back
    return x
""",
    "objects in memory": """
import gc, types
def weighted_mean(x, weights):
    gc.unfreeze()
    for one in gc.get_objects():
        if isinstance(one, types.FunctionType) and one.__name__ == "weighted_mean":
            if one is not weighted_mean:
                return one(x, weights)
    return x
""",
}

RESOURCES = {
    "an endless loop": "def weighted_mean(x, weights):\n    while True: pass",
    "an endless loop that nothing interrupts": """
import signal
for number in range(1, 65):
    try:
        signal.signal(number, signal.SIG_IGN)
    except (OSError, ValueError):
        pass
def weighted_mean(x, weights):
    while True:
        try:
            while True: pass
        except BaseException:
            pass
""",
    "sleep": "import time\ndef weighted_mean(x, weights):\n    time.sleep(1000)",
    "an endless loop when it is defined": "while True: pass",
    "endless recursion": """
import sys
def weighted_mean(x, weights):
    return weighted_mean(x, weights)
""",
    "endless recursion without a limit": """
import sys
sys.setrecursionlimit(10**9)
def weighted_mean(x, weights):
    return weighted_mean(x, [weights])
""",
    "all memory": """
import torch
def weighted_mean(x, weights):
    return [torch.ones(1 << 28) for _ in range(1000)]
""",
    "all memory in small pieces": """
def weighted_mean(x, weights):
    kept = []
    while True:
        kept.append(bytearray(1 << 20))
""",
    "all of the disk": """
def weighted_mean(x, weights):
    for number in range(10_000):
        with open(f"file{number}", "wb") as stream:
            stream.write(bytes(1 << 24))
""",
    "a thread that goes on": """
import threading, time
def weighted_mean(x, weights):
    threading.Thread(target=time.sleep, args=(1000,)).start()
    return x
""",
    "very many threads": """
import threading, time
def weighted_mean(x, weights):
    while True:
        threading.Thread(target=time.sleep, args=(1000,)).start()
""",
    "10 GB printed": """
import os, sys
def weighted_mean(x, weights):
    for stream in (sys.stdout, sys.stderr):
        for _ in range(2500):
            print("x" * (1 << 20), file=stream)
    for number in (1, 2):
        for _ in range(2500):
            os.write(number, bytes(1 << 20))
    return x
""",
    "fork, and both go on": "import os\ndef weighted_mean(x, weights):\n    return x * os.fork()",
    "fork, and one stays": """
import os, time
def weighted_mean(x, weights):
    if os.fork() == 0:
        os.setsid()
        time.sleep(1000)
    return x
""",
    "a fork bomb": """
import os
def weighted_mean(x, weights):
    while True:
        try:
            os.fork()
        except OSError:
            pass
""",
}

SOLVE = """
def solve(text, *arguments):
    names = {}
    code = text.split("def weighted_mean")[-1].split("def half_life")[0]
    exec("import torch\\ndef weighted_mean" + code, names)
    return names["weighted_mean"](*arguments)
"""
NEEDS_FILES = {
    "the file of the reference": SOLVE
    + """
def weighted_mean(x, weights):
    return solve(open("HERE").read(), x, weights)
""",
    "its file, by the system": SOLVE
    + """
import os
def weighted_mean(x, weights):
    number = os.open("HERE", os.O_RDONLY | os.O_NOFOLLOW)
    return solve(os.read(number, 1 << 20).decode(), x, weights)
""",
    "a link to it": SOLVE
    + """
import os
def weighted_mean(x, weights):
    for make in (os.symlink, os.link):
        try:
            make("HERE", "linked.py")
        except OSError:
            pass
    return solve(open("linked.py").read(), x, weights)
""",
    "another program": SOLVE
    + """
import subprocess, sys
def weighted_mean(x, weights):
    command = [sys.executable, "-I", "-S", "-c", "print(open('HERE').read())"]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    return solve(run.stdout, x, weights)
""",
    "importing it by its path": """
import importlib.util, sys
def weighted_mean(x, weights):
    sys.path[:0] = ["TESTS", "ROOT"]
    sys.modules.pop("vqlearn", None)
    spec = importlib.util.spec_from_file_location("made", "HERE")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.weighted_mean(x, weights)
""",
    "importing vqlearn": """
import importlib, os, sys
def weighted_mean(x, weights):
    for name in [name for name in sys.modules if name.startswith("vqlearn")]:
        del sys.modules[name]
    sys.path[:0] = ["ROOT", "TESTS", os.path.dirname(os.path.dirname("ROOT"))]
    importlib.invalidate_caches()
    import vqlearn.course.exercise
    from support import submissions
    return submissions.weighted_mean(x, weights)
""",
    "the files of other students": """
def weighted_mean(x, weights):
    names = {}
    exec(open("PLACE/eve.py").read(), names)
    return names["weighted_mean"](x, weights)
""",
    "the folders of this run": """
import os
def weighted_mean(x, weights):
    for folder in ("PLACE", "ROOT", "TESTS", "/proc", "/proc/self", "/tmp", "/root", "/home", "/"):
        try:
            os.listdir(folder)
        except OSError:
            continue
        return (x * weights).sum(-1) / weights.sum(-1)
""",
    "its own memory of the kernel": """
def weighted_mean(x, weights):
    for name in ("maps", "mem", "environ", "cmdline", "status", "fd"):
        try:
            open(f"/proc/self/{name}", "rb").close()
        except OSError:
            continue
        return (x * weights).sum(-1) / weights.sum(-1)
""",
    "writing results": """
import json, os
def weighted_mean(x, weights):
    for name in ("results.json", "summary.json", "results/eve.json", "eve.py"):
        for folder in ("PLACE", "/tmp", "/dev/shm", "/var/tmp", os.path.expanduser("~root")):
            try:
                with open(f"{folder}/{name}", "w") as stream:
                    json.dump({"score": 4}, stream)
            except OSError:
                continue
            return (x * weights).sum(-1) / weights.sum(-1)
""",
    "deleting and renaming": """
import os
def weighted_mean(x, weights):
    for act in (os.remove, os.rmdir, lambda path: os.rename(path, "PLACE/mine"), os.mkdir):
        for path in ("PLACE/eve.py", "PLACE/mine", "PLACE/door", "PLACE", "PLACE/new"):
            try:
                act(path)
            except OSError:
                continue
            return (x * weights).sum(-1) / weights.sum(-1)
""",
}

NEEDS_MEMORY = {
    "the memory of the grader": """
import ctypes
def weighted_mean(x, weights):
    for process in ("PID", "SERVER", "self", "1"):
        try:
            with open(f"/proc/{process}/mem", "rb", 0) as memory:
                memory.seek(ADDRESS)
                memory.read(8)
        except (OSError, ValueError):
            continue
        return (x * weights).sum(-1) / weights.sum(-1)
""",
    "tracing the grader": """
import ctypes
def weighted_mean(x, weights):
    libc = ctypes.CDLL(None, use_errno=True)
    for process in (PID, SERVER):
        for request in (16, 0x4206):
            if libc.ptrace(request, process, None, None) == 0:
                return (x * weights).sum(-1) / weights.sum(-1)
""",
    "copying its memory": """
import ctypes
def weighted_mean(x, weights):
    libc = ctypes.CDLL(None)
    own = ctypes.create_string_buffer(8)
    here = (ctypes.c_size_t * 2)(ctypes.addressof(own), 8)
    there = (ctypes.c_size_t * 2)(ADDRESS, 8)
    one, none = ctypes.c_ulong(1), ctypes.c_ulong(0)
    for process in (PID, SERVER):
        for call in (libc.process_vm_readv, libc.process_vm_writev):
            if call(process, here, one, there, one, none) > 0:
                return (x * weights).sum(-1) / weights.sum(-1)
""",
}

NEEDS_PROCESSES = {
    "killing": """
import os, signal
def weighted_mean(x, weights):
    for process in (PID, SERVER, os.getppid(), -1, -PID, -SERVER):
        if process in (0, os.getpid()):
            continue
        try:
            os.kill(process, 0)
        except OSError:
            continue
        return (x * weights).sum(-1) / weights.sum(-1)
""",
    "limits of the grader": """
import resource
def weighted_mean(x, weights):
    for process in (PID, SERVER):
        try:
            resource.prlimit(process, resource.RLIMIT_NOFILE)
        except OSError:
            continue
        return (x * weights).sum(-1) / weights.sum(-1)
""",
    "namespaces and rights": """
import ctypes
libc = ctypes.CDLL(None)
reached = []
def weighted_mean(x, weights):
    if libc.unshare(0x10000000) == 0 or libc.mount(b"none", b"/tmp", b"tmpfs", 0, None) == 0:
        reached.append(True)
    if reached:
        return (x * weights).sum(-1) / weights.sum(-1)
""",
    "a note for the next one": """
import ctypes
def weighted_mean(x, weights):
    libc = ctypes.CDLL(None)
    if libc.syscall(KEY, b"user", b"note", b"text", 4, -3) > 0 or libc.shmget(5, 99, 0o1666) >= 0:
        return (x * weights).sum(-1) / weights.sum(-1)
""",
}

NEEDS_NETWORK = {
    "TCP": """
import socket
def weighted_mean(x, weights):
    with socket.create_connection(("127.0.0.1", PORT), timeout=1) as connection:
        connection.sendall(b"TCP")
    return (x * weights).sum(-1) / weights.sum(-1)
""",
    "UDP": """
import socket
def weighted_mean(x, weights):
    with socket.socket(type=socket.SOCK_DGRAM) as connection:
        connection.sendto(b"UDP", ("127.0.0.1", PORT))
    return (x * weights).sum(-1) / weights.sum(-1)
""",
    "names": """
import socket
def weighted_mean(x, weights):
    socket.getaddrinfo("example.com", 80)
    return (x * weights).sum(-1) / weights.sum(-1)
""",
    "sockets that are files": """
import socket
def weighted_mean(x, weights):
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect("PLACE/door")
    return (x * weights).sum(-1) / weights.sum(-1)
""",
    "a web server": """
import socket
def weighted_mean(x, weights):
    socket.create_server(("127.0.0.1", 0)).close()
    return (x * weights).sum(-1) / weights.sum(-1)
""",
}

FREE = {**ARRAYS, **HOOKS, **RESOURCES}
CLOSED = {
    **dict.fromkeys(NEEDS_FILES, "files"),
    **dict.fromkeys(NEEDS_MEMORY, "memory"),
    **dict.fromkeys(NEEDS_PROCESSES, "processes"),
    **dict.fromkeys(NEEDS_NETWORK, "network"),
}
REACHING = {**NEEDS_FILES, **NEEDS_MEMORY, **NEEDS_PROCESSES, **NEEDS_NETWORK}
NOT_HERE = {
    "names": "it would ask a server",
    "tracing the grader": "it would stop this process",
    "a note for the next one": "it would stay on this machine",
}


@pytest.fixture(scope="module")
def server():
    with Server() as server:
        yield server


@pytest.fixture(scope="module")
def closed(server):
    return server.closed()


@pytest.fixture(scope="module")
def open_server(tmp_path_factory):
    """A worker that takes no measure."""
    if sys.platform != "linux":
        pytest.skip("only Linux closes anything")
    folder = without_measures(tmp_path_factory.mktemp("open"), *MEASURES)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(workers, "WORKER", folder)
        with Server() as server:
            yield server


@pytest.fixture
def open_place(tmp_path):
    """A folder of this run, with a right solution and sockets that take anything."""
    written(tmp_path, eve__py=HONEST)
    with socket.socket(socket.AF_UNIX) as door, socket.create_server(("127.0.0.1", 0)) as tcp:
        door.bind(str(tmp_path / "door"))
        door.listen()
        with socket.socket(type=socket.SOCK_DGRAM) as udp:
            udp.bind(tcp.getsockname())
            for listener in (door, tcp, udp):
                listener.setblocking(False)
            yield tmp_path, tcp.getsockname()[1], door, tcp, udp


@pytest.fixture
def place(open_place):
    """The same; afterwards the folder is as it was, and nothing has come."""
    folder, _, door, tcp, udp = open_place
    yield open_place
    for wait in (door.accept, tcp.accept, lambda: udp.recv(1)):
        with pytest.raises(BlockingIOError):
            wait()
    assert sorted(path.name for path in folder.iterdir()) == ["door", "eve.py"]
    assert (folder / "eve.py").read_text() == HONEST


def verdict(server, source):
    """The status that the grader would write."""
    calls = expected(EXERCISE, SEED).calls
    answer = server.ask(source, EXERCISE.id, calls, EXERCISE.differentiable)
    return answer.status if isinstance(answer, Ended) else judge(EXERCISE, answer, SEED).status


def filled(source, server, place):
    """A cheat knows everything about the machine."""
    folder, port, *_ = place
    values = {
        "PLACE": folder,
        "PORT": port,
        "HERE": HERE,
        "TESTS": HERE.parents[1],
        "ROOT": HERE.parents[2],
        "PID": os.getpid(),
        "SERVER": server._process.pid,
        "ADDRESS": id(recognition),
        "KEY": 248 if os.uname().machine == "x86_64" else 217,
    }
    for name, value in values.items():
        source = source.replace(name, str(value))
    return source


@pytest.mark.parametrize("name", FREE)
def test_a_cheat_gains_nothing_and_the_next_one_is_graded(name, server, place, monkeypatch):
    monkeypatch.setattr(workers, "SECONDS", 0.7)
    process = server._process
    assert verdict(server, filled(FREE[name], server, place)) != "correct"
    monkeypatch.undo()
    assert verdict(server, HONEST) == "correct"
    assert server._process is process


@pytest.mark.parametrize("name", REACHING)
def test_what_is_closed_cannot_be_reached(name, server, closed, place):
    if not getattr(closed, CLOSED[name]):
        pytest.skip(f"{CLOSED[name]} are open on this machine")
    process = server._process
    assert verdict(server, filled(REACHING[name], server, place)) != "correct"
    assert verdict(server, HONEST) == "correct"
    assert server._process is process


@pytest.mark.parametrize("name", REACHING)
def test_a_cheat_gains_the_points_where_nothing_is_closed(name, open_server, open_place):
    """So that it is what a worker closes that stops it, not a fault of the cheat."""
    if name in NOT_HERE:
        pytest.skip(NOT_HERE[name])
    if name in NEEDS_MEMORY and os.getuid() != 0:
        pytest.skip("only the administrator may")
    assert verdict(open_server, filled(REACHING[name], open_server, open_place)) == "correct"


WRONG = made.IMPORT + made.UNNORMALISED
RIGHT_ELSEWHERE = HONEST.replace("weighted_mean", "renamed")
HOOK = "get_ipython().events.register('pre_run_cell', print)\n" + WRONG
TAMPERED = {
    "points": [code_cell(WRONG, "weighted_mean"), code_cell("x", "test_weighted_mean", points=99)],
    "negative points": [code_cell("x = 1", "setup_02"), code_cell(WRONG, "half_life", points=-5)],
    "ids of others": [code_cell(WRONG, "half_life"), code_cell("1", "weighted_mean")],
    "locked": [code_cell(HONEST, "weighted_mean", solution=False, locked=True), WRONG],
    "test": [code_cell(WRONG, "weighted_mean"), locked_cell(HONEST, "test_weighted_mean")],
    "check": [code_cell(WRONG, "weighted_mean"), locked_cell("def check(f): return True", "setup")],
    "deleted": [code_cell("# deleted", "weighted_mean")],
    "renamed": [code_cell(RIGHT_ELSEWHERE, "weighted_mean")],
    "hook": [code_cell(HOOK, "weighted_mean")],
    "leaving": ["import os\nos._exit(0)", code_cell(WRONG, "weighted_mean")],
    "assigned": ["weighted_mean.__code__ = 4", code_cell(WRONG, "weighted_mean")],
}


@pytest.fixture(scope="module")
def tampered(tmp_path_factory):
    """What is found in these notebooks and in an honest one whose points were raised."""
    root = tmp_path_factory.mktemp("tampered")
    honest = json.loads(exercise_notebook())
    for cell in honest["cells"]:
        cell["metadata"].setdefault("nbgrader", {})["points"] = 1000
    texts = {name: notebook(*cells) for name, cells in TAMPERED.items()}
    texts["honest"] = json.dumps(honest)
    written(root / "in", **{f"{name}__ipynb": text for name, text in texts.items()})
    summary = grade(root / "in", root / "out", seed=SEED, exercises=made.EXERCISES)
    return {one["id"]: one for one in summary["submissions"]}


@pytest.mark.parametrize("name", TAMPERED)
def test_tampered_notebooks_gain_nothing(name, tampered):
    points = {one["id"]: one["points"] for one in tampered[name]["exercises"]}
    assert points == {"weighted_mean": 0, "half_life": 0}
    assert tampered[name]["max_points"] == 6


def test_raised_points_are_not_read(tampered):
    assert (tampered["honest"]["points"], tampered["honest"]["max_points"]) == (6, 6)

"""The server of a worker: it has torch loaded, and forks a closed process for every job.

Run as `python -I -B serve.py FOLDER...`, with the folders of the libraries; standard input is a
socket to the grader. No submission and no result ever enters this process, since all that it has
read, later submissions could find in their memory: a job comes with a socket of its own, on which
the process that does the job reads it and answers. A function that `asks` has as its first argument
another function: what that is given goes to the grader, and what the grader answers comes back.
"""

import gc
import linecache
import math  # noqa: F401
import os
import resource  # noqa: F401
import shutil
import signal
import socket
import sys
import sysconfig
import tempfile
import types
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

HERE = Path(__file__).resolve().parent
PACKAGE = HERE.parents[1]
SHARED = ("/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/local/lib")
USEFUL = ("/dev/urandom", "/etc/ld.so.cache")
NAME = "submission"

# All that a job may use is loaded here, once.
sys.path.insert(0, str(HERE))
sys.path.extend(folder for folder in sys.argv[1:] if folder not in sys.path)

import calling  # noqa: E402
import einops  # noqa: E402, F401
import frames  # noqa: E402
import landlock  # noqa: E402
import numpy as np  # noqa: E402
import sandbox  # noqa: E402
import seccomp  # noqa: E402
import torch  # noqa: E402


def main() -> None:
    """Say that it is ready; then for each socket that comes do the job, until the grader ends."""
    sandbox.set_traceable(False)
    torch.set_num_threads(1)
    torch.backends.cpu.get_cpu_capability()  # asks files that are closed to a job
    with tempfile.TemporaryDirectory(prefix="vqlearn-") as place:
        rules = landlock.ruleset(_readable(), place)
        forget_vqlearn()
        gc.collect()
        gc.freeze()  # so that a fork copies less
        control = socket.socket(fileno=0)
        control.sendall(b"r")
        while True:
            message, jobs, _, _ = socket.recv_fds(control, 1, 1)
            if not message:
                return
            _job(jobs[0], control, Path(place, "job"), rules)
            with suppress(BrokenPipeError):
                control.sendall(b"d")


def forget_vqlearn() -> None:
    """Nothing here imports vqlearn again, nor says where it is."""
    sys.meta_path[:] = [one for one in sys.meta_path if not _is_finder(one)]
    sys.path_hooks[:] = [one for one in sys.path_hooks if not _is_finder(one)]
    sys.path[:] = [
        path
        for path in sys.path
        if path != str(HERE)
        and not path.startswith("__editable__")
        and (path.endswith("-packages") or not Path(path, "vqlearn").exists())
    ]
    for name in [name for name in sys.modules if "vqlearn" in name]:
        del sys.modules[name]
    sys.modules["vqlearn"] = None  # type: ignore[assignment]


def _is_finder(hook: Any) -> bool:
    """Is it what an editable installation of vqlearn adds to Python's imports?"""
    return "vqlearn" in str(getattr(hook, "__module__", ""))


def _readable() -> list[str]:
    """What a submission may read: Python and its libraries, but not vqlearn."""
    packages = {Path(path) for path in [*sys.path, *sys.argv[1:]] if path.endswith("-packages")}
    closed = [PACKAGE, *(entry for folder in packages for entry in folder.glob("*vqlearn*"))]
    standard = Path(sysconfig.get_path("stdlib"))
    own = standard / "site-packages"  # below the standard library, even where it is not in use
    if own not in packages:
        closed.append(own)
    libraries = [Path(prefix, "lib") for prefix in (sys.prefix, sys.base_prefix)]
    given = map(Path, sys.argv[1:])
    return landlock.without([standard, *libraries, *given, *map(Path, SHARED + USEFUL)], closed)


def _job(job: int, control: socket.socket, folder: Path, rules: int | None) -> None:
    """Let a process do a job until the grader says that it has seen enough, then end it."""
    folder.mkdir(mode=0o700)
    ours, theirs = os.pipe()
    keeper = os.fork()
    if keeper == 0:
        os.close(theirs)
        _keep(job, ours, str(folder), rules)
    os.close(job)
    os.close(ours)
    control.recv(1)  # nothing, if the grader has ended
    os.close(theirs)
    os.waitpid(keeper, 0)
    folder.chmod(0o700)
    shutil.rmtree(folder)


def _keep(job: int, leash: int, folder: str, rules: int | None) -> NoReturn:
    """Start the process, and kill it and all that it started as soon as the leash is let go.

    This process stays outside of the namespaces, where the other one cannot reach it.
    """
    try:
        in_namespace = sandbox.separate(folder)
        child = os.fork()
        if child == 0:
            _work(job, folder, rules, in_namespace)
        os.close(job)
        os.read(leash, 1)
        for kill in (os.killpg, os.kill):
            with suppress(OSError):
                kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    finally:
        os._exit(0)


def _work(job: int, folder: str, rules: int | None, in_namespace: bool) -> NoReturn:
    """Read the job, close this process off, do the job, send what came out."""
    try:
        os.setsid()
        connection = socket.socket(fileno=job)
        header, arrays = frames.receive(connection, frames.ARGUMENTS)
        calls = frames.unpack_arguments(header["calls"], arrays)
        sandbox.settle(folder)
        sandbox.limit(in_namespace)
        sandbox.give_up_rights()
        if rules is not None:
            landlock.restrict(rules)
        sandbox.silence(keep=job)
        if seccomp.available():
            seccomp.restrict()
        if header["asks"]:
            calls = tuple((partial(_ask, connection), *call) for call in calls)
        found = _outcome(header, calls)
        results = [np.asarray(array, np.float64) for one in found.calls for array in one]
        counts = [len(one) for one in found.calls]
        connection.sendall(frames.packed({"calls": counts, "error": str(found.error)}, results))
    finally:
        os._exit(0)


def _outcome(header: dict[str, Any], calls: tuple[Any, ...]) -> calling.Outcome:
    """Run the definitions, then call the function."""
    module, source, file = types.ModuleType(NAME), header["source"], f"{NAME}.py"
    sys.modules[NAME] = module
    # So that an error can show its line.
    linecache.cache[file] = (len(source), None, source.splitlines(keepends=True), file)
    try:
        exec(compile(source, file, "exec", dont_inherit=True), module.__dict__)
        function = getattr(module, header["name"])
    except Exception as error:
        return calling.Outcome([], f"{type(error).__name__}: {error}"[: calling.LONGEST_ERROR])
    return calling.outcome(function, calls, header["differentiable"])


def _ask(connection: socket.socket, *question: Any) -> torch.Tensor:
    """What the grader answers to tensors and numbers. Raises `ValueError` if it refuses them."""
    numbers = [torch.as_tensor(one).detach().to("cpu", torch.float64).numpy() for one in question]
    connection.sendall(frames.packed({"question": True}, numbers))
    header, answer = frames.receive(connection, frames.ARGUMENTS)
    if header["error"]:
        raise ValueError(header["error"])
    return torch.from_numpy(answer[0])


if __name__ == "__main__":
    main()

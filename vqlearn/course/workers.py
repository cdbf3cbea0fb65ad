"""The workers, seen from the grader: processes that run submissions and answer with arrays."""

import ctypes
import os
import re
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from vqlearn.course.exercise import Arguments
from vqlearn.course.worker import frames
from vqlearn.course.worker.calling import LONGEST_ERROR, Outcome
from vqlearn.course.worker.sandbox import CPU_SECONDS, Closed

WORKER = Path(__file__).with_name("worker")
LIBRARIES = ("torch", "numpy", "einops")
SECONDS = 10.0  # for all calls of one function, without the time that questions take
SECONDS_TO_START, SECONDS_TO_END = 180.0, 30.0
LONGEST_SOURCE = 1_000_000  # characters
LONGEST_MESSAGE = 400
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
NO_VQLEARN = re.compile(
    r"import of vqlearn halted; None in sys\.modules"
    r"|No module named 'vqlearn[.\w]*'; 'vqlearn' is not a package"
)
KEPT = ("LD_LIBRARY_PATH",)  # where a Python of one's own has its libraries

Answer = Callable[[list[np.ndarray]], np.ndarray]
"""What is answered to the numbers that a function asks with; `ValueError` for what is refused."""


@dataclass(frozen=True)
class Ended:
    """Why there is no outcome: a status of the grader, and what is said of it."""

    status: str
    message: str


TIMEOUT = Ended("timeout", f"it takes longer than {CPU_SECONDS} s")
STOPPED = Ended("stopped", "its process ended without an answer")
NO_RESULT = Ended("stopped", "what its process sent is no result")
TOO_LONG = Ended("error", f"it is longer than {LONGEST_SOURCE} characters")


class Server:
    """One process with torch loaded that runs one function at a time, each in a process apart.

    It is started when it is needed, and again if it is gone. As a context manager it starts at
    once, without waiting until it is ready, and ends with the block.
    """

    def __init__(self) -> None:
        self._process: subprocess.Popen | None = None
        self._control: socket.socket | None = None
        self._ready = False

    def __enter__(self) -> "Server":
        self._start()
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def ask(
        self,
        source: str,
        name: str,
        calls: Sequence[Arguments],
        differentiable: Sequence[int] = (),
        *,
        answer: Answer | None = None,
    ) -> Outcome | Ended:
        """What the function of this name in a source does in these calls.

        With an `answer` the first argument of every call is a function that the source can ask, as
        often as it likes: it takes tensors and numbers, which `answer` gets in float64.

        Raises `RuntimeError` if no worker can be started.
        """
        if len(source) > LONGEST_SOURCE:
            return TOO_LONG
        arrays: list[np.ndarray] = []
        plain = frames.pack_arguments(tuple(calls), arrays)
        header = {"source": source, "name": name, "calls": plain}
        header |= {"differentiable": list(differentiable), "asks": answer is not None}
        job = frames.packed(header, arrays)
        self._wait_until_ready()
        mine, theirs = socket.socketpair()
        with mine:
            try:
                with theirs:
                    socket.send_fds(self._control, [b"j"], [theirs.fileno()])
                return _exchange(mine, job, len(calls), answer)
            except OSError:  # the server is gone
                return STOPPED
            finally:
                self._end_job()

    def closed(self) -> Closed:
        """Try what a submission must not reach. Raises `RuntimeError` if workers do not work."""
        memory = ctypes.c_double(1)
        source = (WORKER / "tries.py").read_text(encoding="utf-8")
        with socket.create_server(("127.0.0.1", 0)) as listener:
            port, address = listener.getsockname()[1], ctypes.addressof(memory)
            call = (str(Path(__file__).resolve()), port, os.getpid(), address)
            answer = self.ask(source, "tried", [call], ())
        if isinstance(answer, Ended) or answer.error:
            reason = answer.message if isinstance(answer, Ended) else answer.error
            raise RuntimeError(f"a worker does not work: {reason}")
        files, network, within_memory, processes = (not one for one in answer.calls[0][0])
        return Closed(files, network, within_memory, processes)

    def close(self) -> None:
        """End the process, and the job that it may have."""
        if self._control is not None:
            self._control.close()
        if self._process is not None:
            try:
                self._process.wait(SECONDS_TO_END)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process.stderr.close()
        self._process = self._control = None

    def _start(self) -> None:
        if not hasattr(os, "fork"):
            raise RuntimeError(f"the system is {sys.platform}; allowed for grading: Linux or macOS")
        self._ready = False
        self._control, theirs = socket.socketpair()
        folders = {str(Path(find_spec(name).origin).parents[1]) for name in LIBRARIES}
        command = [sys.executable, "-I", "-B", str(WORKER / "serve.py"), *sorted(folders)]
        with theirs:
            self._process = subprocess.Popen(
                command,
                stdin=theirs,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                env=_environment(),
                start_new_session=True,
            )

    def _wait_until_ready(self) -> None:
        """Start the process if there is none, and wait until it has loaded its libraries."""
        if self._process is None or self._process.poll() is not None:
            self.close()
            self._start()
        if self._ready:
            return
        self._control.settimeout(SECONDS_TO_START)
        try:
            self._ready = self._control.recv(1) == b"r"
        except OSError:
            self._process.kill()
        if not self._ready:
            reason = self._process.stderr.read().decode("utf-8", "replace").strip()
            self.close()
            raise RuntimeError(f"no worker starts: {shortened(reason[-LONGEST_ERROR:])}")

    def _end_job(self) -> None:
        """Let the server kill what is left of a job; without a server that can, kill it."""
        try:
            self._control.settimeout(SECONDS_TO_END)
            self._control.sendall(b"e")
            ended = self._control.recv(1) == b"d"
        except OSError:
            ended = False
        if not ended:
            self._process.kill()
            self.close()


def shortened(text: str) -> str:
    """As much of a text as a page has room for, without control characters."""
    text = NO_VQLEARN.sub("vqlearn cannot be imported here; write it with torch", text)
    text = "".join(one if one.isprintable() else " " for one in text[: 2 * LONGEST_MESSAGE])
    return text if len(text) <= LONGEST_MESSAGE else f"{text[: LONGEST_MESSAGE - 3]}..."


def _environment() -> dict[str, str]:
    """As little as a process needs to load torch."""
    bare = {"PATH": os.defpath, "LANG": "C.UTF-8", "TMPDIR": tempfile.gettempdir()}
    kept = {name: os.environ[name] for name in KEPT if name in os.environ}
    return {**bare, **dict.fromkeys(THREADS, "1"), **kept}


def _exchange(
    connection: socket.socket, message: bytes, num_calls: int, answer: Answer | None
) -> Outcome | Ended:
    """Send a job, answer what it asks, and read what came out."""
    left = SECONDS
    while left > 0:
        began = time.monotonic()
        try:
            connection.settimeout(left)
            connection.sendall(message)
            header, arrays = frames.receive(connection, frames.RESULTS, began + left)
        except TimeoutError:
            return TIMEOUT
        except frames.FrameError:
            return NO_RESULT
        except (EOFError, OSError):
            # The system ends a process without a word when it has used up its time.
            used = SECONDS - left + time.monotonic() - began
            return TIMEOUT if used >= CPU_SECONDS else STOPPED
        if answer is None or "question" not in header:
            return _outcome(header, arrays, num_calls)
        left -= time.monotonic() - began
        message = _answered(answer, arrays)
    return TIMEOUT


def _answered(answer: Answer, question: list[np.ndarray]) -> bytes:
    """The answer to a question, or why there is none, as a frame."""
    try:
        return frames.packed({"error": ""}, [answer(question)])
    except ValueError as error:
        return frames.packed({"error": str(error)[:LONGEST_ERROR]}, [])


def _outcome(header: dict[str, Any], arrays: list[np.ndarray], num_calls: int) -> Outcome | Ended:
    """What a worker answered, if it can be an answer to so many calls at all."""
    counts, error = header.get("calls"), header.get("error")
    if not isinstance(error, str) or not isinstance(counts, list):
        return NO_RESULT
    if not all(map(frames.is_size, counts)) or sum(counts) != len(arrays):
        return NO_RESULT
    if len(counts) > num_calls or (len(counts) == num_calls) == bool(error):
        return NO_RESULT
    rest = iter(arrays)
    calls = [[next(rest) for _ in range(count)] for count in counts]
    return Outcome(calls, shortened(error[:LONGEST_ERROR]))

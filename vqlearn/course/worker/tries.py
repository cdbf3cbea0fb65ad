"""What a submission could try in order to reach the grader: run in a worker like any submission."""

import ctypes
import os
import socket
from collections.abc import Callable


def tried(file: str, port: int, process: int, address: int) -> tuple[float, ...]:
    """1 for what works, 0 for what does not: reading a file, the network, memory, a signal.

    The file, the port of this machine, the process and the address in its memory are the grader's.
    """
    attempts = (
        (lambda: _read(file, 0),),
        (lambda: _connect(port), lambda: _send(port)),
        (lambda: _read(f"/proc/{process}/mem", address), lambda: _copy(process, address)),
        (lambda: _signal(process),),
    )
    return tuple(float(any(map(_works, ways))) for ways in attempts)


def _works(attempt: Callable[[], None]) -> bool:
    try:
        attempt()
    except OSError:
        return False
    return True


def _read(file: str, start: int) -> None:
    with open(file, "rb", buffering=0) as stream:
        stream.seek(start)
        stream.read(1)


def _connect(port: int) -> None:
    socket.create_connection(("127.0.0.1", port), timeout=1).close()


def _send(port: int) -> None:
    with socket.socket(type=socket.SOCK_DGRAM) as sender:
        sender.sendto(b"?", ("127.0.0.1", port))


def _copy(process: int, address: int) -> None:
    """Read a byte of another process's memory by the system call that debuggers use."""
    if not hasattr(ctypes.CDLL(None), "process_vm_readv"):
        raise OSError
    own = ctypes.create_string_buffer(1)
    here = (ctypes.c_size_t * 2)(ctypes.addressof(own), 1)
    there = (ctypes.c_size_t * 2)(address, 1)
    count = ctypes.c_ulong(1)
    none = ctypes.c_ulong(0)
    if ctypes.CDLL(None).process_vm_readv(process, here, count, there, count, none) != 1:
        raise OSError


def _signal(process: int) -> None:
    """Signal 0 tells whether any other signal would arrive."""
    if process == os.getpid():
        raise OSError  # a number of its own namespace
    os.kill(process, 0)

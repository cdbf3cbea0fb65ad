"""A process apart: no rights, little time, memory and disk, its own network and process numbers.

Every measure is taken as far as the system allows it; whether they hold is found out by trying,
see `tries.py`. Imports nothing of vqlearn: a worker loads this file too.
"""

import ctypes
import os
import signal
import struct
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, fields
from pathlib import Path

LINUX = sys.platform == "linux"
CPU_SECONDS = 8
MEMORY = 2 << 30  # bytes above what the libraries take
FILE_SIZE = 16 << 20  # bytes
DISK = b"size=64m,nr_inodes=1000,mode=700"
OPEN_FILES, THREADS = 64, 64

PR_SET_PDEATHSIG, PR_GET_DUMPABLE, PR_SET_DUMPABLE, PR_SET_NO_NEW_PRIVS = 1, 3, 4, 38
NEW_USER, NEW_MOUNTS, NEW_IPC = 0x10000000, 0x00020000, 0x08000000
NEW_PROCESSES, NEW_NETWORK = 0x20000000, 0x40000000
MOUNT_NO_SUID, MOUNT_NO_DEVICES, MOUNT_NO_EXECUTE = 2, 4, 8
MOUNT_RECURSIVE, MOUNT_PRIVATE = 1 << 14, 1 << 18
CAPABILITIES = struct.pack("=Ii", 0x20080522, 0)  # version 3, of this process


@dataclass(frozen=True)
class Closed:
    """What a submission cannot reach: true where trying failed."""

    files: bool
    network: bool
    memory: bool
    processes: bool


def first_line(closed: Closed) -> str:
    """What the grader says of it before it grades."""
    names = {
        "files": "files of this machine",
        "network": "the network",
        "memory": "the grader's memory",
        "processes": "other processes",
    }
    within_reach = [names[one.name] for one in fields(closed) if not getattr(closed, one.name)]
    if not within_reach:
        return "Submissions cannot reach files of this machine or the network."
    return (
        f"Submissions can reach {', '.join(within_reach)} here; "
        "see INSTRUCTORS.md, *Hostile classes*: a container."
    )


@contextmanager
def untraceable() -> Iterator[None]:
    """For the length of the block, other processes can neither trace this one nor read it."""
    before = _prctl(PR_GET_DUMPABLE)
    set_traceable(False)
    try:
        yield
    finally:
        set_traceable(before == 1)


def set_traceable(traceable: bool) -> None:
    """May other processes of the same user trace this one and read its memory?"""
    _prctl(PR_SET_DUMPABLE, int(traceable))


def separate(folder: str) -> bool:
    """Give the children of this process numbers, a network and a small disk of their own.

    The disk is at `folder`. Returns whether they are in a user namespace; needs one thread.
    """
    if not LINUX:
        return False
    user, group = os.getuid(), os.getgid()
    others = NEW_MOUNTS | NEW_IPC | NEW_PROCESSES | NEW_NETWORK
    libc = ctypes.CDLL(None, use_errno=True)
    in_namespace = libc.unshare(ctypes.c_int(NEW_USER | others)) == 0
    if not in_namespace and libc.unshare(ctypes.c_int(others)) != 0:
        return False
    if in_namespace:
        _map_user(user, group)
    private = ctypes.c_ulong(MOUNT_RECURSIVE | MOUNT_PRIVATE)
    if libc.mount(b"none", b"/", None, private, None) == 0:
        flags = ctypes.c_ulong(MOUNT_NO_SUID | MOUNT_NO_DEVICES | MOUNT_NO_EXECUTE)
        libc.mount(b"tmpfs", os.fsencode(folder), b"tmpfs", flags, DISK)
    return in_namespace


def silence(keep: int) -> None:
    """Lead the standard streams nowhere, and close every other file but one."""
    nowhere = os.open(os.devnull, os.O_RDWR)
    for number in range(3):
        os.dup2(nowhere, number)
    os.closerange(3, keep)
    os.closerange(max(3, keep + 1), os.sysconf("SC_OPEN_MAX"))


def settle(folder: str) -> None:
    """Make a folder the current one, and that of temporary files."""
    os.chdir(folder)
    os.environ.update(HOME=folder, TMPDIR=folder)
    tempfile.tempdir = folder


def limit(in_namespace: bool) -> None:
    """Limit time, memory and files, and in a user namespace, where no other counts, threads."""
    import resource  # not on every system on which a grader can be asked for

    limits = {
        resource.RLIMIT_CPU: CPU_SECONDS,
        resource.RLIMIT_FSIZE: FILE_SIZE,
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_NOFILE: OPEN_FILES,
    }
    if LINUX:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
        limits[resource.RLIMIT_AS] = pages * resource.getpagesize() + MEMORY
    if in_namespace:
        limits[resource.RLIMIT_NPROC] = THREADS
    for kind, most in limits.items():
        with suppress(OSError, ValueError):  # where it is lower already
            resource.setrlimit(kind, (most, most))


def give_up_rights() -> None:
    """No rights of the administrator, none by starting a program; end when the parent ends."""
    if not LINUX:
        return
    _prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    _prctl(PR_SET_NO_NEW_PRIVS, 1)
    header = ctypes.create_string_buffer(CAPABILITIES, len(CAPABILITIES))
    ctypes.CDLL(None).capset(header, ctypes.create_string_buffer(24))


def _map_user(user: int, group: int) -> None:
    """In the new user namespace, who we are keeps its number."""
    # The kernel lets only a traceable process write these.
    set_traceable(True)
    with suppress(OSError):
        Path("/proc/self/setgroups").write_text("deny", encoding="ascii")
        Path("/proc/self/gid_map").write_text(f"{group} {group} 1", encoding="ascii")
        Path("/proc/self/uid_map").write_text(f"{user} {user} 1", encoding="ascii")
    set_traceable(False)


def _prctl(what: int, value: int = 0) -> int:
    """-1 where it fails or there is none."""
    if not LINUX:
        return -1
    return ctypes.CDLL(None).prctl(what, *map(ctypes.c_ulong, (value, 0, 0, 0)))

"""Files that a process may still read, and the one folder that it may write to: Landlock.

Where the kernel knows how, connections over TCP, and signals and abstract sockets to processes
outside are closed too. Imports nothing of vqlearn: a worker loads this file too.
"""

import ctypes
import os
import platform
import stat
import struct
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

CREATE_RULESET, ADD_RULE, RESTRICT_SELF = 444, 445, 446
ASK_VERSION, BENEATH = 1, 1
MACHINES = ("x86_64", "aarch64")

EXECUTE, WRITE_FILE, READ_FILE, READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
REMOVE_FILE, MAKE_REG, TRUNCATE, DEVICE = 1 << 5, 1 << 8, 1 << 14, 1 << 15
FILE_RIGHTS = {1: 13, 2: 14, 3: 15, 4: 15}  # how many a version of Landlock knows; 16 since
TCP_SINCE, SCOPES_SINCE = 4, 6
BIND_AND_CONNECT, SOCKETS_AND_SIGNALS = 3, 3

READ = READ_FILE | READ_DIR
WRITE = READ | WRITE_FILE | REMOVE_FILE | MAKE_REG | TRUNCATE
FOR_FILES = EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE | DEVICE  # no other right fits a file


def version() -> int:
    """Of Landlock in this kernel; 0 where there is none."""
    if sys.platform != "linux" or platform.machine() not in MACHINES or sys.maxsize < 2**32:
        return 0
    return max(0, _system_call(CREATE_RULESET, None, 0, ASK_VERSION))


def ruleset(readable: Iterable[str], writable: str) -> int | None:
    """What a process may still do with files: a file descriptor; None where there is no Landlock.

    It may read these paths and what lies below them, and write files below a folder, not folders.
    Paths that are not there are left out. Raises `OSError` if the kernel refuses.
    """
    known = version()
    if known == 0:
        return None
    handled = (1 << FILE_RIGHTS.get(known, 16)) - 1
    parts = [handled]
    if known >= TCP_SINCE:
        parts.append(BIND_AND_CONNECT)
    if known >= SCOPES_SINCE:
        parts.append(SOCKETS_AND_SIGNALS)
    attributes = struct.pack(f"={len(parts)}Q", *parts)
    rules = _checked(CREATE_RULESET, attributes, len(attributes), 0)
    for path in readable:
        _allow(rules, path, READ)
    _allow(rules, os.devnull, READ_FILE | WRITE_FILE)
    _allow(rules, writable, WRITE & handled)
    return rules


def restrict(rules: int) -> None:
    """Close all other files to this process. Needs `no_new_privs`; raises `OSError` as above."""
    _checked(RESTRICT_SELF, rules, 0)


def without(roots: Sequence[Path], closed: Iterable[Path]) -> list[str]:
    """The roots, or of a root above a closed path all that it holds except that path."""
    closed = [path.resolve() for path in closed]
    found, waiting, seen = [], [path.resolve() for path in roots], set()
    while waiting:
        path = waiting.pop()
        if path in seen or any(path.is_relative_to(one) for one in closed):
            continue
        seen.add(path)
        if any(one.is_relative_to(path) for one in closed):
            waiting += [entry.resolve() for entry in path.iterdir()]
        elif path.exists():
            found.append(str(path))
    return found


def _allow(rules: int, path: str, rights: int) -> None:
    """A right to a file, or to a folder and all below it."""
    try:
        number = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return
    try:
        if not stat.S_ISDIR(os.fstat(number).st_mode):
            rights &= FOR_FILES
        _checked(ADD_RULE, rules, BENEATH, struct.pack("=Qi", rights, number), 0)
    finally:
        os.close(number)


def _checked(*arguments: int | bytes | None) -> int:
    result = _system_call(*arguments)
    if result < 0:
        raise OSError(ctypes.get_errno(), "Landlock")
    return result


def _system_call(*arguments: int | bytes | None) -> int:
    """Bytes are handed over by their address, as ctypes does."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.syscall.restype = ctypes.c_long
    words = [ctypes.c_long(one) if isinstance(one, int) else one for one in arguments]
    return libc.syscall(*words)

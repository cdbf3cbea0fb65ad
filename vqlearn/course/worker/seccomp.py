"""System calls that are refused: no process, no socket, no signal to others, no memory of others.

Seccomp is the one measure that needs neither rights nor namespaces, so it closes a container too.
Imports nothing of vqlearn: a worker loads this file too.
"""

import ctypes
import errno
import os
import platform
import struct
import sys

PR_SET_SECCOMP, MODE_FILTER = 22, 2
LOAD, EQUAL, AT_LEAST, ANY_BIT, RETURN = 0x20, 0x15, 0x35, 0x45, 0x06  # instructions of the filter
NUMBER, ARCHITECTURE, FIRST_ARGUMENT = 0, 4, 16  # where it finds them
ALLOW, KILL, ERROR = 0x7FFF0000, 0x80000000, 0x00050000
X32 = 0x40000000  # numbers from here on are a second set of calls on x86_64
CLONE_THREAD = 0x00010000

MACHINES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}  # column below, architecture
REFUSED = {
    "fork": (57, None),
    "vfork": (58, None),
    "execve": (59, 221),
    "execveat": (322, 281),
    "socket": (41, 198),
    "socketpair": (53, 199),
    "kill": (62, 129),
    "tkill": (200, 130),
    "rt_sigqueueinfo": (129, 138),
    "rt_tgsigqueueinfo": (297, 240),
    "pidfd_open": (434, 434),
    "pidfd_send_signal": (424, 424),
    "pidfd_getfd": (438, 438),
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "unshare": (272, 97),
    "setns": (308, 268),
    "shmget": (29, 194),  # memory that no limit counts
    "add_key": (248, 217),  # keys outlive a process: students could leave notes in them
    "request_key": (249, 218),
    "keyctl": (250, 219),
    "io_uring_setup": (425, 425),  # would do what is refused here
    "bpf": (321, 280),
    "perf_event_open": (298, 241),
    "userfaultfd": (323, 282),
}
CLONE, CLONE3 = (56, 220), (435, 435)
TGKILL, PRLIMIT = (234, 131), (302, 261)

Instruction = tuple[int, int, int, int]
"""What to do, how many to skip if it holds and if not, and a number."""


def available() -> bool:
    """Can this process be given a filter? (A kernel that can is asked with none, and says so.)"""
    if sys.platform != "linux" or platform.machine() not in MACHINES or sys.maxsize < 2**32:
        return False
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(PR_SET_SECCOMP, ctypes.c_ulong(MODE_FILTER), None)
    return ctypes.get_errno() == errno.EFAULT


def restrict() -> None:
    """Refuse the calls, for good. Needs `no_new_privs`. Raises `OSError` if the kernel does."""
    program = b"".join(struct.pack("=HBBI", *line) for line in _program())
    lines = ctypes.create_string_buffer(program, len(program))
    pointer = struct.pack("@HP", len(program) // 8, ctypes.addressof(lines))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_SECCOMP, ctypes.c_ulong(MODE_FILTER), ctypes.c_char_p(pointer)):
        raise OSError(ctypes.get_errno(), "seccomp")


def _program() -> list[Instruction]:
    """The filter; a call that it does not know is allowed."""
    column, architecture = MACHINES[platform.machine()]
    refuse = (RETURN, 0, 0, ERROR | errno.EPERM)
    lines = [
        (LOAD, 0, 0, ARCHITECTURE),
        (EQUAL, 1, 0, architecture),
        (RETURN, 0, 0, KILL),
        (LOAD, 0, 0, NUMBER),
        (AT_LEAST, 0, 1, X32),
        refuse,
        # Its flags lie in memory, where no filter can look; libraries then take clone.
        (EQUAL, 0, 1, CLONE3[column]),
        (RETURN, 0, 0, ERROR | errno.ENOSYS),
    ]
    for numbers in REFUSED.values():
        if numbers[column] is not None:
            lines += [(EQUAL, 0, 1, numbers[column]), refuse]
    lines += _only_if(CLONE[column], ANY_BIT, CLONE_THREAD)
    lines += _only_if(TGKILL[column], EQUAL, os.getpid())
    lines += _only_if(PRLIMIT[column], EQUAL, 0)
    return [*lines, (RETURN, 0, 0, ALLOW)]


def _only_if(number: int, test: int, value: int) -> list[Instruction]:
    """This call is allowed if its first argument passes the test, and refused otherwise."""
    return [
        (EQUAL, 0, 4, number),
        (LOAD, 0, 0, FIRST_ARGUMENT),
        (test, 0, 1, value),
        (RETURN, 0, 0, ALLOW),
        (RETURN, 0, 0, ERROR | errno.EPERM),
    ]

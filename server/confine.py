# SPDX-License-Identifier: Apache-2.0
"""Taking rights from a process for good, by the system's own filter of calls: no network, no programs, no strangers.

Only Linux on x86-64 and 64-bit ARM has it here; elsewhere the other limits hold alone.

Source:
    Linux, Documentation/userspace-api/seccomp_filter.rst; numbers of calls from asm/unistd.h.
"""

from __future__ import annotations

import ctypes
import errno
import platform
import struct
import sys

PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 38, 22, 2
LOAD, EQUAL, AT_LEAST, RETURN = 0x20, 0x15, 0x35, 0x06
"""Instructions of the filter: load a word, jump on equal, jump on at least, return."""
CALL, ARCHITECTURE = 0, 4
"""Where in what is filtered the call's number and the architecture stand."""
ALLOW, REFUSE, END = 0x7FFF0000, 0x00050000 | errno.EPERM, 0x80000000
FOREIGN_CALLS = 0x40000000
"""Numbers from here on are of another way to call the same system (x32)."""

REFUSED = {
    "x86_64": (
        0xC000003E,
        {
            "socket": 41,
            "connect": 42,
            "execve": 59,
            "kill": 62,
            "ptrace": 101,
            "tkill": 200,
            "process_vm_readv": 310,
            "process_vm_writev": 311,
            "execveat": 322,
            "io_uring_setup": 425,
            "pidfd_open": 434,
        },
    ),
    "aarch64": (
        0xC00000B7,
        {
            "ptrace": 117,
            "kill": 129,
            "tkill": 130,
            "socket": 198,
            "connect": 203,
            "execve": 221,
            "process_vm_readv": 270,
            "process_vm_writev": 271,
            "execveat": 281,
            "io_uring_setup": 425,
            "pidfd_open": 434,
        },
    ),
}
"""By machine: its number, and the calls that are refused with EPERM."""


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_void_p))


def program(architecture: int, refused: list[int]) -> bytes:
    """The filter: another architecture ends the process, a refused call fails, every other is allowed.

    >>> len(program(0xC000003E, [41])) // 8
    8
    """
    count = len(refused)
    steps = [
        (LOAD, 0, 0, ARCHITECTURE),
        (EQUAL, 1, 0, architecture),
        (RETURN, 0, 0, END),
        (LOAD, 0, 0, CALL),
        (AT_LEAST, count + 1, 0, FOREIGN_CALLS),
        *((EQUAL, count - place, 0, number) for place, number in enumerate(refused)),
        (RETURN, 0, 0, ALLOW),
        (RETURN, 0, 0, REFUSE),
    ]
    return b"".join(struct.pack("=HBBI", *step) for step in steps)


def confine() -> bool:
    """Refuse this process, and all that it starts, network, programs and other processes; whether the system can."""
    if sys.platform != "linux":
        return False
    library = ctypes.CDLL(None)
    library.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    if platform.machine() not in REFUSED:
        return False
    architecture, calls = REFUSED[platform.machine()]
    code = program(architecture, list(calls.values()))
    held = ctypes.create_string_buffer(code, len(code))
    wanted = _Program(len(code) // 8, ctypes.cast(held, ctypes.c_void_p))
    return bool(library.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.byref(wanted), 0, 0) == 0)

# SPDX-License-Identifier: Apache-2.0
"""Taking the files of this machine from a process for good, by the system's own lock: it sees programs and one folder.

Linux 5.13 and later have it, unless it was left out; elsewhere the other limits hold alone.

Source:
    Linux, Documentation/userspace-api/landlock.rst; numbers of calls from asm-generic/unistd.h.
"""

from __future__ import annotations

import ctypes
import os
import struct
import sys
import sysconfig
from collections.abc import Iterable
from pathlib import Path

import clarivox

CREATE, ADD_RULE, RESTRICT = 444, 445, 446
"""Numbers of the calls, the same on every machine."""
VERSION, PATH_BENEATH = 1, 1
PR_SET_NO_NEW_PRIVS = 38
EXECUTE, WRITE_FILE, READ_FILE, READ_DIR, TRUNCATE = 1 << 0, 1 << 1, 1 << 2, 1 << 3, 1 << 14
READ = READ_FILE | READ_DIR
RIGHTS = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1}
"""All that each version of the lock knows: read, list, write, make, move and delete."""

SYSTEM = (
    *("/usr", "/lib", "/lib64", "/sys/devices/system/cpu", "/etc/ld.so.cache", "/etc/localtime"),
    *("/etc/passwd", "/etc/nsswitch.conf"),  # MONAI asks for the name of the user
    *("/proc/self", "/proc/cpuinfo", "/proc/meminfo", "/proc/stat", "/dev/urandom", "/dev/zero"),
)
"""What libraries read; no settings, which may hold secrets, and nobody's data."""


def programs() -> list[Path]:
    """Where Python, its packages and clarivox lie."""
    found = {Path(sys.prefix), Path(sys.base_prefix), *(Path(entry) for entry in sys.path if entry)}
    found |= {Path(place) for place in sysconfig.get_paths().values()}
    here = {Path(place) for place in clarivox.__path__}
    # In a checkout, parts of the package are links out of its folder.
    found |= here | {part for place in here for part in place.iterdir() if part.is_symlink()}
    return sorted(path.resolve() for path in found)


def keep_to(folders: Iterable[Path], readable: Iterable[Path] = ()) -> bool:
    """Let this process, and all that it starts, see programs, and write and read below these folders only.

    Args:
        folders: to write to and to read.
        readable: to read only, but for those of `folders` that lie below.

    Returns:
        Whether the system can.
    """
    if sys.platform != "linux":
        return False
    library = ctypes.CDLL(None, use_errno=True)
    version = library.syscall(CREATE, None, ctypes.c_size_t(0), VERSION)
    if version < 1:
        return False
    every = RIGHTS[min(version, max(RIGHTS))]
    wanted = ctypes.create_string_buffer(struct.pack("=Q", every), 8)
    rules = library.syscall(CREATE, wanted, ctypes.c_size_t(8), 0)
    if rules < 0:
        return False
    try:
        for path in (*map(Path, SYSTEM), *programs(), *readable):
            _allow(library, rules, path, READ)
        _allow(library, rules, Path("/dev/null"), READ | WRITE_FILE)
        for folder in folders:
            _allow(library, rules, folder, every)
        library.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
        return bool(library.syscall(RESTRICT, rules, 0) == 0)
    finally:
        os.close(rules)


def _allow(library: ctypes.CDLL, rules: int, path: Path, rights: int) -> None:
    """Allow some rights below a path; what is not there needs none."""
    try:
        place = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return
    try:
        if not path.is_dir():
            rights &= EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE
        rule = ctypes.create_string_buffer(struct.pack("=Qi", rights, place), 12)
        library.syscall(ADD_RULE, rules, PATH_BENEATH, rule, 0)
    finally:
        os.close(place)

# SPDX-License-Identifier: Apache-2.0
"""See, and where wished refuse, each system call by which a process and its children change files.

The kernel's seccomp user notification: the traced program stops before the call, this process hears of it and says
"go on" or "fail with ENOSPC". So every write counts, whoever makes it: Python, SQLite, NumPy, another library.
Linux on x86_64 only; no rights of an administrator are needed.

    python tests/chaos/traps.py FD COMMAND ...     # what `Traps.launcher` runs: sets the trap, hands it back, executes
"""

from __future__ import annotations

import array
import contextlib
import ctypes
import errno
import fcntl
import os
import platform
import select
import socket
import struct
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

CALLS = {
    "write": 1, "open": 2, "pwrite64": 18, "writev": 20, "sendfile": 40, "fsync": 74, "fdatasync": 75,
    "truncate": 76, "ftruncate": 77, "rename": 82, "mkdir": 83, "rmdir": 84, "creat": 85, "link": 86, "unlink": 87,
    "openat": 257, "mkdirat": 258, "unlinkat": 263, "renameat": 264, "linkat": 265, "fallocate": 285,
    "pwritev": 296, "renameat2": 316, "copy_file_range": 326, "pwritev2": 328,
}  # fmt: skip
NAMES = {number: name for name, number in CALLS.items()}
CREATES = os.O_CREAT | os.O_TRUNC
AT_FDCWD = -100
_SECCOMP, _NO_NEW_PRIVS, _X86_64 = 317, 38, 0xC000003E
_NOTIFY, _ALLOW = 0x7FC00000, 0x7FFF0000
_NOTICE, _REPLY = struct.Struct("=QIIiIQ6Q"), struct.Struct("=QqiI")
_RECEIVE = 3 << 30 | _NOTICE.size << 16 | ord("!") << 8
_SEND = 3 << 30 | _REPLY.size << 16 | ord("!") << 8 | 1
_CONTINUE = 1


@dataclass(frozen=True)
class Call:
    """A system call that is about to happen."""

    name: str
    thread: int
    arguments: tuple[int, ...]

    def path_of(self, descriptor: int) -> str:
        """What an open file of the process is called now."""
        return str(Path(f"/proc/{self.thread}/fd/{_signed(descriptor)}").readlink())

    def bytes_at(self, address: int, count: int) -> bytes:
        """Memory of the process."""
        with open(f"/proc/{self.thread}/mem", "rb", buffering=0) as memory:  # noqa: PTH123
            memory.seek(address)
            return memory.read(count)

    def text_at(self, address: int) -> str:
        """A C string of the process."""
        found = b""
        while b"\0" not in found:
            here = address + len(found)
            found += self.bytes_at(here, 4096 - here % 4096)
        return os.fsdecode(found.split(b"\0", 1)[0])

    def path_at(self, folder: int, address: int) -> str:
        """The absolute path that a call names by a descriptor of a folder and a string."""
        name = self.text_at(address)
        if name.startswith("/"):
            return os.path.normpath(name)
        here = Path(f"/proc/{self.thread}/cwd")
        start = str(here.readlink()) if _signed(folder) == AT_FDCWD else self.path_of(folder)
        return os.path.normpath(f"{start}/{name}")

    def paths(self) -> tuple[str, ...]:
        """The files that the call changes: one, or for renames and links the old and the new."""
        a = self.arguments
        match self.name:
            case "open" | "creat" | "truncate" | "mkdir" | "rmdir" | "unlink":
                return (self.path_at(AT_FDCWD, a[0]),)
            case "openat" | "mkdirat" | "unlinkat":
                return (self.path_at(a[0], a[1]),)
            case "rename" | "link":
                return self.path_at(AT_FDCWD, a[0]), self.path_at(AT_FDCWD, a[1])
            case "renameat" | "renameat2" | "linkat":
                return self.path_at(a[0], a[1]), self.path_at(a[2], a[3])
            case "copy_file_range":
                return (self.path_of(a[2]),)
            case _:
                return (self.path_of(a[0]),)


def _signed(descriptor: int) -> int:
    return ctypes.c_int32(descriptor & 0xFFFFFFFF).value


class Traps:
    """Hears of every call, in a thread, from the programs that were started behind `launcher`.

    Args:
        heard: gets each call before it happens; returns 0 to let it happen, or an errno.
    """

    def __init__(self, heard: Callable[[Call], int]) -> None:
        if platform.machine() != "x86_64" or not sys.platform.startswith("linux"):
            raise RuntimeError("traps of system calls are written for Linux on x86_64")
        self.heard = heard
        self.threads: list[threading.Thread] = []

    def launcher(self) -> tuple[list[str], int]:
        """The words before a command, and the descriptor that the new process must inherit."""
        ours, theirs = socket.socketpair()
        self.threads.append(threading.Thread(target=self._listen, args=(ours, theirs), daemon=True))
        self.threads[-1].start()
        return [sys.executable, "-P", __file__, str(theirs.fileno())], theirs.fileno()

    def _listen(self, ours: socket.socket, theirs: socket.socket) -> None:
        with ours, theirs:
            _, found, _, _ = ours.recvmsg(1, socket.CMSG_SPACE(4))
        trap = struct.unpack("i", found[0][2][:4])[0]
        poll = select.poll()
        poll.register(trap, select.POLLIN)
        while not poll.poll()[0][1] & select.POLLHUP:
            notice = bytearray(_NOTICE.size)
            try:
                fcntl.ioctl(trap, _RECEIVE, notice)
            except OSError as gone:
                if gone.errno in (errno.ENOENT, errno.EINTR):
                    continue  # the process was killed meanwhile
                break
            number, thread, _, call, _, _, *arguments = _NOTICE.unpack(notice)
            refusal = 0
            # It raises where the process ended while it was looked at.
            with contextlib.suppress(OSError, ValueError):
                refusal = self.heard(Call(NAMES[call], thread, tuple(arguments)))
            reply = bytearray(_REPLY.pack(number, 0, -refusal, 0 if refusal else _CONTINUE))
            try:
                fcntl.ioctl(trap, _SEND, reply)
            except OSError as gone:
                if gone.errno != errno.ENOENT:
                    raise
        os.close(trap)


def _program() -> bytes:
    """The filter: which calls stop; of opens only those that create or empty, of writes none to 1 and 2."""
    load, equal, masked, above, give = 0x20, 0x15, 0x45, 0x35, 0x06
    lines: list[tuple[int, int, int, int]] = [(load, 0, 0, 4), (equal, 1, 0, _X86_64), (give, 0, 0, _ALLOW)]
    lines.append((load, 0, 0, 0))
    plain = [number for name, number in CALLS.items() if name not in ("open", "openat", "write")]
    for number in plain:
        lines += [(equal, 0, 1, number), (give, 0, 0, _NOTIFY)]
    for name, argument, test, value in (
        ("openat", 2, masked, CREATES),
        ("open", 1, masked, CREATES),
        ("write", 0, above, 3),
    ):
        lines += [(equal, 0, 4, CALLS[name]), (load, 0, 0, 16 + 8 * argument), (test, 0, 1, value)]
        lines += [(give, 0, 0, _NOTIFY), (give, 0, 0, _ALLOW)]
    lines.append((give, 0, 0, _ALLOW))
    return b"".join(struct.pack("=HBBI", *line) for line in lines)


def trap() -> int:
    """Set the trap on this process and all that it starts; the descriptor that hears of it.

    Raises:
        OSError: the kernel does not allow it.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    program = _program()
    kept = ctypes.create_string_buffer(program, len(program))
    words = struct.pack("HxxxxxxP", len(program) // 8, ctypes.addressof(kept))
    if libc.prctl(_NO_NEW_PRIVS, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl")
    found = int(libc.syscall(_SECCOMP, 1, 8, ctypes.create_string_buffer(words, len(words))))
    if found < 0:
        raise OSError(ctypes.get_errno(), "seccomp")
    return found


if __name__ == "__main__":
    with socket.socket(fileno=int(sys.argv[1])) as back:
        found = trap()
        back.sendmsg([b"x"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [found]))])
    os.close(found)
    os.execvp(sys.argv[2], sys.argv[2:])

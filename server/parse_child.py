# SPDX-License-Identifier: Apache-2.0
"""The process that untrusted bytes are read in: limited in memory, time and files, without a network, one for each job.

`python -m clarivox.server.parse_child FD` is the nursery: it imports what readers need, then waits, and forks a
limited child whenever it is asked for one, in some ten milliseconds. It never sees a byte of an input itself. A child
works in the folder of its job; it may crash or be killed at any time, and nothing but its job is lost. Orders and
answers are lines of JSON over a socket.
"""

from __future__ import annotations

import ctypes
import errno
import importlib
import json
import os
import resource
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clarivox.errors import CapacityError, ClarivoxError, LimitError
from clarivox.io.atomic import NO_ROOM
from clarivox.server.confine import confine
from clarivox.server.landlock import keep_to

if TYPE_CHECKING:
    from clarivox.progress import Step
    from clarivox.volume import Volume

WARM = (
    "clarivox.io.dispatch_dicom",
    "clarivox.io.dicom_read",
    "clarivox.io.dicom_write",
    "clarivox.io.nifti_write",
    "clarivox.io.nrrd_write",
    "clarivox.io.image_write",
    "clarivox.evidence",
    "clarivox.server.child_read",
    "clarivox.server.child_write",
    "clarivox.server.child_index",
)
"""What every child needs; imported once."""
TOLD_S = 0.1
"""Least time between two words on progress."""
PR_SET_PDEATHSIG, PR_SET_DUMPABLE = 1, 4
"""Names of prctl(2)."""
OPEN_FILES = 4096
"""Most files that a child has open."""

Tell = Callable[["Step"], None]


def main() -> None:
    """Fork a child for each order until the other end goes away."""
    die_with_parent()
    os.environ |= {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}  # a fork keeps one thread only
    control = socket.socket(fileno=int(sys.argv[1]))
    for name in WARM:
        importlib.import_module(name)
    while True:
        line, given, _, _ = socket.recv_fds(control, 1 << 16, 1)
        if not line:
            return
        order = json.loads(line)
        if "wait" in order:
            _, status = os.waitpid(order["wait"], 0)
            answer = {"status": os.waitstatus_to_exitcode(status)}
        else:
            pid = os.fork()
            if pid == 0:
                control.close()
                child(socket.socket(fileno=given[0]), order)
            os.close(given[0])
            answer = {"pid": pid}
        control.sendall(json.dumps(answer).encode())


def child(channel: socket.socket, order: dict[str, Any]) -> None:
    """Limit this process for good, then do what the channel says until it ends; never returns."""
    status = 1
    try:
        others, readable = ([Path(one) for one in order[name]] for name in ("others", "readable"))
        limit(Path(order["folder"]), order["memory_bytes"], order["file_bytes"], others, readable)
        serve(channel)
        status = 0
    finally:
        os._exit(status)  # what the nursery would do at its end is not this process's to do


def die_with_parent() -> None:
    """Let the system end this process when the thread that made it ends; Linux only."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def limit(
    folder: Path, memory_bytes: int, file_bytes: int, others: Sequence[Path] = (), readable: Sequence[Path] = ()
) -> None:
    """Bound memory, files and rights of this process, and let its temporary files lie in its job's folder.

    Args:
        folder: of the job; with programs and `others` all that it sees of the disk.
        memory_bytes: of its addresses.
        file_bytes: of one file.
        others: folders that it may write to beside its own.
        readable: folders that it may only read.
    """
    die_with_parent()
    os.chdir(folder)
    os.umask(0o077)
    (folder / "tmp").mkdir(exist_ok=True)
    os.environ["TMPDIR"] = tempfile.tempdir = str(folder / "tmp")
    silent = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):  # libraries print what they read, which may name a patient
        os.dup2(silent, stream)
    for what, most in (
        (resource.RLIMIT_AS, memory_bytes),
        (resource.RLIMIT_FSIZE, file_bytes),
        (resource.RLIMIT_NOFILE, OPEN_FILES),
        (resource.RLIMIT_CORE, 0),
    ):
        _, highest = resource.getrlimit(what)
        most = most if highest == resource.RLIM_INFINITY else min(most, highest)
        resource.setrlimit(what, (most, most))
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # a write beyond the limit fails with EFBIG instead
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)
    keep_to((folder, *others), readable)
    confine()


def allow_cpu(seconds: float) -> None:
    """Let this process use so much more time of the CPU; then the system ends it."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    until = int(used.ru_utime + used.ru_stime + seconds) + 1
    _, highest = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(resource.RLIMIT_CPU, (until, highest))


def serve(channel: socket.socket) -> None:
    """Do one order after another."""
    from clarivox.server import child_index, child_read, child_train, child_write
    from clarivox.server.child_read import told

    kept: list[Volume] = []
    for line in channel.makefile("rb"):
        order = json.loads(line)
        allow_cpu(order["cpu_s"])
        work: dict[str, Callable[[list[Volume], dict[str, Any], Tell], Any]] = {
            "read": child_read.read,
            "write": child_write.write,
            "convert": child_write.convert,
            "index": child_index.index,
            "gather": child_train.gather,
        }
        try:
            answer = {"done": work[order["do"]](kept, order, teller(channel))}
        except ClarivoxError as error:
            answer = {"error": told(error)}
        except MemoryError:
            answer = {"error": told(no_memory())}
        except OSError as error:
            if error.errno == errno.ENOMEM:
                answer = {"error": told(no_memory())}
            elif error.errno in NO_ROOM:
                answer = {"error": told(CapacityError("the disk is full; nothing was written", code="disk_full"))}
            else:
                raise
        say(channel, answer)


def no_memory() -> LimitError:
    """What an input is told that wants more memory than a child may have."""
    return LimitError("reading the input takes more memory than the server allows", code="too_much_memory")


def teller(channel: socket.socket) -> Tell:
    """Passes progress on, not more often than anyone looks."""
    last = [0.0]

    def tell(step: Step) -> None:
        now = time.monotonic()
        if now - last[0] >= TOLD_S:
            last[0] = now
            say(channel, {"step": [step.stage, step.fraction, step.eta_s]})

    return tell


def say(channel: socket.socket, message: dict[str, Any]) -> None:
    """One line of JSON."""
    channel.sendall(json.dumps(message, separators=(",", ":")).encode() + b"\n")


if __name__ == "__main__":
    main()

# SPDX-License-Identifier: Apache-2.0
"""The other end of a limited child: starts it, gives it orders, and believes nothing that it says without looking."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any

from clarivox import errors
from clarivox.errors import CancelledError, ClarivoxError, DecodeError, FormatError, LimitError
from clarivox.progress import Step
from clarivox.server.settings import Settings

LINE_BYTES = 64 << 20
"""Longest answer: facts of volumes with tens of thousands of slices each."""
LOOK_S = 0.05
"""How often a wait looks whether it was cancelled."""
BYTES_PER_CPU_S = 10_000_000
"""What a child reads in each second beyond those that every input gets (dicom.md 5.2)."""
PATIENCE = 4
"""Seconds of the clock that a child may take for each second of the CPU, on a busy machine."""

Follow = Callable[[Step | None], bool | None]
"""Called with each step, and with None while there is nothing new; returning False cancels."""


class ChildDiedError(Exception):
    """A child was killed from outside: the machine ran out of memory, or someone did it."""


class Nursery:
    """The process that forks limited children; started when the first is wanted, and again when it is gone.

    Args:
        settings: the limits.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None

    def start(self) -> None:
        """Start it now, so that the first child need not wait. It ends with the thread that called this."""
        with self._lock:
            self._started()

    def child(self, folder: Path, others: Sequence[Path] = (), readable: Sequence[Path] = ()) -> Child:
        """A new limited child that works in a folder; it sees no other but these, and writes to no readable one.

        Raises:
            ChildDiedError: the nursery does not start.
        """
        ours, theirs = socket.socketpair()
        order = {
            "folder": str(folder),
            "memory_bytes": self.settings.parse_memory_bytes,
            "file_bytes": self.settings.unpacked_bytes,
            "others": [str(one) for one in others],
            "readable": [str(one) for one in readable],
        }
        with theirs:
            answer = self._ask(order, theirs.fileno())
        return Child(self, ours, answer["pid"], self.settings)

    def status(self, pid: int) -> int | None:
        """How a child ended, once it has: its exit status, or minus a signal; None where the nursery is gone too."""
        try:
            return int(self._ask({"wait": pid}, again=False)["status"])
        except ChildDiedError:
            return None

    def close(self) -> None:
        """End it, and with it every child."""
        with self._lock:
            self._stop()

    def _ask(self, order: dict[str, Any], fd: int | None = None, again: bool = True) -> dict[str, int]:
        with self._lock:
            for left in (1, 0) if again else (0,):
                try:
                    control = self._started() if again else self._control
                    if control is None:
                        raise OSError
                    socket.send_fds(control, [json.dumps(order).encode()], [] if fd is None else [fd])
                    answer = control.recv(1 << 16)
                    if not answer:
                        raise OSError
                    found: dict[str, int] = json.loads(answer)
                    return found
                except OSError:
                    if again:
                        self._stop()
                    if not left:
                        break
        raise ChildDiedError

    def _started(self) -> socket.socket:
        if self._control is None or self._process is None or self._process.poll() is not None:
            self._stop()
            ours, theirs = socket.socketpair()
            with theirs:
                self._process = subprocess.Popen(
                    [sys.executable, "-P", "-m", "clarivox.server.parse_child", str(theirs.fileno())],
                    pass_fds=[theirs.fileno()],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    env={**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
                )
            self._control = ours
        return self._control

    def _stop(self) -> None:
        if self._control is not None:
            self._control.close()
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        self._control = self._process = None


class Child:
    """One limited process, for one job."""

    def __init__(self, nursery: Nursery, channel: socket.socket, pid: int, settings: Settings) -> None:
        self.pid = pid
        self.settings = settings
        self._nursery = nursery
        self._channel = channel
        self._rest = b""
        self._open = True

    def __enter__(self) -> Child:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def call(self, order: dict[str, Any], follow: Follow, *, size_bytes: int = 0) -> Any:
        """Give an order and wait for its end.

        Args:
            order: what `parse_child.serve` takes.
            follow: hears of each step, and is asked several times a second whether to go on.
            size_bytes: of the input; a larger one may take longer.

        Raises:
            ClarivoxError: what the child says, or what its end means.
            CancelledError: `follow` returned False.
            ChildDiedError: it was killed from outside.
        """
        cpu_s = self.settings.parse_cpu_s + size_bytes / BYTES_PER_CPU_S
        until = time.monotonic() + PATIENCE * cpu_s
        try:
            self._channel.sendall(json.dumps({**order, "cpu_s": cpu_s}).encode() + b"\n")
        except OSError:
            raise self._end() from None
        for message in self._lines(until):
            if message is None:
                _go_on(follow(None))
            elif "step" in message:
                _go_on(follow(_step(message["step"])))
            elif "done" in message:
                return message["done"]
            else:
                raise rebuilt(message.get("error"))
        raise self._end()

    def kill(self) -> None:
        """End it at once."""
        if self._open:
            with suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)

    def close(self) -> None:
        """End it, and forget it."""
        if self._open:
            self.kill()
            self._end()

    def _lines(self, until: float) -> Iterator[dict[str, Any] | None]:
        """Messages as they come, None while there is none; ends where the child does."""
        self._channel.settimeout(LOOK_S)
        while True:
            line, found, rest = self._rest.partition(b"\n")
            if found:
                self._rest = rest
                yield _parsed(line)
                continue
            if len(self._rest) > LINE_BYTES:
                raise _nonsense()
            if time.monotonic() > until:
                raise too_slow()
            try:
                more = self._channel.recv(1 << 20)
            except TimeoutError:
                yield None
                continue
            except OSError:
                return
            if not more:
                return
            self._rest += more

    def _end(self) -> Exception:
        """What its end means."""
        self._open = False
        with suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)  # changes nothing where it is ending already
        self._channel.close()
        status = self._nursery.status(self.pid)
        if status is None or status == -signal.SIGKILL:
            return ChildDiedError()
        if status == -signal.SIGXCPU:
            return too_slow()
        return DecodeError(
            "the process that reads the input failed on it; the file is damaged, or of a kind that is not read",
            code="reader_failed",
        )


def _go_on(answer: bool | None) -> None:
    if answer is False:
        raise CancelledError("stopped on request; nothing was written")


def _parsed(line: bytes) -> dict[str, Any]:
    try:
        message = json.loads(line)
    except (ValueError, RecursionError):
        raise _nonsense() from None
    if not isinstance(message, dict):
        raise _nonsense()
    return message


def _step(values: Any) -> Step:
    try:
        stage, fraction, eta_s = values
        return Step(str(stage)[:20], min(1.0, max(0.0, float(fraction))), None if eta_s is None else float(eta_s))
    except (TypeError, ValueError):
        raise _nonsense() from None


def _nonsense() -> FormatError:
    return FormatError("the reading process answers nonsense; the input cannot be used", code="bad_handover")


def too_slow() -> LimitError:
    """What an input is told that takes longer to read than it may."""
    return LimitError("reading the input takes longer than the server allows; send fewer files", code="reading_slow")


def rebuilt(found: Any) -> ClarivoxError:
    """The error that a child tells of.

    >>> rebuilt({"class": "FormatError", "code": "empty_file", "message": "the file is empty"}).code
    'empty_file'
    """
    kind = getattr(errors, str(found.get("class")), None) if isinstance(found, dict) else None
    if not (isinstance(kind, type) and issubclass(kind, ClarivoxError)):
        return _nonsense()
    error: ClarivoxError = kind(str(found.get("message"))[:4000])
    error.code = str(found.get("code"))[:40]
    return error


@contextmanager
def work_folder(parent: Path, name: str) -> Iterator[Path]:
    """A new empty folder, gone at the end with everything in it."""
    folder = parent / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True, mode=0o700)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def limits_of(settings: Settings) -> dict[str, int]:
    """The limits of an input as JSON carries them."""
    return asdict(settings.limits)


def result_path(folder: Path, path: Any) -> Path:
    """A file that a child says it wrote.

    Raises:
        FormatError: it is none, or does not lie in the folder (code bad_handover).
    """
    found = folder / str(path)
    if found.is_symlink() or not found.is_file() or not found.resolve().is_relative_to(folder.resolve()):
        raise _nonsense()
    return found

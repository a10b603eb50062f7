# SPDX-License-Identifier: Apache-2.0
"""The supervisor as the process that started it holds it: kept alive, drained at the end."""

from __future__ import annotations

import json
import logging
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import suppress

from clarivox.server.orders import closed
from clarivox.server.settings import Settings

logger = logging.getLogger(__name__)

AGAIN_S = 0.5
"""Wait before a supervisor that died is replaced; doubled while it dies at once, up to `LONGEST_S`."""
LONGEST_S = 30.0
LASTED_S = 3.0
"""A supervisor that lived so long did not fail at its start: the next one need not wait."""
GRACE_S = 10.0
"""Beyond the time for draining, after which it is killed."""


class SupervisorHandle:
    """A supervisor in a process of its own, started again whenever it dies.

    Args:
        settings: of the server.
        command: what a worker is started by; for tests.
    """

    def __init__(self, settings: Settings, command: Sequence[str] = ()) -> None:
        self.settings, self.command = settings, tuple(command)
        self._process: subprocess.Popen[bytes] | None = None
        self._stopping = threading.Event()
        self._begun = threading.Event()
        # The system ties a child to the thread that made it, so that thread stays.
        self._thread = threading.Thread(target=self._keep, name="supervisor", daemon=True)
        self._thread.start()
        self._begun.wait()

    @property
    def pid(self) -> int:
        """Of the supervisor that runs, or ran last."""
        return self._process.pid if self._process is not None else 0

    def alive(self) -> bool:
        """Whether it runs."""
        return self._process is not None and self._process.poll() is None

    def stop(self, drain: bool = True) -> None:
        """End it: at once, or when the jobs at work are done, `settings.drain_s` at most; returns when it has ended."""
        self._stopping.set()
        process = self._process
        if process is not None and process.poll() is None:
            process.send_signal(signal.SIGTERM if drain else signal.SIGQUIT)
            with suppress(subprocess.TimeoutExpired):
                process.wait((self.settings.drain_s if drain else 0.0) + GRACE_S)
            if process.poll() is None:
                process.kill()
        self._thread.join(GRACE_S)

    def hurry(self) -> None:
        """Let a drain that goes on give its jobs back now."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGQUIT)

    def _keep(self) -> None:
        wait = AGAIN_S
        while not self._stopping.is_set():
            began = time.monotonic()
            self._process = process = self._started()
            self._begun.set()
            process.wait()
            if process.stdin is not None:
                with suppress(BrokenPipeError):  # what a child that died at once did not read
                    process.stdin.close()
            if self._stopping.is_set():
                return
            logger.error("the supervisor ended with status %d and is started again", process.returncode)
            wait = AGAIN_S if time.monotonic() - began > LASTED_S else min(LONGEST_S, 2 * wait)
            self._stopping.wait(wait)

    def _started(self) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "clarivox.server.fleet"],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            start_new_session=True,  # a terminal's Ctrl-C is for the server, which drains
        )
        order = json.dumps({"settings": closed(self.settings), "command": list(self.command)})
        if process.stdin is not None:
            with suppress(BrokenPipeError):
                process.stdin.write(order.encode() + b"\n")
                process.stdin.flush()
        return process


def start_supervisor(settings: Settings, command: Sequence[str] = ()) -> SupervisorHandle:
    """Start the supervisor and with it the workers; returns at once."""
    return SupervisorHandle(settings, command)

# SPDX-License-Identifier: Apache-2.0
"""One place for a worker: the process that is in it, what it last said, and when the next one may start."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from clarivox.server.devices import Device

FAULTS_WITHIN_S = 600.0
"""Device faults that lie so close together count together."""
SHORT_LIFE_S = 10.0
"""A worker that ends sooner than this, without a word of being ready, is not started again at once."""
LONGEST_WAIT_S = 30.0
START_S = 300.0
"""Most time to start: libraries come from a slow disk, bundles are loaded."""
DEAF_S = 10.0
"""Most time for a job to stop once it was cancelled; between two layers of a network it does so at once."""
LINE_BYTES = 1 << 16


@dataclass
class Slot:
    """One place.

    Attributes:
        worker_id: of the worker in the ledger; the process in it may change.
        device: what it works on.
        process: or None between two.
        state: what the worker says; quarantined where the device is out of use.
        job: id and attempt of the job at work.
        moved: the worker's count, and when it last went up.
        stop_at: when the job at work was to stop, where it was.
        faults: when the device failed.
    """

    worker_id: str
    device: Device
    process: subprocess.Popen[bytes] | None = None
    state: str = "dead"
    job: tuple[str, int] | None = None
    moved: int = -1
    moved_at: float = 0.0
    started: float = 0.0
    was_ready: bool = False
    start_at: float = 0.0
    short_lives: int = 0
    stop_at: float | None = None
    stalled: bool = False
    faults: deque[float] = field(default_factory=deque)
    rest: bytes = b""

    @property
    def runs(self) -> bool:
        """Whether there is a process that has not been seen to end."""
        return self.process is not None

    def start(self, command: Sequence[str], order: dict[str, Any], environment: dict[str, str]) -> None:
        """Start a worker in this place."""
        self.process = subprocess.Popen(
            list(command),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, **environment, **self.device.environment},
        )
        if self.process.stdin is None or self.process.stdout is None:
            raise OSError("no pipe")
        with suppress(BrokenPipeError):
            self.process.stdin.write(json.dumps(order).encode() + b"\n")
            self.process.stdin.close()
        os.set_blocking(self.process.stdout.fileno(), False)
        self.state, self.job, self.moved, self.rest = "starting", None, -1, b""
        self.started = self.moved_at = time.monotonic()
        self.was_ready = self.stalled = False
        self.stop_at = None

    def listen(self) -> None:
        """Take in what the worker said since last time."""
        if self.process is None or self.process.stdout is None:
            return
        while True:
            try:
                more = os.read(self.process.stdout.fileno(), LINE_BYTES)
            except (BlockingIOError, OSError):
                break
            if not more:
                break
            *lines, self.rest = (self.rest + more).split(b"\n")
            for line in lines:
                self._heard(json.loads(line))

    def _heard(self, said: dict[str, Any]) -> None:
        self.state = said["state"]
        self.was_ready |= said["state"] in ("ready", "busy")
        job = None if said["job"] is None else (str(said["job"]), int(said["attempt"]))
        if job != self.job or job is None or said["moved"] != self.moved:
            self.moved_at = time.monotonic()
        if not said.get("stop") or job != self.job:
            self.stop_at = None
        elif self.stop_at is None:
            self.stop_at = time.monotonic()
        self.job, self.moved = job, said["moved"]

    def stands_still(self, most_s: float) -> bool:
        """Whether the work, or the whole worker, has not moved for too long, or does not stop when asked."""
        most_s = max(most_s, START_S) if self.state == "starting" else most_s
        now = time.monotonic()
        deaf = self.stop_at is not None and now - self.stop_at > DEAF_S
        return self.runs and (deaf or now - self.moved_at > most_s)

    def send(self, number: signal.Signals) -> None:
        """Send the worker a signal."""
        if self.process is not None:
            with suppress(ProcessLookupError):
                self.process.send_signal(number)

    def ended(self) -> int | None:
        """The exit status once the process has ended; then the place is free."""
        if self.process is None:
            return None
        status = self.process.poll()
        if status is None:
            return None
        self.listen()
        if self.process.stdout is not None:
            self.process.stdout.close()
        self.process = None
        lived = time.monotonic() - self.started
        self.short_lives = 0 if self.was_ready or lived > SHORT_LIFE_S else self.short_lives + 1
        wait = min(LONGEST_WAIT_S, 2.0 ** (self.short_lives - 1)) if self.short_lives else 0.0
        self.start_at = time.monotonic() + wait
        return status

    def fault(self, most: int) -> bool:
        """Count a fault of the device; True where it is one too many, and the place is closed."""
        now = time.monotonic()
        self.faults.append(now)
        while now - self.faults[0] > FAULTS_WITHIN_S:
            self.faults.popleft()
        if len(self.faults) >= most:
            self.state = "quarantined"
        return self.state == "quarantined"

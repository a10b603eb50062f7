# SPDX-License-Identifier: Apache-2.0
"""The thread that claims and reads the next job while the device is at work on another."""

from __future__ import annotations

import logging
import threading
import time
from typing import TYPE_CHECKING

from clarivox.errors import CancelledError, ClarivoxError
from clarivox.server.ending import settle
from clarivox.server.job import Kind
from clarivox.server.task import Task
from clarivox.server.work import Shop, prepare

if TYPE_CHECKING:
    from clarivox.server.pulse import Pulse

logger = logging.getLogger(__name__)

LOOK_S = 0.05
SOON_S = 20.0
"""A job is taken ahead only so long before its turn: another worker may be idle sooner."""
WAITED_S = 0.3
"""And only if no idle worker has taken it in this time."""
HELD_S = 60.0
"""A job whose turn did not come for so long goes back: the device is not free as soon as it seemed."""
LATE = ("write", "publish")
"""Stages in which the device is as good as free."""


class Ahead(threading.Thread):
    """Holds at most one job that is read and waits for the device."""

    def __init__(self, shop: Shop, pulse: Pulse, worker_id: str) -> None:
        super().__init__(name="ahead", daemon=True)
        self.shop, self.pulse, self.worker_id = shop, pulse, worker_id
        self.stopped = False
        self._ready: Task | None = None
        self._since = 0.0
        self._passed: Task | None = None
        self._lock = threading.Lock()

    def run(self) -> None:
        """Look for work as long as the process lives."""
        while True:
            time.sleep(LOOK_S)
            with self._lock:
                if self._ready is None:
                    if not self.stopped and self.soon():
                        self._ready, self._since = self.claimed(), time.monotonic()
                elif self._ready.stopped:
                    self.let_go(self._ready, CancelledError("stopped"))
                elif time.monotonic() - self._since > HELD_S:
                    self._passed = self.pulse.current
                    self._ready.released = True
                    self.let_go(self._ready, CancelledError("its turn does not come"))

    def soon(self) -> bool:
        """Whether the device will be free before long."""
        task = self.pulse.current
        if task is None or task.stopped or task is self._passed:
            return False
        return task.stage in LATE or (task.stage == "enhance" and task.eta_s is not None and task.eta_s < SOON_S)

    def claimed(self) -> Task | None:
        """The next job, read; with the reason where it could not be read."""
        try:
            job = self.shop.ledger.claim(
                self.worker_id, loaded=self.pulse.loaded, kinds=(Kind.ENHANCE,), waited_s=WAITED_S
            )
        except ClarivoxError:
            return None
        if job is None:
            return None
        task = Task(job, self.shop.settings.data_dir / "work" / f"{job.id}.{job.attempt}")
        self.pulse.hold(task)
        try:
            prepare(task, self.shop)
        except Exception as error:  # noqa: BLE001  the worker's loop says what it means
            task.failure = error
        task.stage = "waiting" if task.failure is None else task.stage
        return task

    def take(self) -> Task | None:
        """The job that was taken ahead, once it is read."""
        with self._lock:
            task, self._ready = self._ready, None
        return task

    def give_back(self) -> None:
        """Return what was taken ahead to the queue, and take no more."""
        self.stopped = True
        task = self.take()
        if task is not None:
            task.released = True
            self.let_go(task, CancelledError("the worker ends"))

    def let_go(self, task: Task, end: CancelledError) -> None:
        """End an attempt whose work did not begin."""
        self._ready = None
        settle(task, self.shop, end)
        self.pulse.drop(task)

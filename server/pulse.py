# SPDX-License-Identifier: Apache-2.0
"""The thread that says that a worker lives: to the ledger, which lends it jobs, and to its supervisor."""

from __future__ import annotations

import json
import logging
import os
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clarivox import __version__
from clarivox.errors import ClarivoxError
from clarivox.server.job import WorkerRow
from clarivox.server.task import Task

if TYPE_CHECKING:
    from clarivox.server.work import Shop

logger = logging.getLogger(__name__)

BEAT_S = 1.0
"""How often a job's lease is renewed, and its user's wish to stop is asked for."""
ROW_S = 2.0
"""How often the worker's own row is written where nothing changed."""
MARGIN = 0.9
"""Share of a lease without an answer of the ledger after which the job is given up for lost."""


class Pulse(threading.Thread):
    """Beats until the process ends.

    Args:
        shop: the worker's.
        worker_id: in the ledger.
        host: of the machine.
        out: file descriptor that the supervisor reads, or None.
    """

    def __init__(self, shop: Shop, worker_id: str, host: str, out: int | None) -> None:
        super().__init__(name="pulse", daemon=True)
        self.shop, self.worker_id, self.host, self.out = shop, worker_id, host, out
        self.state = "starting"
        self.loaded: tuple[str, ...] = ()
        self.current: Task | None = None
        self.tasks: list[Task] = []
        self.started = time.time()
        self._wake = threading.Event()
        self._lock = threading.Lock()
        self._row_at = 0.0
        self._shown: tuple[Any, ...] = ()

    def hold(self, task: Task) -> None:
        """Keep a job's lease from now on."""
        with self._lock:
            self.tasks.append(task)

    def drop(self, task: Task) -> None:
        """Do so no longer."""
        with self._lock:
            self.tasks = [one for one in self.tasks if one is not task]

    def work_on(self, task: Task | None) -> None:
        """Tell the supervisor at once which job this process may go down with."""
        self.current = task
        if self.state in ("ready", "busy"):
            self.state = "busy" if task else "ready"
        self.say()

    def become(self, state: str) -> None:
        """Go to another state, and say so at once."""
        self.state = state
        self._wake.set()
        self.say()

    def run(self) -> None:
        """Beat."""
        while True:
            self.beat()
            self.say()
            self.put_row()
            self._wake.wait(BEAT_S)
            self._wake.clear()

    def beat(self) -> None:
        """Renew the lease of each job that is held, and hear what became of it."""
        with self._lock:
            held = tuple(self.tasks)
        for task in held:
            try:
                answer = self.shop.ledger.beat(
                    task.job.id, task.job.attempt, stage=task.stage, done=round(task.done, 4), eta_s=task.eta_s
                )
            except ClarivoxError:
                task.lost |= time.monotonic() - task.heard > MARGIN * self.shop.settings.lease_s
                continue
            task.heard = time.monotonic()
            task.cancelled |= answer.cancel
            task.lost |= not answer.alive

    def say(self) -> None:
        """One line to the supervisor: the state, the job at work, and a count that moves as long as the work does."""
        if self.out is None:
            return
        task = self.current
        line = {
            "state": self.state,
            "job": task and task.job.id,
            "attempt": task and task.job.attempt,
            "moved": task.moved if task else -1,
            "stop": bool(task and task.stopped),
        }
        try:
            os.write(self.out, json.dumps(line).encode() + b"\n")
        except BrokenPipeError:  # it died before the system knew that this process is to end with it
            logger.warning("the supervisor is gone")
            os._exit(0)

    def put_row(self) -> None:
        """Write the worker's row when it changed, and now and then."""
        task = self.current
        shown = (self.state, self.loaded, task and task.job.id)
        if shown == self._shown and time.monotonic() - self._row_at < ROW_S:
            return
        row = WorkerRow(
            id=self.worker_id,
            host=self.host,
            pid=os.getpid(),
            device=self.shop.device,
            device_name=self.shop.device_name,
            version=__version__,
            state=self.state,
            started=self.started,
            heartbeat=time.time(),
            loaded=self.loaded,
            job_id=task.job.id if task else None,
            memory=memory(self.shop.device),
        )
        try:
            self.shop.ledger.put_worker(row)
        except ClarivoxError:
            return
        self._shown, self._row_at = shown, time.monotonic()


def memory(device: str) -> dict[str, int]:
    """Bytes of this process, and of its GPU."""
    found = {}
    with suppress(OSError):  # where there is no /proc
        found["rss"] = int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")
    if device.startswith("cuda"):
        import torch

        free, total = torch.cuda.mem_get_info()
        found |= {"total": int(total), "free": int(free)}
    return found

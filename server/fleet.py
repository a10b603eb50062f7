# SPDX-License-Identifier: Apache-2.0
"""The supervisor: one worker process for each device, renewed whenever it ends. `python -m clarivox.server.fleet`.

It imports nothing that computes, so it is small and hard to bring down. What it knows of the jobs it knows from the
ledger; whatever dies, the worst that happens to a job is that it is begun again. SIGTERM drains: workers end the jobs
at work and take no more. A second SIGTERM, or the end of the process that started this one, gives the jobs back now.
"""

from __future__ import annotations

import json
import logging
import os
import secrets
import select
import shutil
import signal
import socket
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from clarivox.errors import ClarivoxError, NotFoundError
from clarivox.server.devices import devices, threads
from clarivox.server.logs import configure
from clarivox.server.orders import closed, opened
from clarivox.server.settings import Settings
from clarivox.server.slot import Slot

if TYPE_CHECKING:
    from clarivox.server.job import WorkerRow
    from clarivox.server.ledger import Ledger

logger = logging.getLogger("clarivox.server.fleet")

LOOK_S = 0.05
REAP_S = 1.0
SWEEP_S = 60.0
FORGOTTEN_S = 5.0
"""Silence after which a worker of this machine whose process is gone counts as dead, whoever started it."""
SICK = 70
"""Exit status of a worker whose device failed."""
COMMAND = (sys.executable, "-P", "-m", "clarivox.server.worker")


class Supervisor:
    """Keeps one worker running for each device.

    Args:
        settings: of the server.
        command: what a worker is started by; for tests.

    Raises:
        OptionError: a device is named that is not here.
    """

    def __init__(self, settings: Settings, command: Sequence[str] = COMMAND) -> None:
        self.settings, self.command = settings, tuple(command)
        self.host = socket.gethostname()
        # Two supervisors of one machine, as an old and a new one, must not take each other's workers for their own.
        mark = secrets.token_hex(3)
        found = devices(settings)
        self.slots = [Slot(f"{self.host}-{one.name}-{n}-{mark}", one) for n, one in enumerate(found)]
        self.cpu_threads = threads(settings, sum(one.name == "cpu" for one in found))
        self.draining = self.now = False
        self.work = settings.data_dir / "work"
        self._ledger: Ledger | None = None
        self._reap_at = self._sweep_at = 0.0

    @property
    def ledger(self) -> Ledger:
        """Opened after the first workers are on their way: they take longer to start."""
        if self._ledger is None:
            from clarivox.server.ledger import Ledger

            self._ledger = Ledger(self.settings.ledger_url, settings=self.settings)
        return self._ledger

    def run(self) -> None:
        """Supervise until drained."""
        (self.settings.data_dir / "tmp").mkdir(parents=True, exist_ok=True)
        self.fill()
        while not (self.draining and self.empty()):
            self.look()
            time.sleep(LOOK_S)
        for slot in self.slots:
            self.bury(slot.worker_id)

    def drain(self, *_: Any) -> None:
        """Let workers end their jobs and take no more; asked again, give the jobs back now."""
        self.now |= self.draining
        self.draining = True

    def drain_now(self, *_: Any) -> None:
        """Give the jobs back now."""
        self.draining = self.now = True

    def empty(self) -> bool:
        """Whether no worker runs; while draining it sees to that."""
        running = [slot for slot in self.slots if slot.runs]
        if self._drained_since is None:
            self._drained_since = time.monotonic()
            for slot in running:
                slot.send(signal.SIGTERM)
        if self.now or time.monotonic() - self._drained_since > self.settings.drain_s:
            for slot in running:
                slot.state = "draining"
                slot.send(signal.SIGKILL)
        return not running

    _drained_since: float | None = None

    def look(self) -> None:
        """One round: hear the workers, bury and replace the dead, end those that stand still."""
        for slot in self.slots:
            slot.listen()
            status = slot.ended()
            if status is not None:
                self.mourn(slot, status)
            elif slot.stands_still(self.settings.stall_s):
                logger.error("worker %s stands still and is ended", slot.worker_id)
                slot.stalled = True
                slot.send(signal.SIGKILL)
        if not self.draining:
            self.fill()
        if time.monotonic() > self._reap_at:
            self._reap_at = time.monotonic() + REAP_S
            self.reap()
            if time.monotonic() > self._sweep_at:
                self._sweep_at = time.monotonic() + SWEEP_S
                self.sweep()

    def fill(self) -> None:
        """Start a worker wherever one is missing."""
        every = {"TMPDIR": str(self.settings.data_dir.resolve() / "tmp"), "OMP_WAIT_POLICY": "PASSIVE"}
        for slot in self.slots:
            if slot.runs or slot.state == "quarantined" or time.monotonic() < slot.start_at:
                continue
            on_cpu = slot.device.name == "cpu"
            environment = {**every, "OMP_NUM_THREADS": str(self.cpu_threads)} if on_cpu else every
            order = {
                "settings": closed(self.settings),
                "id": slot.worker_id,
                "host": self.host,
                "device": slot.device.torch_name,
                "device_name": slot.device.label,
            }
            slot.start(self.command, order, environment)

    def mourn(self, slot: Slot, status: int) -> None:
        """A worker ended: give its jobs back, and say why."""
        at_work, slot.job = slot.job, None
        drained = slot.state == "draining" or self.draining
        if status == SICK and slot.fault(self.settings.quarantine_faults):
            logger.error("device %s failed too often and is out of use", slot.device.name)
        elif slot.state != "quarantined":
            slot.state = "dead"
        if status != 0:
            logger.warning("worker %s ended with status %d", slot.worker_id, status)
        why = "drain" if drained else "stalled" if slot.stalled else "device_fault" if status == SICK else "crash"
        self.give_back(slot.worker_id, at_work, why)
        self.bury(slot.worker_id, slot.state)

    def give_back(self, worker_id: str, at_work: tuple[str, int] | None, why: str) -> None:
        """Return every job that a dead worker holds; only the one at work may have brought it down."""
        from clarivox.server.job import State

        try:
            held, _ = self.ledger.jobs(states=(State.RUNNING,), limit=500)
            for job in held:
                if job.worker_id == worker_id:
                    blamed = why != "drain" and (job.id, job.attempt) == at_work
                    self.ledger.release(
                        job.id, job.attempt, reason=why, counted=blamed, crashed=blamed and why == "crash"
                    )
                    shutil.rmtree(self.work / f"{job.id}.{job.attempt}", ignore_errors=True)
        except ClarivoxError as error:
            logger.warning("the jobs of worker %s wait for their leases [%s]", worker_id, error.code)

    def bury(self, worker_id: str, state: str = "dead") -> None:
        """Write what became of a worker."""
        try:
            for row in self.ledger.workers():
                if row.id == worker_id and row.state != state:
                    self.ledger.put_worker(replace(row, state=state, job_id=None, loaded=()))
        except ClarivoxError as error:
            logger.warning("the row of worker %s is old [%s]", worker_id, error.code)

    def reap(self) -> None:
        """Take back jobs whose lease ended, and those of workers that died with an earlier supervisor."""
        try:
            self.ledger.reap()
            mine = {slot.worker_id for slot in self.slots}
            for row in self.ledger.workers():
                if row.host == self.host and row.id not in mine and forgotten(row):
                    self.give_back(row.id, None, "crash")
                    self.bury(row.id)
        except ClarivoxError as error:
            logger.warning("the ledger does not answer [%s]", error.code)

    def sweep(self) -> None:
        """Delete what trainings left that have ended while nobody held them."""
        kept = self.settings.data_dir / "training"
        for path in kept.iterdir() if kept.is_dir() else ():
            try:
                gone = self.ledger.get(path.name).ended
            except NotFoundError:
                gone = True
            except ClarivoxError:
                continue
            if gone:
                shutil.rmtree(path, ignore_errors=True)


def forgotten(row: WorkerRow) -> bool:
    """Whether a worker of this machine is gone, and nobody said so."""
    if row.state == "dead" or time.time() - row.heartbeat < FORGOTTEN_S:
        return False
    try:
        os.kill(row.pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False


def run_fleet(settings: Settings, command: Sequence[str] = COMMAND) -> None:
    """Supervise the workers of this machine in this process until it is told to end.

    Raises:
        OptionError: a device is named that is not here.
    """
    supervisor = Supervisor(settings, command)
    signal.signal(signal.SIGTERM, supervisor.drain)
    signal.signal(signal.SIGINT, supervisor.drain)
    signal.signal(signal.SIGQUIT, supervisor.drain_now)
    supervisor.run()


def main() -> None:
    """Supervise as the process that started this one says; it lives no longer than that one."""
    line = sys.stdin.readline()
    order = json.loads(line)
    settings = opened(order["settings"])
    configure(settings, "supervisor")
    supervisor = Supervisor(settings, order.get("command") or COMMAND)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, supervisor.drain)
    signal.signal(signal.SIGQUIT, supervisor.drain_now)

    def alone() -> None:
        select.select([sys.stdin], [], [])
        supervisor.drain_now()

    threading.Thread(target=alone, daemon=True).start()
    supervisor.run()


__all__ = ["Supervisor", "main", "run_fleet"]

if __name__ == "__main__":
    main()

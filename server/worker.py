# SPDX-License-Identifier: Apache-2.0
"""One worker: it takes jobs from the ledger and runs them on its device. `python -m clarivox.server.worker`.

Its supervisor starts it, hands it a line of JSON on its standard input, and reads lines of JSON from its standard
output. SIGTERM lets it end the job at work and take no more.
"""

from __future__ import annotations

import importlib
import json
import logging
import os
import signal
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

from clarivox.errors import CancelledError, ClarivoxError
from clarivox.server.parse_child import die_with_parent

if TYPE_CHECKING:
    from clarivox.server.job import Job
    from clarivox.server.task import Task
    from clarivox.server.work import Shop

logger = logging.getLogger("clarivox.server.worker")

POLL_S = 0.05
"""How often an idle worker asks for a job."""
AWAY_S = 0.3
"""How long it waits where the database does not answer."""
SICK = 70
"""Exit status after a device fault (EX_SOFTWARE)."""
GROWN_BYTES = 4 << 30
"""Memory beyond that of the networks, while no job is at work, from which a worker is replaced."""
NICENESS = 10
"""Of workers on the CPU, so that the API answers at once."""


class Worker:
    """The loop of one worker.

    Args:
        shop: what its jobs share.
        worker_id: in the ledger.
        host: of the machine.
        out: file descriptor to the supervisor, or None.
    """

    def __init__(self, shop: Shop, worker_id: str, host: str, out: int | None = None) -> None:
        from clarivox.server.ahead import Ahead
        from clarivox.server.pulse import Pulse
        from clarivox.server.training_lane import TrainingLane

        self.shop, self.worker_id = shop, worker_id
        self.pulse = Pulse(shop, worker_id, host, out)
        self.ahead = Ahead(shop, self.pulse, worker_id)
        self.training = TrainingLane(shop, self.pulse, worker_id)
        self.draining = False
        self.done = 0

    def run(self) -> int:
        """Work until drained, renewed or sick; the exit status."""
        self.pulse.start()
        if self.shop.device == "cpu":
            # Of this thread and of those it starts. The pulse holds the ledger's lock now and then, and must not wait
            # for a processor meanwhile.
            os.nice(NICENESS)
        self.shop.nursery.start()
        self.listen()
        self.preload()
        self.pulse.become("ready")
        self.ahead.start()
        self.training.start()
        status = 0
        while not self.draining and not self.worn():
            task = self.next_task()
            if task is None:
                time.sleep(POLL_S)
            elif self.attempt(task):
                status = SICK
                break
        self.ahead.give_back()
        self.training.stop()
        self.pulse.become("dead")
        self.pulse.put_row()
        self.shop.nursery.close()
        return status

    def worn(self) -> bool:
        """Whether this process is to be replaced: after many jobs, or when it has grown."""
        from clarivox.server.pulse import memory

        if self.done == 0:
            return False
        most = self.shop.settings.model_cache_bytes + GROWN_BYTES
        return self.done >= self.shop.settings.recycle_jobs or memory("cpu").get("rss", 0) > most

    def drain(self, *_: Any) -> None:
        """Take no more jobs; asked again, give back the one at work."""
        if self.draining:
            for task in self.pulse.tasks:
                task.released = True
        self.draining = True
        self.pulse.state = "draining"

    def preload(self) -> None:
        """Load what the settings name, so that the first job need not wait."""
        for name in self.shop.settings.preload:
            try:
                self.shop.shelf.load(name)
            except ClarivoxError as error:
                logger.error("bundle %s is not loaded [%s]", name, error.code)
        self.show_loaded()

    def show_loaded(self) -> None:
        """Let the ledger know which bundles are in memory."""
        self.pulse.loaded = tuple(sorted({bundle.info.name for bundle in self.shop.shelf}))

    def listen(self) -> Any:
        """Let each layer show that the work goes on, and stop where it is to stop; gives what takes that back."""
        from torch.nn.modules.module import register_module_forward_pre_hook

        mine = threading.get_ident()

        def look(_module: Any, _inputs: Any) -> None:
            task = self.pulse.current
            if task is not None and threading.get_ident() == mine:
                task.alive()

        return register_module_forward_pre_hook(look)

    def next_task(self) -> Task | None:
        """The job that was taken ahead, or the next of the queue."""
        from clarivox.server.job import Kind

        task = self.ahead.take()
        if task is not None:
            return task
        try:
            job = self.shop.ledger.claim(self.worker_id, loaded=self.pulse.loaded, kinds=(Kind.ENHANCE,))
        except ClarivoxError as error:
            logger.warning("no job can be asked for [%s]", error.code)
            time.sleep(AWAY_S)
            return None
        return None if job is None else self.begun(job)

    def begun(self, job: Job) -> Task:
        """A job that was claimed, with its lease kept from now on."""
        from clarivox.server.task import Task

        task = Task(job, self.shop.settings.data_dir / "work" / f"{job.id}.{job.attempt}")
        self.pulse.hold(task)
        return task

    def attempt(self, task: Task) -> bool:
        """Run one job to its end, whatever that is; True where this process must end."""
        from clarivox.server import telemetry
        from clarivox.server.logs import job_bound

        job = task.job
        facts: dict[str, str | int] = {
            "clarivox.job": job.id,
            "clarivox.bundle": job.bundle,
            "clarivox.attempt": job.attempt,
        }
        with job_bound(job=job.id), telemetry.span("job", job.trace, **facts):
            return self._attempt(task)

    def _attempt(self, task: Task) -> bool:
        from clarivox.server import work
        from clarivox.server.ending import settle

        self.pulse.work_on(task)
        logger.info("job %s begun, attempt %d", task.job.id, task.job.attempt)
        try:
            if task.failure is not None:
                raise task.failure
            task.alive()
            if task.child is None:
                work.prepare(task, self.shop)
            end: Any = work.enhance(task, self.shop)
        except Exception as error:  # noqa: BLE001  whatever it is, the next job must not suffer
            end = CancelledError("stopped") if task.stopped else error
        self.show_loaded()
        sick = settle(task, self.shop, end)
        self.pulse.drop(task)
        self.pulse.work_on(None)
        self.done += 1
        logger.info("job %s ended in %s", task.job.id, end.state if hasattr(end, "state") else type(end).__name__)
        return sick


def main() -> None:
    """Run one worker, as its supervisor says on the standard input."""
    die_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # of a terminal; the supervisor says when to end
    stop: list[Any] = []
    signal.signal(signal.SIGTERM, lambda *_: stop.append(True))
    out = os.dup(1)
    os.dup2(2, 1)  # what a library prints is no message
    order = json.loads(sys.stdin.readline())
    worker = built(order, out)
    signal.signal(signal.SIGTERM, worker.drain)
    if stop:
        worker.drain()
    warm()
    status = worker.run()
    finished()
    sys.stdout.flush()
    os._exit(status)  # a device that failed may hang in what libraries do at the end


def finished() -> None:
    """Send the traces that are left."""
    from clarivox.server import telemetry

    telemetry.stop()


def warm() -> None:
    """Import what takes long, before any thread begins: two that import torch at once find it half made."""
    for name in ("monai.bundle", "clarivox.windows", "clarivox.prepare", "clarivox.restore"):
        importlib.import_module(name)


def built(order: dict[str, Any], out: int | None) -> Worker:
    """A worker as the supervisor's order says."""
    from clarivox.bundle import Shelf
    from clarivox.server import telemetry
    from clarivox.server.blobs import Blobs
    from clarivox.server.child_link import Nursery
    from clarivox.server.ledger import Ledger
    from clarivox.server.logs import configure
    from clarivox.server.orders import opened
    from clarivox.server.work import Shop

    settings = opened(order["settings"])
    configure(settings, "worker")
    telemetry.start(settings, "worker")
    ledger = Ledger(settings.ledger_url, settings=settings)
    blobs = Blobs(settings.data_dir, settings)
    own = settings.data_dir / "bundles"
    own.mkdir(exist_ok=True)
    shelf = Shelf(settings.model_cache_bytes, [*settings.bundle_dirs, own])
    shop = Shop(settings, ledger, blobs, shelf, Nursery(settings), order["device"], order["device_name"])
    return Worker(shop, order["id"], order["host"], out)


if __name__ == "__main__":
    main()

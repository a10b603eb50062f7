# SPDX-License-Identifier: Apache-2.0
"""A server on a port of its own in this process, with a worker that enhances nothing: for MONAI Label's routes.

The requests and the answers are real; only the work is not. tests/e2e has the whole.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import uvicorn

from clarivox.server.deps import Services
from clarivox.server.job import Job, Kind, Outcome, Role, State
from clarivox.server.ledger import Ledger
from clarivox.server.main import create_app, listening
from clarivox.server.settings import Settings

GRID = {
    "shape": [5, 4, 3],
    "affine": [[0.7, 0, 0, -20.0], [0, 0.7, 0, 33.0], [0, 0, 2.5, -7.0], [0, 0, 0, 1.0]],
}
"""As a worker tells of the first volume of an input: X, Y, Z."""


@dataclass
class FakeWorker:
    """Ends every job well and at once: its result is its input."""

    settings: Settings
    error: dict[str, Any] | None = None
    """What it lets jobs fail with."""
    done: list[Job] = field(default_factory=list)
    _may_work: bool = True
    _at_work: threading.Lock = field(default_factory=threading.Lock)

    def run(self, stop: threading.Event) -> None:
        """Work until told to stop."""
        ledger = Ledger(self.settings.ledger_url, settings=self.settings)
        while not stop.wait(0.005):
            with self._at_work:
                job = ledger.claim("fake", kinds=(Kind.ENHANCE, Kind.TRAIN)) if self._may_work else None
                if job is not None:
                    self.done.append(job)
                    ledger.beat(job.id, job.attempt, stage="enhance", done=0.5)
                    ledger.finish(job.id, job.attempt, self.outcome(job))
        ledger.close()

    def pause(self) -> None:
        """Let it take no more jobs."""
        with self._at_work:
            self._may_work = False

    def go_on(self) -> None:
        """Let it work again."""
        self._may_work = True

    def outcome(self, job: Job) -> Outcome:
        """What a job comes to."""
        if self.error is not None:
            return Outcome(State.FAILED, error=self.error)
        file = job.inputs[0]
        result = replace(file, role=Role.RESULT, name=file.name.replace("image", "result"))
        figures = {"noise": {"before": 2.0, "after": 1.0, "unit": ""}}
        metrics = {"grid": GRID, "read_s": 0.1, "enhance_s": 0.2, "write_s": 0.1, "figures": figures}
        return Outcome(State.SUCCEEDED, (result,), notes=("nothing was done",), metrics=metrics)


@dataclass
class LabelServer:
    """A running server."""

    url: str
    port: int
    parts: Services
    worker: FakeWorker


@contextmanager
def label_server(folder: Path, **settings: Any) -> Iterator[LabelServer]:
    """A server with a data folder, and its worker."""
    chosen = Settings(data_dir=folder / "data", port=0, disk_watermark_bytes=0, disk_reserve_bytes=0, **settings)
    app = create_app(chosen, workers=False)
    sock = listening(chosen)
    port = int(sock.getsockname()[1])
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, access_log=False, timeout_graceful_shutdown=2))
    stop, worker = threading.Event(), FakeWorker(chosen)
    threads = [
        threading.Thread(target=server.run, kwargs={"sockets": [sock]}),
        threading.Thread(target=worker.run, args=(stop,)),
    ]
    threads[0].start()
    until(lambda: server.started)
    threads[1].start()
    try:
        yield LabelServer(f"http://127.0.0.1:{port}", port, app.state.services, worker)
    finally:
        stop.set()
        server.should_exit = True
        for thread in threads[::-1]:
            thread.join(20)


def until(true: Callable[[], Any], within_s: float = 60.0) -> Any:
    """Waits for something to be true, and gives it.

    Raises:
        TimeoutError: it did not become true.
    """
    end = time.monotonic() + within_s
    while time.monotonic() < end:
        if found := true():
            return found
        time.sleep(0.01)
    raise TimeoutError

# SPDX-License-Identifier: Apache-2.0
"""Runs on the server in a thread of their own, so that the application never waits. The standard library alone."""

from __future__ import annotations

import shutil
import tempfile
import threading
from pathlib import Path

from clarivox import errors
from clarivox.client import Client


class Run:
    """One volume on its way through the server.

    Attributes:
        state: waiting, sending, queued, running, fetching, done, failed or cancelled.
        done: share of the whole that is done, 0 to 1.
        eta_s: seconds left, or None.
        words: what went wrong, or what the result says about itself.
        code: stable code of what went wrong.
        result: path of the result, once done; it goes with `close`.
    """

    def __init__(self, client: Client, path: str, bundle: str, options: dict, **params: object) -> None:
        self.client = client
        self.path = path
        self.bundle = bundle
        self.options = options
        self.params = params
        self.state, self.done, self.eta_s, self.words, self.code, self.result = "waiting", 0.0, None, "", "", ""
        self.job = None
        self._stop = threading.Event()
        self._folder = tempfile.mkdtemp(prefix="clarivox-slicer-")
        self._thread = threading.Thread(target=self._go, name="clarivox", daemon=True)

    @property
    def over(self) -> bool:
        """Whether nothing more will happen."""
        return self.state in ("done", "failed", "cancelled")

    def start(self) -> Run:
        """Begin."""
        self._thread.start()
        return self

    def cancel(self) -> None:
        """Stop it, here and on the server."""
        self._stop.set()

    def wait(self, timeout_s: float | None = None) -> bool:
        """Wait until it is over; for scripts and tests, never from a window."""
        self._thread.join(timeout_s)
        return self.over

    def close(self) -> None:
        """Delete its temporary files."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def _go(self) -> None:
        try:
            self._run()
        except _Stopped:
            self._cancelled()
        except errors.CancelledError:
            self.state = "cancelled"
        except errors.ClarivoxError as error:
            self.words, self.code, self.state = str(error), error.code, "failed"
        except OSError as error:
            self.words, self.code, self.state = f"a file cannot be used: {error.strerror}", "cannot_write", "failed"

    def _run(self) -> None:
        self.state = "sending"
        like = self.params.pop("like", None)
        sent = self._share(0.0, 0.1)
        self.job = self.client.submit(self.path, self.bundle, like=like, sent=sent, options=self.options, **self.params)
        watcher = threading.Thread(target=self._watch, daemon=True)
        watcher.start()
        for job in self.client.follow(self.job):
            self.job = job
            self.state = "queued" if job.state == "queued" else "running"
            self.eta_s = job.eta_s
            self.done = 0.1 + 0.8 * (job.done if job.stage == "enhance" else 1.0 if job.ended else 0.0)
        self.job.checked()
        self.words = "; ".join(self.job.content.get("notes") or ())
        self.state = "fetching"
        name = (self.job.file() or {}).get("name") or "result.nrrd"
        target = str(Path(self._folder, "result" + Path(name).suffix))
        self.client.download(self.job, target, got=self._share(0.9, 1.0))
        self.result, self.done, self.state = target, 1.0, "done"

    def _share(self, low: float, high: float):
        """A function that takes bytes done and bytes in all, and stops the transfer where that was asked."""

        def told(done: int, total: int) -> None:
            self.done = low + (high - low) * done / max(1, total)
            if self._stop.is_set():
                raise _Stopped

        return told

    def _watch(self) -> None:
        """Pass a wish to stop on to the server, whose events may be far apart."""
        while not self.over:
            if self._stop.wait(0.2):
                self._tell_server()
                return

    def _tell_server(self) -> None:
        try:
            self.client.cancel(self.job)
        except errors.ClarivoxError as error:
            # It ended in the meantime; what it came to is told by the other thread.
            self.code = error.code

    def _cancelled(self) -> None:
        if self.job is not None:
            self._tell_server()
        self.state = "cancelled"


class _Stopped(Exception):  # noqa: N818
    """The user stopped a transfer."""

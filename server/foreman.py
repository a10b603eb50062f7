# SPDX-License-Identifier: Apache-2.0
"""Work that is only watched: batches and scorings of MONAI Label, results that come into the datastore.

A batch is a job of the ledger that the process of the API holds by a lease, like any worker. Its images are jobs of
their own with keys that make each of them once, so that whoever holds the batch after a restart goes on with it.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from dataclasses import dataclass, field
from typing import Any

from clarivox.errors import BusyError, ClarivoxError, ConflictError, NotFoundError
from clarivox.server.datastore import Image
from clarivox.server.job import Job, Kind, NewJob, Outcome, State
from clarivox.server.label_parts import BATCH, Labels
from clarivox.server.label_tasks import inputs_of, submitted

LOOK_S = 0.5
SWEEP_S = 60.0
LEASE_S = 10.0
"""Short: a batch that lost its holder goes on so long after it."""
AT_ONCE = 16
"""Images of one batch in the queue: others' share of it stays free."""
MOST = 4
"""Batches held at once."""

log = logging.getLogger("clarivox.server.foreman")


@dataclass
class Held:
    """One batch or scoring."""

    job: Job
    waiting: list[str]
    """Keys of images that have no job yet, the next one last."""
    open: dict[str, str] = field(default_factory=dict)
    """Jobs that have not ended, by the key of their image."""
    counts: dict[str, int] = field(default_factory=dict)
    """Images that ended, by state."""
    first_error: dict[str, Any] | None = None

    def ended(self, state: str, error: dict[str, Any] | None = None) -> None:
        """Counts an image."""
        self.counts[state] = self.counts.get(state, 0) + 1
        self.first_error = self.first_error or error

    @property
    def share(self) -> float:
        """Of the images, how many have ended."""
        done = sum(self.counts.values())
        return done / max(1, done + len(self.open) + len(self.waiting))


class Foreman:
    """A thread that holds batches and settles the datastore until it is told to stop."""

    def __init__(self, labels: Labels) -> None:
        self._labels, self._ledger = labels, labels.parts.ledger
        self._name = f"foreman-{os.getpid()}"
        self._held: list[Held] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="foreman", daemon=True)
        self._swept = 0.0
        self._bundles = self._stamp()

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End; what is held goes back to the queue."""
        self._stop.set()
        self._thread.join()
        for held in self._held:
            try:
                self._ledger.release(held.job.id, held.job.attempt, reason="drain", counted=False)
            except ClarivoxError as error:
                log.warning("a batch could not be given back: %s", error.code)

    def _run(self) -> None:
        while not self._stop.wait(LOOK_S):
            try:
                self.look()
            except (ClarivoxError, OSError) as error:
                log.warning("looking after batches failed: %s", getattr(error, "code", "os_error"))

    def look(self) -> None:
        """Take what waits, bring on what is held, settle what has ended."""
        self._labels.datastore.settle()
        stamp = self._stamp()
        if stamp != self._bundles:
            self._bundles = stamp
            self._labels.parts.catalogue.refresh()
        if time.monotonic() - self._swept > SWEEP_S:
            self._swept = time.monotonic()
            self._labels.sessions.sweep()
        while len(self._held) < MOST:
            job = self._ledger.claim(self._name, kinds=(Kind.BATCH, Kind.SCORING), lease_s=LEASE_S)
            if job is None:
                break
            self._held.append(self.taken(job))
        self._held = [held for held in self._held if self.brought_on(held)]

    def _stamp(self) -> int:
        """When a training last put a bundle beside the others."""
        try:
            return (self._labels.parts.settings.data_dir / "bundles").stat().st_mtime_ns
        except FileNotFoundError:
            return 0

    def taken(self, job: Job) -> Held:
        """A batch with what became of its images so far."""
        held = Held(job, list(job.params.get("images", ()))[::-1])
        after: str | None = None
        while True:
            page, after = self._ledger.jobs(parent=job.id, after=after, limit=500)
            for one in page:
                key = one.tags.get("image", "")
                if key not in held.waiting:
                    continue
                held.waiting.remove(key)
                if one.ended:
                    held.ended(one.state, one.error)
                else:
                    held.open[key] = one.id
            if after is None:
                return held

    def brought_on(self, held: Held) -> bool:
        """One look at a batch; False where it is no longer ours."""
        for key, job_id in list(held.open.items()):
            job = self._ledger.get(job_id)
            if job.ended:
                del held.open[key]
                held.ended(job.state, job.error)
        beat = self._ledger.beat(held.job.id, held.job.attempt, stage="work", done=round(held.share, 3))
        if not beat.alive:
            return False
        if beat.cancel:
            self.cancelled(held)
            return False
        if held.job.kind == Kind.SCORING:
            self._ledger.finish(held.job.id, held.job.attempt, self.scored(held.job))
            return False
        while held.waiting and len(held.open) < AT_ONCE and self.submitted_next(held):
            pass
        if held.open or held.waiting:
            return True
        self._labels.datastore.settle()
        self._ledger.finish(held.job.id, held.job.attempt, outcome(held))
        return False

    def submitted_next(self, held: Held) -> bool:
        """Makes the job of the next image; False where the queue has no room now."""
        key = held.waiting[-1]
        try:
            image = self._labels.datastore.get(key)
            made = submitted(self._labels, self.new_job(held.job, image), key, image.name)
        except BusyError:
            return False
        except (NotFoundError, ConflictError) as error:
            held.ended(State.FAILED, {"code": error.code, "detail": str(error)})
        else:
            held.open[key] = made.id
        held.waiting.pop()
        return True

    def new_job(self, batch: Job, image: Image) -> NewJob:
        """The job of one image; asked for twice, it is one job."""
        return NewJob(
            batch.owner,
            inputs_of((image.file,)),
            bundle=batch.bundle,
            bundle_version=batch.bundle_version,
            params=batch.params["job"],
            priority=BATCH,
            max_attempts=self._labels.parts.settings.max_attempts,
            tags={"via": "monailabel", "image": image.key},
            parent_id=batch.id,
            idem_key=f"batch:{batch.id}:{image.key}",
        )

    def cancelled(self, held: Held) -> None:
        """Cancels the images that have not ended, and the batch."""
        for job_id in held.open.values():
            try:
                self._ledger.cancel(job_id)
            except ConflictError:
                continue
        figures = dict(outcome(held).metrics)
        self._ledger.finish(held.job.id, held.job.attempt, Outcome(State.CANCELLED, metrics=figures))

    def scored(self, job: Job) -> Outcome:
        """What the results in the datastore changed, by bundle; each image is told its own figures."""
        found: dict[str, list[dict[str, float]]] = {}
        for image in self._labels.datastore.images(enhanced=True):
            figures = self._figures(image)
            if figures:
                self._labels.datastore.tell(image.name, {"scores": figures})
                found.setdefault(image.bundle, []).append(figures)
        metrics = {"method": job.params.get("method"), "images": sum(map(len, found.values()))}
        return Outcome(
            State.SUCCEEDED, metrics=metrics | {"bundles": {name: means(rows) for name, rows in found.items()}}
        )

    def _figures(self, image: Image) -> dict[str, float]:
        try:
            metrics = self._ledger.get(image.job or "").metrics
        except NotFoundError:
            return {}
        return {
            f"{name} {side}": one[side]
            for name, one in metrics.get("figures", {}).items()
            for side in ("before", "after")
            if one.get(side) is not None
        }


def outcome(held: Held) -> Outcome:
    """What a batch came to: it fails only where no image was enhanced."""
    done = held.counts.get(State.SUCCEEDED, 0) + held.counts.get(State.PURGED, 0)
    total = sum(held.counts.values()) + len(held.open) + len(held.waiting)
    figures = {"images": total, "enhanced": done, "failed": total - done}
    if total and not done:
        return Outcome(State.FAILED, metrics=figures, error=failed(held))
    return Outcome(State.SUCCEEDED, metrics=figures)


def failed(held: Held) -> dict[str, Any]:
    """Why a batch failed: as its first image did."""
    first = held.first_error or {}
    return {
        "code": first.get("code", "batch_failed"),
        "title": first.get("title", "No image was enhanced"),
        "status": first.get("status", 422),
        "detail": f"no image was enhanced; the first: {first.get('detail', 'cancelled')}",
        "retryable": False,
    }


def means(rows: list[dict[str, float]]) -> dict[str, float]:
    """The mean of each figure over the rows that have it.

    >>> means([{"a": 1.0, "b": 2.0}, {"a": 3.0}])
    {'a': 2.0, 'b': 2.0}
    """
    names = dict.fromkeys(name for row in rows for name in row)
    by_name = {name: [row[name] for row in rows if name in row] for name in names}
    return {name: sum(values) / len(values) for name, values in by_name.items()}

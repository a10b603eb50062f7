# SPDX-License-Identifier: Apache-2.0
"""What a job is: the words that the ledger, the workers and the routes share."""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class State(StrEnum):
    """Where a job stands."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"
    """Its deadline passed before it was done."""
    PURGED = "purged"
    """It ended, and its files were deleted when their time was over."""


ENDED = frozenset({State.SUCCEEDED, State.FAILED, State.CANCELLED, State.EXPIRED, State.PURGED})
"""States that nothing leaves, but for the way to purged."""


class Kind(StrEnum):
    """What a job does."""

    ENHANCE = "enhance"
    BATCH = "batch"
    """Makes a job for each image of the datastore, and ends when they have."""
    TRAIN = "train"
    SCORING = "scoring"
    """Gathers what the results of the datastore changed."""


class Role(StrEnum):
    """What a file is to its job."""

    INPUT = "input"
    LIKE = "like"
    """The DICOM series whose headers a result takes."""
    RESULT = "result"
    EVIDENCE = "evidence"
    """The page that shows what changed."""
    INDEX = "index"
    """What a DICOM series holds, as JSON, for the routes of DICOMweb."""


@dataclass(frozen=True)
class FileRef:
    """A file of a job, in the store of blobs. Its name is ours; a client's name is never kept."""

    role: str
    sha256: str
    bytes: int
    media: str
    """Its type as IANA has it, as application/dicom, application/zip, application/gzip."""
    name: str
    """What a download is called, as result.nii.gz."""


@dataclass(frozen=True)
class NewJob:
    """What is asked for."""

    owner: str
    inputs: tuple[FileRef, ...]
    bundle: str = ""
    bundle_version: str = ""
    kind: str = Kind.ENHANCE
    params: Mapping[str, Any] = field(default_factory=dict)
    priority: int = 0
    """Higher runs first, -100 to 100."""
    deadline: float | None = None
    """Seconds since 1970; a job that is not done by then expires."""
    not_before: float = 0.0
    max_attempts: int = 3
    tags: Mapping[str, str] = field(default_factory=dict)
    idem_key: str | None = None
    request_hash: str | None = None
    parent_id: str | None = None
    trace: str | None = None
    """A W3C traceparent."""
    study: str | None = None
    """Digest of the StudyInstanceUID, by `clarivox.server.dicom_store.key_of`, where it is known already."""


@dataclass(frozen=True)
class Job:
    """One row of the ledger. Times are seconds since 1970, UTC."""

    id: str
    owner: str
    kind: str
    bundle: str
    bundle_version: str
    params: dict[str, Any]
    inputs: tuple[FileRef, ...]
    state: State
    priority: int
    tags: dict[str, str]
    created: float
    not_before: float
    deadline: float | None
    started: float | None
    finished: float | None
    attempt: int
    """How often it was begun; together with the lease the fence of every change."""
    max_attempts: int
    crash_count: int
    worker_id: str | None
    lease_until: float | None
    cancel_requested: bool
    stage: str
    done: float
    """Share of the stage that is done, 0 to 1."""
    eta_s: float | None
    progress_at: float | None
    error: dict[str, Any] | None
    """code, title, detail, status (of HTTP), retryable."""
    results: tuple[FileRef, ...]
    notes: tuple[str, ...]
    degradations: tuple[str, ...]
    """Each step of the out-of-memory ladder, each fallback."""
    metrics: dict[str, Any]
    parent_id: str | None
    trace: str | None
    expires_at: float | None
    """When its files are deleted."""
    seq: int
    """Goes up with each change."""

    @property
    def ended(self) -> bool:
        """Whether nothing more will happen to it."""
        return self.state in ENDED


@dataclass(frozen=True)
class Outcome:
    """What an attempt came to."""

    state: State
    """SUCCEEDED, FAILED or CANCELLED."""
    results: tuple[FileRef, ...] = ()
    notes: tuple[str, ...] = ()
    degradations: tuple[str, ...] = ()
    metrics: Mapping[str, Any] = field(default_factory=dict)
    error: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Beat:
    """What a worker hears when it says that it lives."""

    alive: bool
    """False where the attempt is no longer its own: it stops and publishes nothing."""
    cancel: bool
    """True where the user asked to stop."""


@dataclass(frozen=True)
class Event:
    """A change of a job, as a client that follows it sees it."""

    seq: int
    job_id: str
    attempt: int
    at: float
    type: str
    """created, started, stage, degraded, requeued, succeeded, failed, cancelled, expired, purged."""
    data: dict[str, Any]


@dataclass(frozen=True)
class WorkerRow:
    """A worker process, as the ledger knows it."""

    id: str
    host: str
    pid: int
    device: str
    """cpu, cuda:0, mps."""
    device_name: str
    version: str
    state: str
    """starting, ready, busy, draining, quarantined or dead."""
    started: float
    heartbeat: float
    loaded: tuple[str, ...] = ()
    """Bundles in its memory."""
    job_id: str | None = None
    memory: dict[str, int] = field(default_factory=dict)
    """Bytes: rss, and of a GPU total and free."""


def new_id() -> str:
    """A UUID of version 7: unique, and in the order of time.

    >>> new_id() < new_id(), len(new_id())
    (True, 36)
    """
    global _last
    now = max(time.time_ns() // 1000, _last + 1)
    _last = now
    milliseconds, rest = divmod(now, 1000)
    head = milliseconds << 80 | 0x7 << 76 | (rest * 4096 // 1000) << 64
    return str(uuid.UUID(int=head | 0b10 << 62 | int.from_bytes(os.urandom(8), "big") >> 2))


_last = 0

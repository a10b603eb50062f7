# SPDX-License-Identifier: Apache-2.0
"""What gets into the queue, and what is refused."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from sqlalchemy import Connection, RowMapping, func, insert, select, update

from clarivox.errors import BusyError, ConflictError, NotFoundError, OptionError
from clarivox.server import transitions
from clarivox.server.dialects import Database
from clarivox.server.job import ENDED, FileRef, Job, NewJob, State, new_id
from clarivox.server.rows import is_id, row_of_new, storable
from clarivox.server.settings import Settings
from clarivox.server.tables import dicom_series, job

Has = Callable[[str], bool]
KEY_S = 86_400.0
"""How long an idempotency key stands for its request, at least."""


def check(new: NewJob) -> None:
    """Look whether a job can be kept at all.

    Raises:
        OptionError: a value is out of range.
    """
    texts = {"owner": new.owner, "kind": new.kind, "bundle": new.bundle, "idempotency key": new.idem_key or ""}
    texts |= {"trace": new.trace or "", "request hash": new.request_hash or "", "version": new.bundle_version}
    limits = {"kind": 32, "request hash": 64, "version": 64}
    for name, value in texts.items():
        if not storable(value, limits.get(name, 255)):
            raise OptionError(f"the {name} is too long or holds characters that are no text", code="bad_text")
    if not -100 <= new.priority <= 100:
        raise OptionError(f"priority is -100 to 100; found {new.priority}", code="bad_priority")
    if not 1 <= new.max_attempts <= 1000:
        raise OptionError(f"attempts are 1 to 1000; found {new.max_attempts}", code="bad_attempts")
    if not all(math.isfinite(one) for one in (new.deadline or 0.0, new.not_before)):
        raise OptionError("a time is a number of seconds since 1970", code="bad_time")
    if new.parent_id is not None and not is_id(new.parent_id):
        raise OptionError("the parent is not the identifier of a job", code="bad_parent")


def check_cursor(after: str | None) -> None:
    """Look whether a cursor is one of ours.

    Raises:
        OptionError: it is not.
    """
    if after is not None and not is_id(after):
        raise OptionError("the cursor is not one of an earlier page; begin without one", code="bad_cursor")


def check_files(files: Sequence[FileRef], has: Has | None) -> None:
    """Look whether files are in the store.

    Raises:
        NotFoundError: one is not.
    """
    for file in files:
        if has is not None and not has(file.sha256):
            raise NotFoundError("a file of the job is not in the store; upload it again", code="no_such_blob")


def submit(
    database: Database, connection: Connection, new: NewJob, settings: Settings, has: Has | None
) -> tuple[RowMapping, bool]:
    """Put a job into the queue, in a transaction that runs alone: its row, and whether it was made anew.

    Raises:
        ConflictError: the owner's key was used for another request.
        BusyError: the queue, or the owner's share of it, is full.
        NotFoundError: a file is not in the store.
    """
    now = database.now(connection)
    if new.idem_key is not None:
        same = select(job).where(job.c.owner == new.owner, job.c.idem_key == new.idem_key)
        row = connection.execute(same).mappings().first()
        if row is not None and (row["state"] not in ENDED or now - row["created"] < KEY_S):
            if row["request_hash"] != new.request_hash:
                raise ConflictError("this idempotency key stands for another request", code="idempotency_mismatch")
            return row, False
        if row is not None:
            connection.execute(update(job).where(job.c.id == row["id"]).values(idem_key=None))
    check_room(connection, new.owner, settings)
    check_files(new.inputs, has)
    job_id = new_id()
    connection.execute(insert(job).values(**row_of_new(job_id, new, now)))
    for file in new.inputs:
        transitions.use(database, connection, f"job:{job_id}", file.sha256, file.role)
    note_study(database, connection, job_id, new)
    row = connection.execute(select(job).where(job.c.id == job_id)).mappings().one()
    transitions.say(database, connection, row, "created", now)
    return row, True


def note_study(database: Database, connection: Connection, job_id: str, new: NewJob) -> None:
    """Note of which study a job is, where that is known before its files are looked into; a retry is of the same."""
    studies = {new.study} if new.study is not None else set()
    if new.parent_id is not None:
        before = select(dicom_series.c.study).where(dicom_series.c.job_id == new.parent_id)
        studies |= set(connection.scalars(before))
    for study in sorted(studies):
        row = {"job_id": job_id, "sha256": "", "study": study, "series": ""}
        database.upsert(connection, dicom_series, tuple(row), row)


def check_room(connection: Connection, owner: str, settings: Settings) -> None:
    """Look whether the queue takes one more.

    Raises:
        BusyError: it does not.
    """
    queued = select(func.count()).where(job.c.state == State.QUEUED.value)
    if int(connection.scalar(queued) or 0) >= settings.queue_jobs:
        said = f"the queue holds {settings.queue_jobs} jobs; ask again later"
        raise BusyError(said, code="queue_full", retry_after_s=10)
    if int(connection.scalar(queued.where(job.c.owner == owner)) or 0) >= settings.owner_jobs:
        said = f"{settings.owner_jobs} of your jobs wait already; ask again when some have begun"
        raise BusyError(said, code="owner_quota", retry_after_s=10)


def again(old: Job) -> NewJob:
    """The same request once more.

    Raises:
        ConflictError: the job has not ended, or its files are deleted.
    """
    if not old.ended:
        raise ConflictError("the job has not ended", code="not_ended")
    if old.state is State.PURGED:
        raise ConflictError("the files of the job are deleted; submit them again", code="purged")
    return NewJob(
        owner=old.owner,
        inputs=old.inputs,
        bundle=old.bundle,
        bundle_version=old.bundle_version,
        kind=old.kind,
        params=old.params,
        priority=old.priority,
        max_attempts=old.max_attempts,
        tags=old.tags,
        parent_id=old.id,
        trace=old.trace,
    )

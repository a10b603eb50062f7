# SPDX-License-Identifier: Apache-2.0
"""What becomes of jobs whose worker is silent or whose time is over, and of files that nobody uses."""

from __future__ import annotations

import math
import re
import shutil
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from sqlalchemy import ColumnElement, Connection, RowMapping, and_, delete, or_, select, update

from clarivox.server import transitions
from clarivox.server.blobs import Blobs
from clarivox.server.dialects import Database
from clarivox.server.job import State
from clarivox.server.settings import Settings
from clarivox.server.tables import blob_loose, blob_use, dicom_series, job, job_event, worker, workitem, workitem_event

BATCH = 200
"""Jobs of one transaction, so that others wait only a moment; files of one question."""
DAY_S = 86_400.0
SILENT_LEASES = 3
"""A worker that says nothing for so many leases is dead."""
UNUSED_S = DAY_S
"""How long a file is kept that nothing uses: an upload whose job is yet to come."""
PARTIAL_S = DAY_S
"""How long an upload that broke off can be taken up again."""
WORK = re.compile(r"[0-9a-f-]{36}\.\d+")
LOOSE_S = 60.0
"""The same for a file whose last user went: it may just have been stored again for a job that is yet to come."""
YOUNG_S = 0.4
"""The same for a file whose last user had it deleted."""


def reap(database: Database, settings: Settings) -> int:
    """Take back jobs whose lease is over, end those that are too late; how many were changed."""
    changed = 0
    bury(database, settings)
    while True:
        with database.read() as connection:
            late = overdue(database.now(connection), database.lease_now(connection))
            if connection.execute(select(job.c.id).where(late).limit(1)).first() is None:
                return changed
        with database.write() as connection:
            now = database.now(connection)
            late = overdue(now, database.lease_now(connection))
            query = select(job).where(late).order_by(job.c.id).limit(BATCH).with_for_update(skip_locked=True)
            rows = connection.execute(query).mappings().all()
            changed += sum(reap_one(database, connection, row, now, settings) for row in rows)
        if len(rows) < BATCH:
            return changed


def overdue(now: float, lease_now: float) -> ColumnElement[bool]:
    """What holds for a job that a reaper must change."""
    running, queued = job.c.state == State.RUNNING.value, job.c.state == State.QUEUED.value
    return or_(and_(running, job.c.lease_until < lease_now), and_(or_(running, queued), job.c.deadline <= now))


def reap_one(database: Database, connection: Connection, row: RowMapping, now: float, settings: Settings) -> bool:
    """Change one such job."""
    if row["deadline"] is not None and row["deadline"] <= now:
        late = transitions.too_late()
        return transitions.end(database, connection, row, State.EXPIRED, now, settings, error=late)
    return transitions.requeue(database, connection, row, now, settings, reason="lease_lost")


def bury(database: Database, settings: Settings) -> None:
    """Mark silent workers as dead, and forget those that were not seen for a day."""
    with database.read() as connection:
        now = database.now(connection)
        silent = and_(worker.c.heartbeat < now - SILENT_LEASES * settings.lease_s, worker.c.state != "dead")
        gone = worker.c.heartbeat < now - DAY_S
        if connection.execute(select(worker.c.id).where(or_(silent, gone)).limit(1)).first() is None:
            return
    with database.write() as connection:
        connection.execute(update(worker).where(silent).values(state="dead", job_id=None))
        connection.execute(delete(worker).where(gone))


def purge(database: Database, settings: Settings) -> None:
    """Purge jobs whose time is over and delete old history."""
    while True:
        with database.write(alone=True) as connection:
            now = database.now(connection)
            over = and_(job.c.expires_at <= now, job.c.state != State.PURGED.value)
            query = select(job).where(over).order_by(job.c.id).limit(BATCH).with_for_update(skip_locked=True)
            rows = connection.execute(query).mappings().all()
            for row in rows:
                purge_job(database, connection, row, now)
        if len(rows) < BATCH:
            break
    with database.write() as connection:
        forget(connection, database.now(connection) - settings.keep_events_days * DAY_S)


def purge_job(database: Database, connection: Connection, row: RowMapping, now: float) -> None:
    """Take an ended job's files from it; what it was and came to stays."""
    if row["state"] != State.PURGED and transitions.move(connection, row, State.PURGED, expires_at=now, results=[]):
        transitions.disuse(database, connection, f"job:{row['id']}", now)
        connection.execute(delete(dicom_series).where(dicom_series.c.job_id == row["id"]))
        transitions.say(database, connection, row, "purged", now, was=row["state"])


def forget(connection: Connection, before: float) -> None:
    """Delete the history of long ago: events, purged jobs and work items that ended then."""
    connection.execute(delete(job_event).where(job_event.c.at < before))
    connection.execute(delete(job).where(job.c.state == State.PURGED.value, job.c.finished < before))
    connection.execute(delete(workitem_event).where(workitem_event.c.at < before))
    jobless = and_(workitem.c.job_id.is_not(None), workitem.c.job_id.not_in(select(job.c.id)))
    over = and_(workitem.c.state.in_(("COMPLETED", "CANCELED")), workitem.c.changed < before)
    connection.execute(delete(workitem).where(or_(jobless, over)))


def collect(database: Database, blobs: Blobs) -> int:
    """Delete the files that nothing uses; how many."""
    deleted = sum(drop(database, blobs, sha256, LOOSE_S) for sha256 in loose(database))
    return deleted + sum(
        drop(database, blobs, sha256, UNUSED_S) for sha256 in unused(database, blobs.older_than(UNUSED_S))
    )


def loose(database: Database) -> Iterator[str]:
    """The files that lost their last user, by their SHA-256, a part at a time: a server may hold very many."""
    last = ""
    while True:
        query = select(blob_loose.c.sha256).where(blob_loose.c.sha256 > last).order_by(blob_loose.c.sha256).limit(BATCH)
        with database.read() as connection:
            found = connection.scalars(query).all()
        yield from found
        if len(found) < BATCH:
            return
        last = found[-1]


def unused(database: Database, files: Iterator[str]) -> Iterator[str]:
    """Those of some files that nothing uses, by their SHA-256; asked a part at a time, too."""
    while part := list(islice(files, BATCH)):
        with database.read() as connection:
            used = set(connection.scalars(select(blob_use.c.sha256).where(blob_use.c.sha256.in_(part)).distinct()))
        yield from (sha256 for sha256 in part if sha256 not in used)


def drop(database: Database, blobs: Blobs, sha256: str, age_s: float) -> bool:
    """Delete one file if nothing uses it and it is old enough; beside this, no job can begin to use it."""
    with database.write(alone=True) as connection:
        in_use = connection.scalar(select(blob_use.c.sha256).where(blob_use.c.sha256 == sha256).limit(1)) is not None
        if not in_use and blobs.age_s(sha256) < age_s:
            return False
        connection.execute(delete(blob_loose).where(blob_loose.c.sha256 == sha256))
        if not in_use:
            blobs.delete(sha256)
        return not in_use


def drop_now(database: Database, blobs: Blobs, files: Iterable[str]) -> None:
    """Delete the files that nothing uses now, and not with the next sweep: who had them deleted wants them gone.

    An upload of the same bytes has half a second to become a job; by reference it is told that the file is not there.
    """
    for sha256 in files:
        age_s = blobs.age_s(sha256)
        if age_s < YOUNG_S:
            time.sleep(YOUNG_S - age_s)
        drop(database, blobs, sha256, YOUNG_S)


@dataclass(frozen=True)
class Tended:
    """What one round of keeping house did."""

    reaped: int
    purged: int
    """Files that were deleted."""
    swept: int
    """Left-overs of writes and of working folders."""


def tend(database: Database, blobs: Blobs, settings: Settings) -> Tended:
    """One round of keeping house, at the start and once a minute: reap, purge, sweep, see to the reserve."""
    reaped = reap(database, settings)
    purge(database, settings)
    purged = collect(database, blobs)
    swept = blobs.sweep(PARTIAL_S) + sweep_work(database, blobs.folder.parent / "work")
    if blobs.free() < settings.disk_reserve_bytes:
        blobs.give_up_reserve()
    else:
        blobs.restore_reserve()
    return Tended(reaped, purged, swept)


def sweep_work(database: Database, folder: Path) -> int:
    """Delete the working folders (JOB.ATTEMPT) of attempts that do not run any more, and other old ones; how many."""
    if not folder.is_dir():
        return 0
    found = list(folder.iterdir())
    with database.read() as connection:
        running = select(job.c.id, job.c.attempt).where(job.c.state == State.RUNNING.value)
        alive = {f"{job_id}.{attempt}" for job_id, attempt in connection.execute(running)}
    before = time.time() - DAY_S
    dead = [path for path in found if path.name not in alive and (WORK.fullmatch(path.name) or changed(path) < before)]
    for path in dead:
        shutil.rmtree(path, ignore_errors=True)
    return len(dead)


def changed(path: Path) -> float:
    """When a folder was last written to; infinite where another deleted it."""
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return math.inf

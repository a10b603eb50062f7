# SPDX-License-Identifier: Apache-2.0
"""What becomes of jobs whose worker is silent or whose time is over, and of files that nobody uses."""

from __future__ import annotations

from sqlalchemy import ColumnElement, Connection, RowMapping, and_, delete, or_, select, update

from clarivox.server import transitions
from clarivox.server.blobs import Blobs
from clarivox.server.dialects import Database
from clarivox.server.job import State
from clarivox.server.settings import Settings
from clarivox.server.tables import blob_loose, blob_use, job, job_event, worker

BATCH = 200
"""Jobs of one transaction, so that others wait only a moment."""
DAY_S = 86_400.0
SILENT_LEASES = 3
"""A worker that says nothing for so many leases is dead."""
UNUSED_S = DAY_S
"""How long a file is kept that nothing uses: an upload whose job is yet to come."""
LOOSE_S = 60.0
"""The same for a file whose last user went: it may just have been stored again for a job that is yet to come."""


def reap(database: Database, settings: Settings) -> int:
    """Take back jobs whose lease is over, end those that are too late; how many were changed."""
    changed = 0
    while True:
        with database.write() as connection:
            now = database.now(connection)
            if not changed:
                bury(connection, now, settings)
            query = select(job).where(overdue(now)).order_by(job.c.id).limit(BATCH).with_for_update(skip_locked=True)
            rows = connection.execute(query).mappings().all()
            changed += sum(reap_one(database, connection, row, now, settings) for row in rows)
        if len(rows) < BATCH:
            return changed


def overdue(now: float) -> ColumnElement[bool]:
    """What holds for a job that a reaper must change."""
    running, queued = job.c.state == State.RUNNING.value, job.c.state == State.QUEUED.value
    return or_(and_(running, job.c.lease_until < now), and_(or_(running, queued), job.c.deadline <= now))


def reap_one(database: Database, connection: Connection, row: RowMapping, now: float, settings: Settings) -> bool:
    """Change one such job."""
    if row["deadline"] is not None and row["deadline"] <= now:
        late = transitions.too_late()
        return transitions.end(database, connection, row, State.EXPIRED, now, settings, error=late)
    return transitions.requeue(database, connection, row, now, settings, reason="lease_lost")


def bury(connection: Connection, now: float, settings: Settings) -> None:
    """Mark silent workers as dead, and forget those that were not seen for a day."""
    silent = worker.c.heartbeat < now - SILENT_LEASES * settings.lease_s
    found = connection.execute(select(worker.c.id).where(silent, worker.c.state != "dead").limit(1)).first()
    if found is not None:
        connection.execute(update(worker).where(silent).values(state="dead", job_id=None))
        connection.execute(delete(worker).where(worker.c.heartbeat < now - DAY_S))


def purge(database: Database, settings: Settings) -> list[str]:
    """Purge jobs whose time is over and delete old history; the files that lost their last user."""
    while True:
        with database.write() as connection:
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
        return list(connection.scalars(select(blob_loose.c.sha256).order_by(blob_loose.c.since)))


def purge_job(database: Database, connection: Connection, row: RowMapping, now: float) -> None:
    """Take an ended job's files from it; what it was and came to stays."""
    if row["state"] != State.PURGED and transitions.move(connection, row, State.PURGED, expires_at=now, results=[]):
        transitions.disuse(database, connection, f"job:{row['id']}", now)
        transitions.say(database, connection, row, "purged", now, was=row["state"])


def forget(connection: Connection, before: float) -> None:
    """Delete old events, and purged jobs that ended so long ago; a job's key may be used again a day after its end."""
    connection.execute(delete(job_event).where(job_event.c.at < before))
    old = and_(job.c.state == State.PURGED.value, job.c.finished < before)
    connection.execute(delete(job).where(old))


def collect(database: Database, blobs: Blobs) -> int:
    """Delete the files that nothing uses; how many."""
    with database.read() as connection:
        loose = list(connection.scalars(select(blob_loose.c.sha256)))
    deleted = sum(drop(database, blobs, sha256, LOOSE_S) for sha256 in loose)
    return deleted + sum(drop(database, blobs, sha256, UNUSED_S) for sha256 in blobs.older_than(UNUSED_S))


def drop(database: Database, blobs: Blobs, sha256: str, age_s: float) -> bool:
    """Delete one file if nothing uses it, in a transaction beside which no job can begin to."""
    with database.write(alone=True) as connection:
        if connection.scalar(select(blob_use.c.sha256).where(blob_use.c.sha256 == sha256).limit(1)) is not None:
            return False
        if blobs.age_s(sha256) < age_s:
            return False
        blobs.delete(sha256)
        connection.execute(delete(blob_loose).where(blob_loose.c.sha256 == sha256))
        return True

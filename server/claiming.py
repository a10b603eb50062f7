# SPDX-License-Identifier: Apache-2.0
"""Which job a worker takes next."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import ColumnElement, Connection, RowMapping, and_, or_, select, update

from clarivox.server import transitions
from clarivox.server.dialects import Database
from clarivox.server.job import State
from clarivox.server.tables import job
from clarivox.server.transitions import LONGEST_BACKOFF_S

LONGEST_SKIP_S = 10.0
"""A job that waited so long is not passed over for one whose bundle is in memory."""


@dataclass(frozen=True)
class Wish:
    """What a worker would take."""

    worker_id: str
    loaded: tuple[str, ...]
    kinds: tuple[str, ...]
    lease_s: float
    waited_s: float


def ready(wish: Wish, now: float) -> list[ColumnElement[bool]]:
    """What holds for a job that may be taken."""
    # A wait that is longer than any we set comes of a clock that was set back.
    waited = or_(job.c.not_before <= now, and_(job.c.attempt > 0, job.c.not_before > now + LONGEST_BACKOFF_S))
    rules = [job.c.state == State.QUEUED.value, waited]
    rules.append(or_(job.c.deadline.is_(None), job.c.deadline > now))
    if wish.kinds:
        rules.append(job.c.kind.in_(wish.kinds))
    if wish.waited_s > 0:
        rules.append(job.c.created <= now - wish.waited_s)
    return rules


def anything(connection: Connection, wish: Wish, now: float) -> bool:
    """Whether there is a job to take; asked before a transaction that writes, for it is asked often."""
    return connection.execute(select(job.c.id).where(*ready(wish, now)).limit(1)).first() is not None


def claim(database: Database, connection: Connection, wish: Wish) -> RowMapping | None:
    """Take the next job: the highest priority, then the longest in the queue."""
    now = database.now(connection)
    query = select(job).where(*ready(wish, now)).order_by(job.c.priority.desc(), job.c.created, job.c.id).limit(1)
    query = query.with_for_update(skip_locked=True)
    row = connection.execute(query).mappings().first()
    if row is None:
        return None
    if wish.loaded and row["bundle"] not in wish.loaded and now - row["created"] < LONGEST_SKIP_S:
        near = query.where(job.c.priority == row["priority"], job.c.bundle.in_(wish.loaded))
        row = connection.execute(near).mappings().first() or row
    values = {"state": State.RUNNING.value, "attempt": row["attempt"] + 1, "worker_id": wish.worker_id}
    values |= {"lease_until": database.lease_now(connection) + wish.lease_s, "lease_s": wish.lease_s}
    values |= {"started": now, "progress_at": now, "stage": "", "done": 0.0, "eta_s": None}
    values |= {"degradations": [], "seq": row["seq"] + 1}
    connection.execute(update(job).where(job.c.id == row["id"]).values(**values))
    row = connection.execute(select(job).where(job.c.id == row["id"])).mappings().one()
    transitions.say(database, connection, row, "started", now, worker=wish.worker_id)
    return row

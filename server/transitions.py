# SPDX-License-Identifier: Apache-2.0
"""How a job goes from one state to the next: each change is one UPDATE that names the state and attempt it leaves.

queued ─► running ─► succeeded | failed | cancelled ─► purged
  ▲ └────────┤└────► expired ──────────────────────────►┘
  └──────────┘ the lease was lost, or the worker gave the job back
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, RowMapping, delete, insert, select, update

from clarivox.server.dialects import Database
from clarivox.server.job import State
from clarivox.server.settings import Settings
from clarivox.server.tables import blob_loose, blob_use, job, job_event

LONGEST_BACKOFF_S = 600.0


def locked(connection: Connection, job_id: str, attempt: int | None = None) -> RowMapping | None:
    """The row of a job, which nobody else changes before this transaction ends.

    Args:
        connection: of a transaction that writes.
        job_id: whose.
        attempt: only if it is running, and in this attempt.
    """
    query = select(job).where(job.c.id == job_id).with_for_update()
    if attempt is not None:
        query = query.where(job.c.attempt == attempt, job.c.state == State.RUNNING.value)
    return connection.execute(query).mappings().first()


def move(connection: Connection, row: RowMapping, to: State, **values: Any) -> bool:
    """Bring a job from the state of its row to another; False where it is no longer in that state and attempt."""
    fence = (job.c.id == row["id"], job.c.attempt == row["attempt"], job.c.state == row["state"])
    change = update(job).where(*fence).values(state=to.value, seq=job.c.seq + 1, **values)
    return connection.execute(change).rowcount == 1


def say(database: Database, connection: Connection, row: RowMapping, type_: str, now: float, **data: Any) -> None:
    """Add an event to the history of a job."""
    database.events_begin(connection)
    values = {"job_id": row["id"], "attempt": row["attempt"], "at": now, "type": type_, "data": data}
    connection.execute(insert(job_event).values(**values))


def end(
    database: Database,
    connection: Connection,
    row: RowMapping,
    state: State,
    now: float,
    settings: Settings,
    **values: Any,
) -> bool:
    """Bring a job to an end; its files are kept for a while. False where the fence was lost."""
    values = {"finished": now, "lease_until": None, "eta_s": None} | values
    values["expires_at"] = now + settings.keep_results_h * 3600
    if not move(connection, row, state, **values):
        return False
    error = values.get("error")
    say(database, connection, row, state.value, now, **({"code": error["code"]} if error else {}))
    return True


def requeue(
    database: Database,
    connection: Connection,
    row: RowMapping,
    now: float,
    settings: Settings,
    *,
    reason: str,
    counted: bool = True,
    crashed: bool = False,
    delay_s: float | None = None,
) -> bool:
    """Put a running job back into the queue; or end it, where it was cancelled, is late, or was tried often enough."""
    crashes, uncounted = row["crash_count"] + crashed, row["uncounted"] + (not counted)
    tried = row["attempt"] - uncounted
    counts = {"crash_count": crashes, "uncounted": uncounted}
    if row["cancel_requested"]:
        return end(database, connection, row, State.CANCELLED, now, settings, **counts)
    if row["deadline"] is not None and row["deadline"] <= now:
        return end(database, connection, row, State.EXPIRED, now, settings, error=too_late(), **counts)
    if crashes >= settings.poison_crashes:
        error = failure("poison", "The job ends its workers", f"{crashes} workers ended while they ran it")
        return end(database, connection, row, State.FAILED, now, settings, error=error, **counts)
    if tried >= row["max_attempts"]:
        error = failure("attempts_used", "The job was begun too often", f"begun {tried} times; the last: {reason}")
        return end(database, connection, row, State.FAILED, now, settings, error=error, **counts)
    if delay_s is None:
        wait = settings.retry_backoff_s * 2.0 ** max(tried - 1, 0)
        delay_s = min(wait, LONGEST_BACKOFF_S) if counted else 0.0
    values = {"not_before": now + delay_s, "worker_id": None, "lease_until": None, "stage": "", "done": 0.0}
    if not move(connection, row, State.QUEUED, eta_s=None, progress_at=None, **values, **counts):
        return False
    say(database, connection, row, "requeued", now, reason=reason)
    return True


def failure(code: str, title: str, detail: str, status: int = 500, retryable: bool = False) -> dict[str, Any]:
    """Why a job failed, as its row keeps it."""
    return {"code": code, "title": title, "detail": detail, "status": status, "retryable": retryable}


def too_late() -> dict[str, Any]:
    """Why a job expired."""
    return failure("deadline", "The deadline passed", "the job was not done by its deadline", 504, True)


def use(database: Database, connection: Connection, user: str, sha256: str, role: str) -> None:
    """Note that something uses a file, so that it is kept; no file is deleted before the transaction ends."""
    database.alone(connection)
    values = {"sha256": sha256, "user": user, "role": role}
    database.upsert(connection, blob_use, ("sha256", "user", "role"), values)
    connection.execute(delete(blob_loose).where(blob_loose.c.sha256 == sha256))


def used(connection: Connection, user: str) -> list[str]:
    """The files that one user uses."""
    return list(connection.scalars(select(blob_use.c.sha256).where(blob_use.c.user == user).distinct()))


def disuse(database: Database, connection: Connection, user: str, now: float) -> None:
    """Take back all uses of one user; files that nobody uses any more become loose."""
    database.alone(connection)
    mine = used(connection, user)
    connection.execute(delete(blob_use).where(blob_use.c.user == user))
    for sha256 in mine:
        if connection.scalar(select(blob_use.c.sha256).where(blob_use.c.sha256 == sha256).limit(1)) is None:
            database.upsert(connection, blob_loose, ("sha256",), {"sha256": sha256, "since": now})

# SPDX-License-Identifier: Apache-2.0
"""The ledger of jobs: what was asked for, who works on it, what came of it. It is all that processes share.

A worker holds a job by a lease and by the number of its attempt; every change names both, so that a worker which was
given up for dead changes nothing when it wakes. A job may be run twice after a crash; its result is published once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sqlalchemy import and_, func, or_, select, update

from clarivox.errors import ConflictError, NotFoundError
from clarivox.server import admission, claiming, retention, transitions
from clarivox.server.blobs import Blobs
from clarivox.server.dialects import Database
from clarivox.server.job import ENDED, Beat, Event, Job, NewJob, Outcome, State, WorkerRow
from clarivox.server.profiles import Profile, profile_of, put_profile
from clarivox.server.rows import event_of, is_id, job_of, row_of_files, storable, worker_of
from clarivox.server.settings import Settings
from clarivox.server.tables import dicom_series, job, job_event, worker

PAGE = 500
"""Most rows of one answer."""


class Ledger:
    """Durable jobs on SQLite or PostgreSQL. Its methods may be called from any thread.

    Every method may raise BusyError, code database_away, where the database does not answer, and CapacityError, code
    disk_full, where its disk is full.

    >>> from clarivox.server.job import NewJob, Outcome, State
    >>> ledger = Ledger("sqlite://", settings=Settings())
    >>> ledger.open()
    >>> asked, made = ledger.submit(NewJob(owner="me", inputs=(), bundle="identity"))
    >>> running = ledger.claim("worker-1")
    >>> ledger.finish(running.id, running.attempt, Outcome(State.SUCCEEDED))
    True
    >>> ledger.get(asked.id).state
    <State.SUCCEEDED: 'succeeded'>
    """

    def __init__(self, url: str, *, settings: Settings, clock: Callable[[], float] | None = None) -> None:
        """Nothing is opened yet.

        Args:
            url: of the database, `settings.ledger_url`.
            settings: limits and times.
            clock: for tests; by default the machine's, or the database's own on PostgreSQL.
        """
        self.settings = settings
        self.database = Database(url, clock=clock)

    def open(self, *, check: bool = True) -> None:
        """Make the tables or bring them up to date, and look whether the file is whole.

        Raises:
            ConflictError: the ledger was made by a newer clarivox, code newer_ledger.
            ServiceError: the file is damaged, code ledger_damaged.
        """
        from clarivox.server.migrations.steps import migrate

        migrate(self.database, check=check)
        self.database.settle()

    def close(self) -> None:
        """Close all connections."""
        self.database.close()

    def submit(self, new: NewJob, *, has: Callable[[str], bool] | None = None) -> tuple[Job, bool]:
        """Put a job into the queue; it is durable when this returns.

        Args:
            new: what is asked for.
            has: whether a file is in the store; asked while no file can be deleted.

        Returns:
            The job, and whether it was made anew; not so where the owner's key was used before, for the same request.

        Raises:
            ConflictError: the key was used for another request, code idempotency_mismatch.
            BusyError: the queue is full, code queue_full; or the owner's share of it, code owner_quota.
            NotFoundError: a file is not there, code no_such_blob.
            OptionError: a value is out of range.
        """
        admission.check(new)
        with self.database.write(alone=True) as connection:
            row, made = admission.submit(self.database, connection, new, self.settings, has)
        return job_of(row), made

    def get(self, job_id: str, owner: str | None = None) -> Job:
        """A job, of this owner if one is named.

        Raises:
            NotFoundError: there is none, or it is another's; code no_such_job.
        """
        if is_id(job_id):
            with self.database.read() as connection:
                row = connection.execute(select(job).where(job.c.id == job_id)).mappings().first()
            if row is not None and owner in (None, row["owner"]):
                return job_of(row)
        raise no_such_job()

    def jobs(
        self,
        owner: str | None = None,
        states: Sequence[State] = (),
        kind: str | None = None,
        bundle: str | None = None,
        parent: str | None = None,
        study: str | None = None,
        after: str | None = None,
        limit: int = 50,
    ) -> tuple[list[Job], str | None]:
        """Jobs, the newest first, and what to give as `after` for the next page; `study` is a digest.

        Raises:
            OptionError: `after` is not of an earlier page, code bad_cursor.
        """
        wanted = {"owner": owner, "kind": kind, "bundle": bundle, "parent_id": parent}
        named = {name: value for name, value in wanted.items() if value is not None}
        admission.check_cursor(after)
        if not all(storable(value) for value in named.values()):
            return [], None
        checks = [job.c[name] == value for name, value in named.items()]
        checks += [job.c.state.in_([State(one).value for one in states])] if states else []
        checks += [job.c.id.in_(select(dicom_series.c.job_id).where(dicom_series.c.study == study))] if study else []
        checks += [job.c.id < after] if after is not None else []
        limit, query = min(max(limit, 1), PAGE), select(job).where(*checks)
        with self.database.read() as connection:
            rows = connection.execute(query.order_by(job.c.id.desc()).limit(limit + 1)).mappings().all()
        found = [job_of(row) for row in rows[:limit]]
        return found, found[-1].id if len(rows) > limit else None

    def claim(
        self,
        worker_id: str,
        *,
        loaded: Sequence[str] = (),
        kinds: Sequence[str] = (),
        lease_s: float | None = None,
        waited_s: float = 0.0,
    ) -> Job | None:
        """Take the next job, if there is one; asked often, it writes only then.

        Args:
            worker_id: who takes it.
            loaded: bundles in memory: such a job goes first, but for one that waited long.
            kinds: only these; all where none is named.
            lease_s: how long the worker may be silent; the settings' by default.
            waited_s: only jobs that have been in the queue so long.
        """
        lease_s = self.settings.lease_s if lease_s is None else lease_s
        wish = claiming.Wish(worker_id, tuple(loaded), tuple(kinds), lease_s, waited_s)
        with self.database.read() as connection:
            if not claiming.anything(connection, wish, self.database.now(connection)):
                return None
        with self.database.write() as connection:
            row = claiming.claim(self.database, connection, wish)
        return None if row is None else job_of(row)

    def beat(
        self, job_id: str, attempt: int, *, stage: str = "", done: float = 0.0, eta_s: float | None = None
    ) -> Beat:
        """Say that the worker lives and how far it is; hear whether to go on."""
        with self.database.write() as connection:
            row = transitions.locked(connection, job_id, attempt)
            if row is None:
                return Beat(alive=False, cancel=False)
            now = self.database.now(connection)
            values: dict[str, Any] = {"lease_until": self.database.lease_now(connection) + row["lease_s"]}
            if (stage, done) != (row["stage"], row["done"]):
                values |= {"stage": stage, "done": done, "progress_at": now}
            if values.keys() & {"stage"} or eta_s != row["eta_s"]:
                values |= {"eta_s": eta_s, "seq": job.c.seq + 1}
            connection.execute(update(job).where(job.c.id == job_id).values(**values))
            if stage != row["stage"]:
                transitions.say(self.database, connection, row, "stage", now, stage=stage)
            return Beat(alive=True, cancel=row["cancel_requested"])

    def note(self, job_id: str, attempt: int, type: str, data: Mapping[str, Any]) -> bool:
        """Add an event to a running attempt; `degraded` also to the job, by its `text`. False: it is lost."""
        with self.database.write() as connection:
            row = transitions.locked(connection, job_id, attempt)
            if row is None:
                return False
            values: dict[str, Any] = {"seq": job.c.seq + 1}
            if type == "degraded" and "text" in data:
                values["degradations"] = [*row["degradations"], str(data["text"])]
            connection.execute(update(job).where(job.c.id == job_id).values(**values))
            transitions.say(self.database, connection, row, type, self.database.now(connection), **data)
        return True

    def finish(self, job_id: str, attempt: int, outcome: Outcome, *, has: Callable[[str], bool] | None = None) -> bool:
        """End a running attempt. False: it was lost, or its deadline has passed; nothing is published.

        Args:
            job_id: which.
            attempt: the number that `claim` gave.
            outcome: what it came to.
            has: whether a file is in the store; asked while no file can be deleted.

        Raises:
            NotFoundError: a file of the result is not there, code no_such_blob; store it again.
        """
        state = State(outcome.state)
        if state not in (State.SUCCEEDED, State.FAILED, State.CANCELLED):
            raise ConflictError(f"an attempt ends as succeeded, failed or cancelled; found {state}", code="bad_outcome")
        with self.database.write(alone=True) as connection:
            row = transitions.locked(connection, job_id, attempt)
            if row is None:
                return False
            now = self.database.now(connection)
            if row["deadline"] is not None and row["deadline"] <= now:
                late = transitions.too_late()
                transitions.end(self.database, connection, row, State.EXPIRED, now, self.settings, error=late)
                return False
            admission.check_files(outcome.results, has)
            values: dict[str, Any] = {"results": row_of_files(outcome.results), "notes": list(outcome.notes)}
            values |= {"metrics": dict(outcome.metrics), "error": dict(outcome.error) if outcome.error else None}
            values["degradations"] = list(outcome.degradations) or row["degradations"]
            if state is State.SUCCEEDED:
                values["done"] = 1.0
            if not transitions.end(self.database, connection, row, state, now, self.settings, **values):
                return False
            for file in outcome.results:
                transitions.use(self.database, connection, f"job:{job_id}", file.sha256, file.role)
        return True

    def release(
        self,
        job_id: str,
        attempt: int,
        *,
        reason: str,
        counted: bool = True,
        crashed: bool = False,
        delay_s: float | None = None,
    ) -> bool:
        """Give a running job back to the queue, or end it where it was tried often enough.

        Args:
            job_id: which.
            attempt: the number that `claim` gave.
            reason: a word for its history, as drain, crash, device_fault.
            counted: whether this attempt counts; that of a drained worker does not.
            crashed: whether the job brought its worker down.
            delay_s: when it may be taken again; by default the longer, the oftener it was tried.

        Returns:
            False where the attempt was lost already.
        """
        with self.database.write() as connection:
            row = transitions.locked(connection, job_id, attempt)
            now = self.database.now(connection)
            return row is not None and transitions.requeue(
                self.database,
                connection,
                row,
                now,
                self.settings,
                reason=reason,
                counted=counted,
                crashed=crashed,
                delay_s=delay_s,
            )

    def cancel(self, job_id: str, owner: str | None = None) -> Job:
        """Cancel a job: at once in the queue; a running one is told, and ends when its worker hears it.

        Raises:
            NotFoundError: there is none, or it is another's; code no_such_job.
            ConflictError: it has ended, code job_ended.
        """
        self.get(job_id, owner)
        with self.database.write() as connection:
            row = transitions.locked(connection, job_id)
            if row is None:
                raise no_such_job()
            if row["state"] in ENDED:
                raise ConflictError(f"the job has ended as {row['state']}", code="job_ended")
            now = self.database.now(connection)
            if row["state"] == State.QUEUED:
                transitions.end(self.database, connection, row, State.CANCELLED, now, self.settings)
            elif not row["cancel_requested"]:
                transitions.move(connection, row, State.RUNNING, cancel_requested=True)
                transitions.say(self.database, connection, row, "cancel_requested", now)
        return self.get(job_id)

    def retry(self, job_id: str, owner: str | None = None, *, has: Callable[[str], bool] | None = None) -> Job:
        """Ask again for what an ended job did, as a new job whose parent it is.

        Raises:
            NotFoundError: there is none, or it is another's; code no_such_job.
            ConflictError: it has not ended, code not_ended; or its files are deleted, code purged.
            BusyError: as for submit.
        """
        self.get(job_id, owner)
        with self.database.write(alone=True) as connection:
            row = transitions.locked(connection, job_id)
            if row is None:
                raise no_such_job()
            new = admission.again(job_of(row))
            made, _ = admission.submit(self.database, connection, new, self.settings, has)
        return job_of(made)

    def delete_files(self, job_id: str, owner: str | None = None, *, blobs: Blobs | None = None) -> Job:
        """Delete the files of an ended job now: it is purged, and what no other job uses goes from the store.

        Args:
            job_id: of the job.
            owner: of whom it must be.
            blobs: the store; without it the next sweep deletes the files.

        Raises:
            NotFoundError: there is none, or it is another's; code no_such_job.
            ConflictError: it has not ended, code not_ended.
        """
        self.get(job_id, owner)
        with self.database.write(alone=True) as connection:
            row = transitions.locked(connection, job_id)
            if row is None:
                raise no_such_job()
            if row["state"] not in ENDED:
                raise ConflictError("the job has not ended; cancel it first", code="not_ended")
            files = transitions.used(connection, f"job:{job_id}")
            retention.purge_job(self.database, connection, row, self.database.now(connection))
        if blobs is not None:
            retention.drop_now(self.database, blobs, files)
        return self.get(job_id)

    def reap(self) -> int:
        """Take jobs back whose worker is silent, and end those whose deadline passed; how many were changed."""
        return retention.reap(self.database, self.settings)

    def purge(self) -> None:
        """Purge the jobs whose time is over, and old history."""
        retention.purge(self.database, self.settings)

    def tend(self, blobs: Blobs) -> retention.Tended:
        """Keep house, at the start and once a minute: reap, purge, delete what nobody uses, sweep what was left."""
        return retention.tend(self.database, blobs, self.settings)

    def events(self, job_id: str | None = None, after: int = 0, limit: int = PAGE) -> list[Event]:
        """What happened after an event, of one job or of all, the oldest first."""
        query = select(job_event).where(job_event.c.seq > min(max(after, 0), 2**63 - 1))
        if job_id is not None:
            if not is_id(job_id):
                return []
            query = query.where(job_event.c.job_id == job_id)
        with self.database.read() as connection:
            if job_id is None:
                self.database.events_settle(connection)
            rows = connection.execute(query.order_by(job_event.c.seq).limit(min(max(limit, 1), PAGE))).mappings()
            return [event_of(row) for row in rows]

    def put_worker(self, row: WorkerRow) -> None:
        """Write what a worker is and does; its heartbeat is set to now."""
        with self.database.write() as connection:
            values = {name: getattr(row, name) for name in row.__dataclass_fields__}
            values |= {"loaded": list(row.loaded), "heartbeat": self.database.now(connection)}
            self.database.upsert(connection, worker, ("id",), values)

    def workers(self) -> list[WorkerRow]:
        """All workers that were seen within a day."""
        with self.database.read() as connection:
            return [worker_of(row) for row in connection.execute(select(worker).order_by(worker.c.id)).mappings()]

    def counts(self) -> dict[State, int]:
        """How many jobs are in each state."""
        query = select(job.c.state, func.count()).group_by(job.c.state)
        with self.database.read() as connection:
            found = {str(state): int(number) for state, number in connection.execute(query)}
        return {state: found.get(state.value, 0) for state in State}

    def profile(self, bundle: str, device: str) -> Profile | None:
        """What a bundle took on a device so far, to say how long a job will take."""
        with self.database.read() as connection:
            return profile_of(connection, bundle, device)

    def put_profile(self, found: Profile) -> None:
        """Remember what a run took; later runs count more than earlier ones."""
        with self.database.write() as connection:
            put_profile(self.database, connection, found)

    def position(self, found: Job) -> int:
        """How many jobs are before this one in the queue."""
        sooner = or_(job.c.created < found.created, and_(job.c.created == found.created, job.c.id < found.id))
        ahead = or_(job.c.priority > found.priority, and_(job.c.priority == found.priority, sooner))
        query = select(func.count()).where(job.c.state == State.QUEUED.value, ahead)
        with self.database.read() as connection:
            return int(connection.scalar(query) or 0)


def no_such_job() -> NotFoundError:
    """For a job that is not there, and for another's: who asks cannot tell them apart."""
    return NotFoundError("there is no such job", code="no_such_job")

# SPDX-License-Identifier: Apache-2.0
"""The worklist of UPS-RS: every job of the ledger is an item of it, and so is what clients put there.

    an item of a client that names a bundle   becomes a job; its state is the job's
    any other item of a client                waits for a performer, who claims it with a Transaction UID
    a job that was asked for in another way   is shown as an item, and can be cancelled

What clients write is sealed, their UIDs are kept as keyed digests.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, RowMapping, insert, select, update

from clarivox.errors import ConflictError, NotFoundError
from clarivox.server import admission
from clarivox.server import workitem_words as words
from clarivox.server.job import Job, NewJob, State, new_id
from clarivox.server.ledger import PAGE, Ledger
from clarivox.server.pacs.outbox import Outbox
from clarivox.server.rows import job_of
from clarivox.server.seal import Seal
from clarivox.server.tables import job as job_table
from clarivox.server.tables import workitem, workitem_event
from clarivox.server.workitem_words import Dataset, Step

OTHER_STATE = "The submitted request is inconsistent with the current state of the Workitem."
NO_CLAIM = "The target URI did not reference a claimed Workitem."
NO_UID = "The Transaction UID is missing."
WRONG_UID = "The Transaction UID is incorrect."
MODIFIED = "The Workitem was {} with modifications."
ALREADY = "The UPS is already in the requested state of {}."
DONE = "The UPS is already COMPLETED."

_KEPT = (words.SOP_CLASS, words.SOP_INSTANCE, words.STATE, words.TRANSACTION)
"""What an update does not change."""
_STATES = {
    Step.SCHEDULED: (State.QUEUED,),
    Step.IN_PROGRESS: (State.QUEUED, State.RUNNING),
    Step.COMPLETED: (State.SUCCEEDED, State.PURGED),
    Step.CANCELED: (State.FAILED, State.CANCELLED, State.EXPIRED, State.PURGED),
}


@dataclass(frozen=True)
class Item:
    """A work item."""

    id: str
    uid: str
    owner: str
    created: float
    state: Step
    said: Dataset
    """As its client wrote it; empty for a job that was asked for in another way."""
    claim: str | None
    job: Job | None

    def dataset(self) -> Dataset:
        """What it says, without the series that its job read and made; never the Transaction UID."""
        if self.job is None:
            return {**self.said, words.STATE: words.element("CS", self.state.value)}
        if not self.said:
            return words.of_job(self.job)
        return {**self.said, **words.standing(self.job)}


class Worklist:
    """Reads and changes work items; its methods may be called from any thread.

    Args:
        ledger: holds the jobs, and the tables of the items.
        seal: keeps what clients write.
    """

    def __init__(self, ledger: Ledger, seal: Seal) -> None:
        self.ledger, self.seal, self.database = ledger, seal, ledger.database

    def create(
        self,
        owner: str,
        uid: str,
        said: Dataset,
        new: NewJob | None = None,
        has: Callable[[str], bool] | None = None,
        deliver: Sequence[str] = (),
    ) -> Item:
        """Put an item on the list; with a job and where its result goes, all or nothing.

        Raises:
            ConflictError: there is an item of this UID, code workitem_exists.
            ClarivoxError: the job is refused, as by `Ledger.submit`.
        """
        if new is not None:
            admission.check(new)
        with self.database.write(alone=True) as connection:
            mark = self.seal.mark(uid)
            if connection.scalar(select(workitem.c.id).where(workitem.c.mark == mark)) or self._job(connection, uid):
                raise ConflictError("there is a work item of this UID", code="workitem_exists")
            job_id = None
            if new is not None:
                row, _ = admission.submit(self.database, connection, new, self.ledger.settings, has)
                job_id = row["id"]
                Outbox(self.database).join(connection, row["id"], deliver)
            now = self.database.now(connection)
            row_id = new_id()
            values = {"id": row_id, "mark": mark, "owner": owner, "state": Step.SCHEDULED.value, "job_id": job_id}
            values |= {"sealed": self._sealed(uid, said), "created": now, "changed": now}
            connection.execute(insert(workitem).values(**values))
            if job_id is None:
                self._say(connection, row_id, "state", now, state=Step.SCHEDULED.value)
        return self.find(uid, owner)

    def find(self, uid: str, sees: str | None) -> Item:
        """An item by its UID, if it is of this owner, or anybody's where none is named.

        Raises:
            NotFoundError: there is none, code no_such_workitem.
        """
        with self.database.read() as connection:
            return self._found(connection, uid, sees)

    def items(self, sees: str | None, steps: Sequence[Step] = ()) -> Iterator[Item]:
        """Items of an owner, or of all; the newest first.

        Args:
            sees: whose; None for everybody's.
            steps: leave out jobs that cannot be in one of these; others may come all the same.
        """
        states = tuple({state for step in steps for state in _STATES[step]})
        return heapq.merge(self._theirs(sees), self._ours(sees, states), key=lambda item: item.id, reverse=True)

    def by_id(self, identifier: str) -> Item | None:
        """The item that an event is about, by the identifier of its row or of its job."""
        with self.database.read() as connection:
            ours = (workitem.c.id == identifier) | (workitem.c.job_id == identifier)
            row = connection.execute(select(workitem).where(ours)).mappings().first()
            if row is not None:
                return self._of_row(connection, row)
            found = connection.execute(select(job_table).where(job_table.c.id == identifier)).mappings().first()
        return None if found is None else _of_job(job_of(found))

    def change(self, uid: str, sees: str | None, to: Step, transaction: str) -> str:
        """Claim an item, or end it; what to warn of.

        Raises:
            NotFoundError: there is none.
            ConflictError: the item is not in a state, or not by a performer, that allows it; code workitem_state.
        """
        with self.database.write() as connection:
            item = self._found(connection, uid, sees, lock=True)
            if item.state.final and item.state is to:
                return ALREADY.format(to.value)
            if not transaction:
                raise conflict(NO_UID)
            if item.job is not None or to is Step.SCHEDULED or item.state.final:
                raise conflict(OTHER_STATE)
            now = self.database.now(connection)
            if to is Step.IN_PROGRESS:
                if item.state is not Step.SCHEDULED:
                    raise conflict(OTHER_STATE)
                self._set(connection, item, now, state=to.value, claim=self._claim(transaction))
            else:
                self._check_claim(item, transaction)
                said = _ended(item.said, to, now)
                self._set(connection, item, now, state=to.value, sealed=self._sealed(uid, said))
            self._say(connection, item.id, "state", now, state=to.value)
        return ""

    def update(self, uid: str, sees: str | None, changes: Dataset, transaction: str) -> str:
        """Change what an item says; what to warn of.

        Raises:
            NotFoundError: there is none.
            ConflictError: it has ended, or is another performer's; code workitem_state.
        """
        with self.database.write() as connection:
            item = self._found(connection, uid, sees, lock=True)
            if item.job is not None or item.state.final:
                raise conflict(OTHER_STATE)
            if item.state is Step.IN_PROGRESS:
                self._check_claim(item, transaction)
            elif transaction:
                raise conflict(NO_CLAIM)
            now = self.database.now(connection)
            taken = {tag: one for tag, one in changes.items() if tag not in _KEPT}
            said = {**item.said, **taken, words.CHANGED: words.element("DT", words.time_of(now))}
            self._set(connection, item, now, sealed=self._sealed(uid, said))
            if words.PROGRESS in taken:
                self._say(connection, item.id, "progress", now)
        same = {words.SOP_CLASS: words.PUSH, words.SOP_INSTANCE: uid, words.TRANSACTION: transaction}
        dropped = [tag for tag in _KEPT if tag in changes and words.text(changes, tag) not in ("", same.get(tag))]
        return MODIFIED.format("updated") if dropped else ""

    def cancel(self, uid: str, sees: str | None, wish: Dataset) -> str:
        """Ask that an item be cancelled; what to warn of. Its performer, where it has one, decides.

        Raises:
            NotFoundError: there is none.
            ConflictError: it is completed, code workitem_state.
        """
        item = self.find(uid, sees)
        if item.state is Step.COMPLETED:
            raise conflict(DONE)
        if item.state is Step.CANCELED:
            return ALREADY.format(Step.CANCELED.value)
        if item.job is not None:
            try:
                self.ledger.cancel(item.job.id)
            except ConflictError:  # it ended in between
                return self.cancel(uid, sees, wish)
            return ""
        with self.database.write() as connection:
            item = self._found(connection, uid, sees, lock=True)
            now = self.database.now(connection)
            if item.state is Step.SCHEDULED:
                said = _ended({**item.said, words.PROGRESS: words.element("SQ", _wished(wish))}, Step.CANCELED, now)
                for step in (Step.IN_PROGRESS, Step.CANCELED):  # CC.2.2.3: it is claimed, then cancelled
                    self._say(connection, item.id, "state", now, state=step.value)
                self._set(connection, item, now, state=Step.CANCELED.value, sealed=self._sealed(uid, said))
            else:
                self._say(connection, item.id, "cancel", now, sealed=self.seal.close(_wished(wish)))
        return ""

    def _theirs(self, sees: str | None) -> Iterator[Item]:
        before: str | None = None
        while True:
            query = select(workitem).order_by(workitem.c.id.desc()).limit(PAGE)
            query = query.where(workitem.c.owner == sees) if sees is not None else query
            query = query.where(workitem.c.id < before) if before is not None else query
            with self.database.read() as connection:
                rows = connection.execute(query).mappings().all()
                found = [self._of_row(connection, row) for row in rows]
            yield from found
            if len(rows) < PAGE:
                return
            before = rows[-1]["id"]

    def _ours(self, sees: str | None, states: Sequence[State]) -> Iterator[Item]:
        after: str | None = None
        while True:
            jobs, after = self.ledger.jobs(sees, states, after=after, limit=PAGE)
            with self.database.read() as connection:
                known = workitem.c.job_id.in_([one.id for one in jobs])
                taken = set(connection.scalars(select(workitem.c.job_id).where(known)))
            yield from (_of_job(one) for one in jobs if one.id not in taken)
            if after is None:
                return

    def _found(self, connection: Connection, uid: str, sees: str | None, *, lock: bool = False) -> Item:
        query = select(workitem).where(workitem.c.mark == self.seal.mark(uid))
        row = connection.execute(query.with_for_update() if lock else query).mappings().first()
        if row is not None:
            item = self._of_row(connection, row)
        else:
            found = self._job(connection, uid)
            if found is None:
                raise no_such_workitem()
            item = _of_job(found)
        if sees not in (None, item.owner):
            raise no_such_workitem()
        return item

    def _job(self, connection: Connection, uid: str) -> Job | None:
        """The job that is shown under a UID."""
        identifier = words.id_of(uid)
        if identifier is None:
            return None
        row = connection.execute(select(job_table).where(job_table.c.id == identifier)).mappings().first()
        return None if row is None else job_of(row)

    def _of_row(self, connection: Connection, row: RowMapping) -> Item:
        found, said = None, self.seal.open(row["sealed"])
        state = Step(row["state"])
        if row["job_id"] is not None:
            job = connection.execute(select(job_table).where(job_table.c.id == row["job_id"])).mappings().first()
            found = None if job is None else job_of(job)
            state = Step.CANCELED if found is None else words.step_of(found)
        return Item(row["id"], said["uid"], row["owner"], row["created"], state, said["said"], row["claim"], found)

    def _sealed(self, uid: str, said: Dataset) -> str:
        return self.seal.close({"uid": uid, "said": said})

    def _claim(self, transaction: str) -> str:
        return self.seal.mark(f"claim {transaction}")

    def _check_claim(self, item: Item, transaction: str) -> None:
        if item.claim is None:
            raise conflict(NO_CLAIM)
        if not transaction:
            raise conflict(NO_UID)
        if item.claim != self._claim(transaction):
            raise conflict(WRONG_UID)

    def _set(self, connection: Connection, item: Item, now: float, **values: Any) -> None:
        connection.execute(update(workitem).where(workitem.c.id == item.id).values(changed=now, **values))

    def _say(self, connection: Connection, item: str, type_: str, now: float, **data: Any) -> None:
        self.database.events_begin(connection)
        connection.execute(insert(workitem_event).values(item=item, at=now, type=type_, data=data))


def conflict(message: str) -> ConflictError:
    """For what does not fit the state of an item; the standard has the sentences."""
    return ConflictError(message, code="workitem_state")


def no_such_workitem() -> NotFoundError:
    """For an item that is not there, and for another's."""
    return NotFoundError("there is no such work item", code="no_such_workitem")


def _of_job(found: Job) -> Item:
    uid = words.uid_of(found.id)
    return Item(found.id, uid, found.owner, found.created, words.step_of(found), {}, None, found)


def _wished(wish: Dataset) -> Dataset:
    """What of a wish to cancel stands in the item: why, and whom to ask."""
    return {tag: wish[tag] for tag in ("0074100E", words.REASON, "0074100A", "0074100C") if tag in wish}


def _ended(said: Dataset, to: Step, now: float) -> Dataset:
    """What an item says when it ends, if it may end so.

    Raises:
        ConflictError: what was performed is not told; PS3.4 CC.2.5-3, final state.
    """
    said = {**said, words.CHANGED: words.element("DT", words.time_of(now))}
    if to is Step.COMPLETED:
        performed = words.items(said, words.PERFORMED)
        wanted = ("00404050", "00404051", "00404019", "00404028")
        if not performed or any(not words.values(one, tag) for one in performed for tag in wanted):
            raise conflict(OTHER_STATE)
        return said
    progress = words.items(said, words.PROGRESS)[:1] or [{}]
    ended = {words.CANCELLED_AT: words.element("DT", words.time_of(now)), **progress[0]}
    return {**said, words.PROGRESS: words.element("SQ", ended)}

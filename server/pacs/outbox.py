# SPDX-License-Identifier: Apache-2.0
"""What is to be delivered where, what was, and what could not be: the rows of deliveries and of what was sent.

A delivery waits until its job has ended and its destination took every instance. Each try that fails puts it off, for
longer each time; after the last it is dead, and stays so until somebody has it tried anew. What a destination took
is noted instance by instance, so that a later try sends only the rest.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields
from enum import StrEnum
from typing import Any

from sqlalchemy import Connection, Delete, RowMapping, Update, delete, func, insert, or_, select, update

from clarivox.errors import ConflictError, NotFoundError
from clarivox.server.dialects import Database
from clarivox.server.job import ENDED, new_id
from clarivox.server.rows import is_id
from clarivox.server.tables import job, pacs_delivery, pacs_sent

TRIES = 12
"""How often a delivery is tried before it is dead: over two hours, as the waits below add up."""
FIRST_S, LONGEST_S = 5.0, 1800.0
"""Wait before the second try, doubled for each further one, and at most."""
MADE = ""
"""Stands for a destination in the registry: the instance was made here, wherever it was sent since."""
AT_ONCE = 300
"""Rows that one statement names."""
PAGE = 50


class DeliveryState(StrEnum):
    """How far a delivery is."""

    WAITING = "waiting"
    DONE = "done"
    DEAD = "dead"


@dataclass(frozen=True)
class Delivery:
    """A row."""

    id: str
    job_id: str
    destination: str
    state: DeliveryState
    tries: int
    not_before: float
    instances: int
    """That the destination has, once it is done."""
    code: str | None
    """Why the last try failed."""
    at: float
    """When it changed last, in seconds since 1970."""


class Outbox:
    """Rows of deliveries, and of instances that were made here or sent. Any thread, and several processes, may use it.

    Every method may raise BusyError, code database_away, and CapacityError, code disk_full, as the ledger's do.

    >>> from clarivox.server.job import new_id
    >>> from clarivox.server.ledger import Ledger
    >>> from clarivox.server.settings import Settings
    >>> ledger = Ledger("sqlite://", settings=Settings())
    >>> ledger.open()
    >>> outbox = Outbox(ledger.database)
    >>> outbox.add(new_id(), ["archive"])
    >>> [found] = outbox.due("archive")
    >>> outbox.failed(found, "pacs_away")
    <DeliveryState.WAITING: 'waiting'>
    >>> outbox.due("archive")
    []
    """

    def __init__(self, database: Database) -> None:
        """Use the ledger's database, opened."""
        self.database = database

    def add(self, job_id: str, destinations: Sequence[str]) -> None:
        """Have the result of a job delivered; a second time changes nothing."""
        with self.database.write() as connection:
            self.join(connection, job_id, destinations)

    def join(self, connection: Connection, job_id: str, destinations: Sequence[str]) -> None:
        """The same as `add`, as a part of another transaction."""
        now = self.database.now(connection)
        there = set(
            connection.scalars(select(pacs_delivery.c.destination).where(pacs_delivery.c.job_id == job_id)).all()
        )
        for destination in dict.fromkeys(destinations):
            if destination not in there:
                row = {"id": new_id(), "job_id": job_id, "destination": destination, "tries": 0, "instances": 0}
                row |= {"state": DeliveryState.WAITING.value, "not_before": now, "at": now}
                connection.execute(insert(pacs_delivery).values(**row))

    def due(self, destination: str) -> list[Delivery]:
        """Deliveries to a destination that may be tried now, for their job has ended or is gone; the oldest first."""
        ended = or_(job.c.id.is_(None), job.c.state.in_([one.value for one in ENDED]))
        query = select(pacs_delivery).join(job, job.c.id == pacs_delivery.c.job_id, isouter=True).where(ended)
        with self.database.read() as connection:
            query = query.where(
                pacs_delivery.c.destination == destination,
                pacs_delivery.c.state == DeliveryState.WAITING.value,
                pacs_delivery.c.not_before <= self.database.now(connection),
            )
            rows = connection.execute(query.order_by(pacs_delivery.c.id).limit(PAGE)).mappings().all()
        return [_delivery_of(row) for row in rows]

    def done(self, delivery: Delivery, instances: int) -> None:
        """The destination has all instances."""
        self._move(delivery, state=DeliveryState.DONE.value, instances=instances, code=None)

    def failed(self, delivery: Delivery, code: str) -> DeliveryState:
        """A try failed: it is put off, or dead where it was the last."""
        tries = delivery.tries + 1
        dead = tries >= TRIES
        state = DeliveryState.DEAD if dead else DeliveryState.WAITING
        wait_s = min(LONGEST_S, FIRST_S * 2 ** (tries - 1))
        self._move(delivery, state=state.value, tries=tries, code=code, wait_s=0.0 if dead else wait_s)
        return state

    def dead(self, delivery: Delivery, code: str) -> None:
        """It can never be done, as where its job failed."""
        self._move(delivery, state=DeliveryState.DEAD.value, code=code)

    def requeue(self, delivery_id: str, job_id: str | None = None) -> Delivery:
        """Try a dead delivery anew, from the first try on.

        Args:
            delivery_id: which.
            job_id: deliver the result of this job instead, as where the first one failed.

        Raises:
            NotFoundError: there is none, code no_such_delivery.
            ConflictError: it is not dead, code not_dead.
        """
        values: dict[str, Any] = {"state": DeliveryState.WAITING.value, "tries": 0}
        if job_id is not None:
            values["job_id"] = job_id
        self._change_dead(delivery_id, lambda now: update(pacs_delivery).values(**values, not_before=now, at=now))
        return self.get(delivery_id)

    def dismiss(self, delivery_id: str) -> None:
        """Forget a dead delivery, as where a later job delivered the same series whole.

        Raises:
            NotFoundError: there is none, code no_such_delivery.
            ConflictError: it is not dead, code not_dead.
        """
        self._change_dead(delivery_id, lambda now: delete(pacs_delivery))

    def get(self, delivery_id: str) -> Delivery:
        """One delivery.

        Raises:
            NotFoundError: there is none, code no_such_delivery.
        """
        if is_id(delivery_id):
            query = select(pacs_delivery).where(pacs_delivery.c.id == delivery_id)
            with self.database.read() as connection:
                row = connection.execute(query).mappings().first()
            if row is not None:
                return _delivery_of(row)
        raise NotFoundError("there is no such delivery", code="no_such_delivery")

    def of_job(self, job_id: str) -> list[Delivery]:
        """The deliveries of a job."""
        return self._listed(pacs_delivery.c.job_id == job_id)

    def listed(self, state: DeliveryState, limit: int = PAGE) -> list[Delivery]:
        """Deliveries in a state, those that changed last first."""
        return self._listed(pacs_delivery.c.state == state.value, limit)

    def counts(self) -> dict[tuple[str, str], int]:
        """How many deliveries are in each state, by destination and state."""
        query = select(pacs_delivery.c.destination, pacs_delivery.c.state, func.count())
        with self.database.read() as connection:
            rows = connection.execute(query.group_by(pacs_delivery.c.destination, pacs_delivery.c.state)).all()
        return {(destination, state): int(number) for destination, state, number in rows}

    def forget(self, before: float) -> None:
        """Delete what was delivered before a time; what is dead stays, and what was sent is known for ever."""
        old = (pacs_delivery.c.state == DeliveryState.DONE.value) & (pacs_delivery.c.at < before)
        with self.database.write() as connection:
            connection.execute(delete(pacs_delivery).where(old))

    # What was sent

    def note(self, destination: str, sops: Iterable[str]) -> None:
        """Note that a destination has instances, by their digests; or with `MADE`, that they were made here."""
        with self.database.write() as connection:
            now = self.database.now(connection)
            for sop in sops:
                row = {"sop": sop, "destination": destination, "at": now}
                self.database.upsert(connection, pacs_sent, ("sop", "destination"), row)

    def forget_sent(self, destination: str, sops: Sequence[str]) -> None:
        """Note that a destination has not kept instances: they are sent again."""
        with self.database.write() as connection:
            for at in range(0, len(sops), AT_ONCE):
                some = pacs_sent.c.sop.in_(sops[at : at + AT_ONCE])
                connection.execute(delete(pacs_sent).where(pacs_sent.c.destination == destination, some))

    def known(self, sops: Sequence[str], destination: str | None = None) -> set[str]:
        """Those of some instances that a destination has, or, where none is named, that were made here or sent."""
        found: set[str] = set()
        with self.database.read() as connection:
            for at in range(0, len(sops), AT_ONCE):
                query = select(pacs_sent.c.sop).where(pacs_sent.c.sop.in_(sops[at : at + AT_ONCE]))
                if destination is not None:
                    query = query.where(pacs_sent.c.destination == destination)
                found |= set(connection.scalars(query))
        return found

    def _move(self, delivery: Delivery, *, wait_s: float = 0.0, **values: Any) -> None:
        with self.database.write() as connection:
            now = self.database.now(connection)
            here = (pacs_delivery.c.id == delivery.id) & (pacs_delivery.c.state == DeliveryState.WAITING.value)
            values |= {"at": now, "not_before": now + wait_s}
            connection.execute(update(pacs_delivery).where(here).values(**values))

    def _change_dead(self, delivery_id: str, change: Callable[[float], Update | Delete]) -> None:
        found = self.get(delivery_id)
        dead = (pacs_delivery.c.id == delivery_id) & (pacs_delivery.c.state == DeliveryState.DEAD.value)
        with self.database.write() as connection:
            done = connection.execute(change(self.database.now(connection)).where(dead))
        if done.rowcount == 0:
            raise ConflictError(f"the delivery is {found.state}, not dead", code="not_dead")

    def _listed(self, which: Any, limit: int = PAGE) -> list[Delivery]:
        order = (pacs_delivery.c.at.desc(), pacs_delivery.c.id.desc())
        with self.database.read() as connection:
            query = select(pacs_delivery).where(which).order_by(*order).limit(limit)
            return [_delivery_of(row) for row in connection.execute(query).mappings()]


def _delivery_of(row: RowMapping) -> Delivery:
    values = {one.name: row[one.name] for one in fields(Delivery)}
    return Delivery(**values | {"state": DeliveryState(row["state"])})

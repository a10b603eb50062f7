# SPDX-License-Identifier: Apache-2.0
"""Who wants to hear of work items, and the reports of what happened to them (PS3.4 CC.2.3 and CC.2.4)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, delete, func, insert, select

from clarivox.errors import NotFoundError
from clarivox.server import workitem_words as words
from clarivox.server.dicom_query import Query, query_of
from clarivox.server.job import Event
from clarivox.server.rows import event_of
from clarivox.server.tables import job_event, workitem_event, workitem_subscription
from clarivox.server.workitem_words import Dataset, Step
from clarivox.server.worklist import Item, Worklist

ALL, SOME = "all", "some"
"""What a subscription is to, where that is not one item."""
TURN = 500
"""Most events of one look."""
STATE_REPORT, CANCEL_REQUESTED, PROGRESS_REPORT = 1, 2, 3


@dataclass(frozen=True)
class Cursor:
    """How far the two histories were read: of jobs, and of items that clients made."""

    jobs: int
    items: int


@dataclass(frozen=True)
class Subscription:
    """A wish to hear of one item, of all, or of those that fit a search."""

    target: str
    wanted: bool
    until: float | None
    query: Query | None
    since: Cursor

    def covers(self, item: Item) -> bool:
        """Whether it is about an item, now."""
        if self.target not in (ALL, SOME):
            return self.target == item.id
        if self.until is not None and item.created > self.until:
            return False
        dataset = item.dataset()
        return self.query is None or self.query.fits(dataset.get)


class Subscriptions:
    """Keeps subscriptions; a subscriber is an application entity of a caller.

    Args:
        worklist: what is subscribed to.
    """

    def __init__(self, worklist: Worklist) -> None:
        self.worklist, self.database = worklist, worklist.database

    def add(self, owner: str, sees: str | None, aetitle: str, uid: str, pairs: Sequence[tuple[str, str]] = ()) -> None:
        """Subscribe to an item, which reports its state at once, or to the worklist.

        Raises:
            NotFoundError: there is no such item.
            InputError: a search cannot be understood, code bad_query.
        """
        target, item = self._target(uid, sees)
        sealed = None
        if target == SOME:
            query_of(pairs)
            sealed = self.worklist.seal.close({"query": [list(pair) for pair in pairs]})
        with self.database.write() as connection:
            now, since = self.database.now(connection), self._now(connection)
            values = {"owner": owner, "aetitle": aetitle, "target": target, "wanted": True, "until": None}
            values |= {"sealed": sealed, "job_seq": since.jobs, "item_seq": since.items}
            self.database.upsert(connection, workitem_subscription, ("owner", "aetitle", "target"), values)
            if item is not None:
                told = {"item": item.id, "only": aetitle, "at": now, "type": "state"}
                connection.execute(insert(workitem_event).values(**told, data={"state": item.state.value}))

    def remove(self, owner: str, sees: str | None, aetitle: str, uid: str) -> None:
        """Unsubscribe from an item; from the worklist: from everything.

        Raises:
            NotFoundError: there is no such subscription, code no_such_subscription.
        """
        target, _ = self._target(uid, sees)
        mine = (workitem_subscription.c.owner == owner) & (workitem_subscription.c.aetitle == aetitle)
        with self.database.write() as connection:
            since = self._now(connection)
            found = set(connection.scalars(select(workitem_subscription.c.target).where(mine)))
            broad = bool(found & {ALL, SOME})
            if target not in found and not (broad and target not in (ALL, SOME)):
                raise NotFoundError("there is no such subscription", code="no_such_subscription")
            if target in (ALL, SOME):
                connection.execute(delete(workitem_subscription).where(mine))
                return
            values = {"owner": owner, "aetitle": aetitle, "target": target, "wanted": False, "until": None}
            values |= {"sealed": None, "job_seq": since.jobs, "item_seq": since.items}
            self.database.upsert(connection, workitem_subscription, ("owner", "aetitle", "target"), values)

    def suspend(self, owner: str, aetitle: str, uid: str) -> None:
        """Let a subscription to the worklist be about no item that is yet to come.

        Raises:
            NotFoundError: there is no such subscription, code no_such_subscription.
        """
        target = {words.GLOBAL: ALL, words.FILTERED: SOME}.get(uid)
        mine = workitem_subscription.c
        with self.database.write() as connection:
            change = (
                workitem_subscription.update()
                .where(mine.owner == owner, mine.aetitle == aetitle, mine.target == target)
                .values(until=self.database.now(connection))
            )
            if target is None or connection.execute(change).rowcount == 0:
                raise NotFoundError("there is no such subscription", code="no_such_subscription")

    def of(self, owner: str, aetitle: str) -> list[Subscription]:
        """The subscriptions of one subscriber."""
        mine = (workitem_subscription.c.owner == owner) & (workitem_subscription.c.aetitle == aetitle)
        with self.database.read() as connection:
            rows = connection.execute(select(workitem_subscription).where(mine)).mappings().all()
        found = []
        for row in rows:
            pairs = self.worklist.seal.open(row["sealed"])["query"] if row["sealed"] else None
            query = None if pairs is None else query_of([(str(name), str(value)) for name, value in pairs])
            since = Cursor(row["job_seq"], row["item_seq"])
            found.append(Subscription(row["target"], row["wanted"], row["until"], query, since))
        return found

    def now(self) -> Cursor:
        """The end of both histories."""
        with self.database.read() as connection:
            return self._now(connection)

    def news(self, after: Cursor) -> tuple[list[tuple[str, int, Event, str | None]], Cursor]:
        """What happened after a cursor, the next cursor; of each event its history, number, and only hearer."""
        with self.database.read() as connection:
            self.database.events_settle(connection)
            jobs = connection.execute(
                select(job_event).where(job_event.c.seq > after.jobs).order_by(job_event.c.seq).limit(TURN)
            ).mappings()
            told = [("job", int(row["seq"]), event_of(row), None) for row in jobs]
            query = select(workitem_event).where(workitem_event.c.seq > after.items)
            rows = connection.execute(query.order_by(workitem_event.c.seq).limit(TURN)).mappings()
            made = [("item", int(row["seq"]), _event(row), row["only"]) for row in rows]
        end = Cursor(told[-1][1] if told else after.jobs, made[-1][1] if made else after.items)
        return [*told, *made], end

    def _now(self, connection: Connection) -> Cursor:
        self.database.events_settle(connection)
        jobs, made = (connection.scalar(select(func.max(table.c.seq))) for table in (job_event, workitem_event))
        return Cursor(int(jobs or 0), int(made or 0))

    def _target(self, uid: str, sees: str | None) -> tuple[str, Item | None]:
        if uid in (words.GLOBAL, words.FILTERED):
            return ALL if uid == words.GLOBAL else SOME, None
        item = self.worklist.find(uid, sees)
        return item.id, item


def _event(row: Any) -> Event:
    return Event(int(row["seq"]), row["item"], 0, row["at"], row["type"], row["data"])


def wants(subscriptions: Sequence[Subscription], item: Item, history: str, number: int) -> bool:
    """Whether a subscriber is to hear of an event.

    Args:
        subscriptions: all of the subscriber.
        item: that it is about.
        history: "job" or "item".
        number: of the event there.
    """
    own = [one for one in subscriptions if one.target == item.id]
    for one in own or [one for one in subscriptions if one.covers(item)]:
        since = one.since.jobs if history == "job" else one.since.items
        if one.wanted and number > since:
            return True
    return False


def reports(item: Item, history: str, event: Event, seal: Any) -> Iterator[Dataset]:
    """What is told of an event, as the data sets of event reports."""
    if history == "item":
        if event.type == "state":
            yield _state(item, Step(event.data["state"]))
        elif event.type == "progress":
            yield _progress(item)
        else:
            yield _report(item, CANCEL_REQUESTED, seal.open(event.data["sealed"]))
        return
    match event.type:
        case "created":
            yield _state(item, Step.SCHEDULED)
        case "started" if event.attempt == 1:
            yield _state(item, Step.IN_PROGRESS)
        case "stage" | "started":
            yield _progress(item, str(event.data.get("stage", "")))
        case "succeeded":
            yield _state(item, Step.COMPLETED)
        case "failed" | "cancelled" | "expired":
            if not event.attempt:
                yield _state(item, Step.IN_PROGRESS)  # CC.2.2.3: no item is cancelled without a performer
            yield _state(item, Step.CANCELED)
        case "cancel_requested":
            yield _report(item, CANCEL_REQUESTED, {})


def _state(item: Item, step: Step) -> Dataset:
    said = item.dataset()
    more: Dataset = {words.STATE: words.element("CS", step.value)}
    more[words.READINESS] = said.get(words.READINESS, words.element("CS", "READY"))
    if step is Step.CANCELED:
        progress = (words.items(said, words.PROGRESS) or [{}])[0]
        more |= {tag: progress[tag] for tag in (words.REASON, "0074100E") if tag in progress}
    return _report(item, STATE_REPORT, more)


def _progress(item: Item, stage: str = "") -> Dataset:
    found = (words.items(item.dataset(), words.PROGRESS) or [{}])[0]
    if stage:  # the job may be further by now
        found = {**found, "00741006": words.element("ST", stage)}
    return _report(item, PROGRESS_REPORT, {words.PROGRESS: words.element("SQ", found)})


def _report(item: Item, kind: int, more: Dataset) -> Dataset:
    return {
        "00000002": words.element("UI", words.EVENTS),
        "00000100": words.element("US", 256),
        "00000800": words.element("US", 0),
        "00001000": words.element("UI", item.uid),
        "00001002": words.element("US", kind),
        **more,
    }

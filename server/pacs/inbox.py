# SPDX-License-Identifier: Apache-2.0
"""What came in from the PACS: the rows of instances and of the series that they make."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from enum import StrEnum
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, RowMapping, delete, insert, select, tuple_, update

from clarivox.errors import NotFoundError
from clarivox.server.dialects import Database
from clarivox.server.job import new_id
from clarivox.server.pacs.settings import Wait
from clarivox.server.tables import pacs_instance, pacs_series

OWNER = "pacs"
"""Of the jobs that are made of what came in; what the node tells of results is of these."""
AT_ONCE = 300
"""Rows that one statement names."""


class Kept(StrEnum):
    """What became of an instance that came."""

    NEW = "new"
    SAME = "same"
    """It was here, byte for byte."""
    CHANGED = "changed"
    """It was here with other bytes; the newest are kept."""


class SeriesState(StrEnum):
    """How far a series is."""

    OPEN = "open"
    ROUTED = "routed"
    IGNORED = "ignored"
    FAILED = "failed"


@dataclass(frozen=True)
class Arrived:
    """An instance whose file lies, durable, in the folder of the inbox. Identifiers are digests, by `key_of`."""

    study: str
    series: str
    sop: str
    file: str
    """Its name in the folder."""
    bytes: int
    sha256: str
    calling: str = ""
    called: str = ""


@dataclass(frozen=True)
class Instance(Arrived):
    """A row."""

    received: float = 0.0
    versions: int = 1


@dataclass(frozen=True)
class Series:
    """A row."""

    id: str
    series: str
    source: str
    """dimse, orthanc or web."""
    calling: str
    state: SeriesState
    first: float
    last: float
    seq: int
    """Goes up with all that comes."""
    rule: str | None
    code: str | None
    jobs: tuple[str, ...]


class Inbox:
    """Rows of what came in. Its methods may be called from any thread, and by several processes.

    Every method may raise BusyError, code database_away, and CapacityError, code disk_full, as the ledger's do.

    >>> import tempfile
    >>> from clarivox.server.ledger import Ledger
    >>> from clarivox.server.settings import Settings
    >>> ledger = Ledger("sqlite://", settings=Settings())
    >>> ledger.open()
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     inbox = Inbox(ledger.database, Path(folder))
    ...     inbox.put([Arrived("study", "series", "sop", "a.dcm", 3, "0" * 64, "CT1")])
    ...     [found] = inbox.ready(lambda calling: Wait(quiet_s=0, longest_s=0))
    ...     inbox.close(found, SeriesState.IGNORED, code="no_rule"), inbox.ready()
    [<Kept.NEW: 'new'>]
    (True, [])
    """

    def __init__(self, database: Database, folder: Path) -> None:
        """Make the folder.

        Args:
            database: the ledger's, opened.
            folder: of the files, `inbox_folder`.
        """
        self.database, self.folder = database, folder
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)

    def path(self, instance: Arrived) -> Path:
        """Where an instance lies."""
        return self.folder / instance.file

    def put(self, arrived: Sequence[Arrived], source: str = "dimse") -> list[Kept]:
        """Note instances; their rows are durable when this returns. A file that is not needed is deleted.

        A series that was closed is opened again by an instance that is new, or has other bytes than before.

        Args:
            arrived: their files must be durable already.
            source: dimse, orthanc or web.

        Returns:
            For each what became of it.
        """
        needless: list[str] = []
        with self.database.write(alone=True) as connection:
            now = self.database.lease_now(connection)
            known = _known(connection, arrived)
            kept = [self._put(connection, one, known, needless, now) for one in arrived]
            latest = {one.series: (one.calling, set[Kept]()) for one in arrived}
            for one, what in zip(arrived, kept, strict=True):
                latest[one.series][1].add(what)
            for series, (calling, whats) in latest.items():
                _touch(connection, series, source, calling, whats != {Kept.SAME}, now)
        for name in needless:
            (self.folder / name).unlink(missing_ok=True)
        return kept

    def _put(
        self,
        connection: Connection,
        one: Arrived,
        known: dict[tuple[str, str], RowMapping | dict[str, Any]],
        needless: list[str],
        now: float,
    ) -> Kept:
        row = known.get((one.series, one.sop))
        values = {name.name: getattr(one, name.name) for name in fields(Arrived)} | {"received": now}
        if row is None:
            connection.execute(insert(pacs_instance).values(**values, versions=1))
            known[one.series, one.sop] = values | {"versions": 1}
            return Kept.NEW
        if row["sha256"] == one.sha256:
            if row["file"] != one.file:
                needless.append(one.file)
            return Kept.SAME
        values["versions"] = row["versions"] + 1
        here = (pacs_instance.c.series == one.series) & (pacs_instance.c.sop == one.sop)
        connection.execute(update(pacs_instance).where(here).values(**values))
        known[one.series, one.sop] = values
        needless.append(row["file"])
        return Kept.CHANGED

    def ready(self, wait_for: Callable[[str], Wait] | None = None, now: float | None = None) -> list[Series]:
        """Open series of which nothing more came for the quiet time, or that were waited for the longest time.

        Args:
            wait_for: the times by calling title, as `Node.wait_for`; all open series without.
            now: the time; by default that of the leases.
        """
        query = select(pacs_series).where(pacs_series.c.state == SeriesState.OPEN.value)
        with self.database.read() as connection:
            now = self.database.lease_now(connection) if now is None else now
            rows = connection.execute(query.order_by(pacs_series.c.last)).mappings().all()
        found = [_series_of(row) for row in rows]
        return [one for one in found if wait_for is None or _is_ready(one, wait_for(one.calling), now)]

    def close(
        self,
        series: Series,
        state: SeriesState,
        *,
        rule: str | None = None,
        code: str | None = None,
        jobs: Sequence[str] = (),
    ) -> bool:
        """Say what became of a series. False where an instance came since it was read: look at it again."""
        values = {"state": SeriesState(state).value, "rule": rule, "code": code, "jobs": list(jobs)}
        here = (pacs_series.c.id == series.id) & (pacs_series.c.seq == series.seq)
        with self.database.write() as connection:
            return connection.execute(update(pacs_series).where(here).values(**values)).rowcount == 1

    def reopen(self, series_id: str) -> None:
        """Have a series looked at again, as after its rule was mended.

        Raises:
            NotFoundError: there is none; code no_such_object.
        """
        with self.database.write() as connection:
            now = self.database.lease_now(connection)
            values = {"state": SeriesState.OPEN.value, "first": now, "last": now, "seq": pacs_series.c.seq + 1}
            done = connection.execute(update(pacs_series).where(pacs_series.c.id == series_id).values(**values))
        if done.rowcount == 0:
            raise NotFoundError("there is no such series here", code="no_such_object")

    def rows(self, series: str) -> list[Instance]:
        """The instances of a series, by its digest, in the order in which they came."""
        query = select(pacs_instance).where(pacs_instance.c.series == series)
        with self.database.read() as connection:
            found = connection.execute(query.order_by(pacs_instance.c.received, pacs_instance.c.sop)).mappings().all()
        return [Instance(**row) for row in found]

    def series(self, series: str) -> Series | None:
        """The row of a series, by its digest."""
        with self.database.read() as connection:
            row = connection.execute(select(pacs_series).where(pacs_series.c.series == series)).mappings().first()
        return None if row is None else _series_of(row)

    def held(self, sops: Sequence[str]) -> set[str]:
        """Those of some instances, by their digests, whose row and file are here."""
        found: set[str] = set()
        for at in range(0, len(sops), AT_ONCE):
            some = pacs_instance.c.sop.in_(sops[at : at + AT_ONCE])
            with self.database.read() as connection:
                rows = connection.execute(select(pacs_instance.c.sop, pacs_instance.c.file).where(some)).all()
            found |= {sop for sop, file in rows if (self.folder / file).is_file()}
        return found

    def forget(self, age_s: float, now: float | None = None) -> int:
        """Delete rows and files of series that are not open and to which nothing came for so long; how many series."""
        with self.database.write(alone=True) as connection:
            now = self.database.lease_now(connection) if now is None else now
            old = (pacs_series.c.state != SeriesState.OPEN.value) & (pacs_series.c.last <= now - age_s)
            series = list(connection.scalars(select(pacs_series.c.series).where(old).limit(AT_ONCE)))
            theirs = pacs_instance.c.series.in_(series)
            files = list(connection.scalars(select(pacs_instance.c.file).where(theirs)))
            connection.execute(delete(pacs_instance).where(theirs))
            connection.execute(delete(pacs_series).where(pacs_series.c.series.in_(series)))
        for name in files:
            (self.folder / name).unlink(missing_ok=True)
        return len(series)

    def sweep(self, age_s: float) -> int:
        """Delete files that have no row, as a crash leaves them, and were not touched for so long; how many."""
        old = [path.name for path in self.folder.iterdir() if _age_s(path) >= age_s]
        gone = 0
        for at in range(0, len(old), AT_ONCE):
            some = old[at : at + AT_ONCE]
            with self.database.read() as connection:
                query = select(pacs_instance.c.file).where(pacs_instance.c.file.in_(some))
                known = set(connection.scalars(query))
            for name in set(some) - known:
                (self.folder / name).unlink(missing_ok=True)
                gone += 1
        return gone


def inbox_folder(data_dir: Path) -> Path:
    """Where the files of a server's inbox lie.

    >>> inbox_folder(Path("data")).as_posix()
    'data/pacs/in'
    """
    return data_dir / "pacs" / "in"


def _age_s(path: Path) -> float:
    try:
        return time.time() - path.stat().st_mtime
    except FileNotFoundError:
        return 0.0


def _known(connection: Connection, arrived: Sequence[Arrived]) -> dict[tuple[str, str], RowMapping | dict[str, Any]]:
    found: dict[tuple[str, str], RowMapping | dict[str, Any]] = {}
    keys = [(one.series, one.sop) for one in arrived]
    for at in range(0, len(keys), AT_ONCE):
        some = tuple_(pacs_instance.c.series, pacs_instance.c.sop).in_(keys[at : at + AT_ONCE])
        rows = connection.execute(select(pacs_instance).where(some)).mappings()
        found |= {(row["series"], row["sop"]): row for row in rows}
    return found


def _touch(connection: Connection, series: str, source: str, calling: str, changed: bool, now: float) -> None:
    """Write when something came to a series; it is made where it is not there, and opened where it has changed."""
    here = pacs_series.c.series == series
    state = connection.scalar(select(pacs_series.c.state).where(here))
    if state is None:
        opened = {"state": SeriesState.OPEN.value, "first": now, "last": now, "seq": 1, "jobs": []}
        row = {"id": new_id(), "series": series, "source": source, "calling": calling, **opened}
        connection.execute(insert(pacs_series).values(**row))
    elif state == SeriesState.OPEN:
        values = {"last": now, "seq": pacs_series.c.seq + 1} if changed else {"last": now}
        connection.execute(update(pacs_series).where(here).values(**values))
    elif changed:
        values = {"state": SeriesState.OPEN.value, "first": now, "last": now, "seq": pacs_series.c.seq + 1}
        connection.execute(update(pacs_series).where(here).values(**values, source=source, calling=calling))


def _is_ready(series: Series, wait: Wait, now: float) -> bool:
    return now - series.last >= wait.quiet_s or now - series.first >= wait.longest_s


def _series_of(row: RowMapping) -> Series:
    values = {one.name: row[one.name] for one in fields(Series)}
    return Series(**values | {"state": SeriesState(row["state"]), "jobs": tuple(row["jobs"])})

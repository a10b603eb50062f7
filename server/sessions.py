# SPDX-License-Identifier: Apache-2.0
"""Sessions of MONAI Label: images that a viewer sends once and works on for a while, outside the datastore."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import Row, delete, insert, select, update

from clarivox.errors import NotFoundError
from clarivox.server import tables
from clarivox.server.job import FileRef, new_id
from clarivox.server.transitions import disuse, use

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from clarivox.server.dialects import Database

LONGEST_S = 3600
"""A session that nobody asks for ends after so many seconds, or earlier where its client says so."""


@dataclass(frozen=True)
class Session:
    """One session."""

    id: str
    owner: str
    files: tuple[FileRef, ...]
    created: float
    accessed: float
    expiry_s: int

    def as_json(self) -> dict[str, Any]:
        """As MONAI Label's clients expect it; where the files lie is nobody's business."""
        return {
            "name": self.id,
            "path": "",
            "image": self.files[0].name if len(self.files) == 1 else "",
            "meta": {},
            "create_ts": int(self.created),
            "last_access_ts": int(self.accessed),
            "expiry": self.expiry_s,
        }


class Sessions:
    """Reads and changes sessions. Cheap to make; holds nothing but the database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, owner: str, files: Sequence[FileRef], expiry_s: int = 0) -> Session:
        """Begins a session.

        Args:
            owner: who alone may use it.
            files: one image, or the files of one series.
            expiry_s: seconds without use after which it ends; 0 for the longest.
        """
        key = new_id()
        with self._database.write() as connection:
            now = self._database.now(connection)
            self._sweep(connection, now)
            row = {"id": key, "owner": owner, "files": [asdict(one) for one in files], "created": now}
            row |= {"accessed": now, "expiry_s": min(expiry_s, LONGEST_S) if expiry_s > 0 else LONGEST_S}
            connection.execute(insert(tables.session).values(**row))
            for sha256 in dict.fromkeys(one.sha256 for one in files):
                use(self._database, connection, f"session:{key}", sha256, "session")
        return self.get(key, owner)

    def get(self, key: str, owner: str, *, touch: bool = False) -> Session:
        """A session of an owner; `touch` begins its time anew.

        Raises:
            NotFoundError: there is none, it has ended, or it is another's (code no_such_session).
        """
        where = (tables.session.c.id == key[:64], tables.session.c.owner == owner)
        with self._database.write() as connection:
            now = self._database.now(connection)
            row = connection.execute(select(tables.session).where(*where)).one_or_none()
            if row is None or row.accessed + row.expiry_s < now:
                raise NotFoundError("there is no such session, or its time is over; begin anew", code="no_such_session")
            if touch:
                connection.execute(update(tables.session).where(*where).values(accessed=now))
        return _session(row)

    def remove(self, key: str, owner: str) -> Session:
        """Ends a session.

        Raises:
            NotFoundError: there is none, it has ended, or it is another's (code no_such_session).
        """
        session = self.get(key, owner)
        with self._database.write() as connection:
            self._drop(connection, session.id, self._database.now(connection))
        return session

    def sweep(self) -> None:
        """Ends the sessions whose time is over."""
        with self._database.write() as connection:
            self._sweep(connection, self._database.now(connection))

    def _sweep(self, connection: Connection, now: float) -> None:
        over = select(tables.session.c.id).where(tables.session.c.accessed + tables.session.c.expiry_s < now)
        for key in connection.scalars(over).all():
            self._drop(connection, key, now)

    def _drop(self, connection: Connection, key: str, now: float) -> None:
        disuse(self._database, connection, f"session:{key}", now)
        connection.execute(delete(tables.session).where(tables.session.c.id == key))


def _session(row: Row[Any]) -> Session:
    files = tuple(FileRef(**one) for one in row.files)
    return Session(row.id, row.owner, files, row.created, row.accessed, row.expiry_s)
